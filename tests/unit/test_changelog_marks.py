"""Tests of whether a table and its changelog belong together, and what is done if not."""

import pytest

from everwatch.rules.changelog_marks import Held, Mark, TableVerdict, decode_mark, digest_of, judge

ME, OTHER = "1-me", "2-other"
OLD, NEW = "old-topic", "new-topic"
DIGEST = digest_of(b"key", b"value")
TABLE = Mark(OLD, 99, DIGEST)
WHOLE = Held(OLD, 0, 100, DIGEST)
MINE, THEIRS = Mark(OLD, 99, member=ME), Mark(OLD, 99, member=OTHER)


@pytest.mark.parametrize(
    ("table", "held", "owner"),
    [
        (TABLE, WHOLE, MINE),
        (TABLE, WHOLE, THEIRS),
        (TABLE, WHOLE, None),
        (None, WHOLE, THEIRS),
        (None, Held(NEW, 0, 0), None),
        # behind, as after a while away
        (Mark(OLD, 10, 5), Held(OLD, 0, 100, 5), THEIRS),
        # the record was compacted away
        (TABLE, Held(OLD, 0, 200, 0), Mark(OLD, 180, member=OTHER)),
        # written by a version that noted neither
        (Mark("", 99), WHOLE, None),
        (Mark("", 99), WHOLE, MINE),
        # a broker that does not tell ids
        (TABLE, Held("", 0, 100, DIGEST), MINE),
    ],
    ids=[
        "caught up",
        "another was the owner",
        "nothing noted",
        "a new worker",
        "all new",
        "behind",
        "compacted",
        "old store",
        "old store, noted",
        "no topic id",
    ],
)
def test_a_table_that_fits_is_caught_up(table: Mark | None, held: Held, owner: Mark | None) -> None:
    assert judge(table, held, owner, ME) is TableVerdict.FITS


@pytest.mark.parametrize(
    "held",
    [Held(NEW, 0, 0), Held(NEW, 0, 5_000), Held(OLD, 0, 60), Held(OLD, 0, 5_000, DIGEST + 1)],
    ids=["made anew", "made anew and grown", "cut off", "cut off and grown"],
)
def test_what_the_last_owners_table_holds_is_written_back(held: Held) -> None:
    assert judge(TABLE, held, MINE, ME) is TableVerdict.NEWER
    # it was killed before it noted its last records
    assert judge(TABLE, held, Mark(OLD, 90, member=ME), ME) is TableVerdict.NEWER


@pytest.mark.parametrize("held", [Held(NEW, 0, 0), Held(NEW, 0, 5_000), Held(OLD, 0, 60)])
@pytest.mark.parametrize(
    ("table", "owner"),
    [
        (TABLE, THEIRS),
        (TABLE, Mark(OLD, 120, member=ME)),
        (Mark("", 99), MINE),
        (None, THEIRS),
        (None, MINE),
    ],
    ids=["another was the owner", "it lacks records", "old store", "no table", "its table is gone"],
)
def test_a_loss_that_nothing_proves_mendable_is_for_a_person_to_decide(
    held: Held, table: Mark | None, owner: Mark
) -> None:
    assert judge(table, held, owner, ME) is TableVerdict.UNKNOWN


@pytest.mark.parametrize("held", [Held(NEW, 0, 0), Held(OLD, 0, 60)])
def test_a_loss_with_nothing_noted_is_for_a_person_to_decide(held: Held) -> None:
    assert judge(TABLE, held, None, ME) is TableVerdict.UNKNOWN


def test_a_copy_of_the_lost_changelog_is_dropped_once_its_owner_has_written_it_back() -> None:
    written_back = Mark(NEW, 40, member=OTHER)
    assert judge(TABLE, Held(NEW, 0, 41), written_back, ME) is TableVerdict.OUTDATED
    # also in the owner itself, if it was killed before it marked its table
    assert judge(TABLE, Held(NEW, 0, 41), Mark(NEW, 40, member=ME), ME) is TableVerdict.OUTDATED


def test_a_copy_with_records_that_its_owner_lost_is_dropped() -> None:
    assert judge(TABLE, Held(OLD, 0, 95), Mark(OLD, 80, member=OTHER), ME) is TableVerdict.OUTDATED


def test_a_mark_is_read_as_it_was_written() -> None:
    for mark in (TABLE, MINE, Mark("", -1)):
        assert decode_mark(mark.encode()) == mark


@pytest.mark.parametrize("data", [None, b"", b"x", b"a b c d", b"\xff 1 2 3", b"a 1 2 m later"])
def test_a_mark_of_another_version_is_none(data: bytes | None) -> None:
    assert decode_mark(data) is None


def test_a_record_without_a_value_has_a_digest() -> None:
    assert 0 != digest_of(b"key", None) != digest_of(b"other", None)

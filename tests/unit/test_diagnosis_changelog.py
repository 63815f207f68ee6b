"""Doctor compares the users and monitors of the changelog, of the workers' tables and of the database."""

import pytest

from everwatch.diagnosis import Finding
from everwatch.diagnosis.checks.changelog import MOST_COUNTED, EntryCounters, compared, noted_counts
from everwatch.kafka.progress import EntryCounts, Noted, decode_counts

LARGE = MOST_COUNTED + 1
Pair = tuple[int, int] | None


class Given:
    """Answers of the three, one after the other; the last one stays."""

    def __init__(self) -> None:
        self.records = 100
        self.changelog: list[Pair] = [(10, 30)]
        self.noted: list[Pair] = [(10, 30)]
        self.database: list[Pair] = [(10, 30)]
        self.pauses = 0

    @staticmethod
    def _next(answers: list[Pair]) -> EntryCounts | None:
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        return None if answer is None else EntryCounts(*answer)

    def finding(self) -> Finding:
        def pause(_: float) -> None:
            self.pauses += 1

        def changelog() -> EntryCounts:
            found = self._next(self.changelog)
            assert found is not None
            return found

        counts = EntryCounters(changelog, lambda: self._next(self.noted), lambda: self._next(self.database), pause)
        return compared("changelog", self.records, counts)


@pytest.fixture
def given() -> Given:
    return Given()


def test_numbers_that_agree_are_told(given: Given) -> None:
    finding = given.finding()
    assert (finding.ok, given.pauses) == (True, 0)
    assert finding.says == "has what the workers' tables and the database have, 10 users and 30 monitors"


@pytest.mark.parametrize(
    ("which", "more", "says"),
    [
        ("database", (10, 31), "changelog has 10 users and 30 monitors, the database has 10 users and 31 monitors"),
        ("database", (11, 30), "the database has 11 users and 30 monitors"),
        ("noted", (10, 31), "the workers' tables have 10 users and 31 monitors"),
    ],
)
def test_monitors_or_users_that_only_others_have_are_gone_from_the_changelog(
    given: Given, which: str, more: Pair, says: str
) -> None:
    vars(given)[which] = [more]
    finding = given.finding()
    assert not finding.ok
    assert says in finding.says
    assert "Do not delete the workers' folders" in finding.remedy


def test_of_a_large_changelog_the_numbers_that_owners_note_are_compared(given: Given) -> None:
    given.records = LARGE
    given.changelog = []  # it is not read
    assert given.finding().says == (
        "has what the workers' tables have, 10 users and 30 monitors as they note (500,001 records)"
    )
    given.database = [(10, 31)]
    finding = given.finding()
    assert not finding.ok
    assert finding.says.startswith(
        "the workers' tables have 10 users and 30 monitors, the database has 10 users and 31"
    )
    given.noted = [None]
    finding = given.finding()
    assert finding.ok
    assert "not every partition has had a worker of a version that notes how many" in finding.says


@pytest.mark.parametrize("records", [100, LARGE])
def test_what_is_registered_or_deleted_meanwhile_is_no_fault(given: Given, records: int) -> None:
    given.records = records
    # registered: the database had it before the note
    given.database, given.noted, given.changelog = [(20, 60)], [(10, 30), (20, 60)], [(10, 30), (20, 60)]
    assert given.finding().ok
    # deleted: the sink is behind
    given.database, given.noted, given.changelog = [(10, 30), (9, 27)], [(9, 27)], [(9, 27)]
    assert given.finding().ok


def test_a_database_that_cannot_be_read_is_said(given: Given) -> None:
    given.database = [None]
    finding = given.finding()
    assert finding.ok
    assert finding.says.endswith("; the database cannot be read")


def test_counts_are_known_only_if_each_partition_has_noted_them() -> None:
    notes = {0: Noted(1, None, entries=EntryCounts(1, 2)), 1: Noted(1, None, entries=EntryCounts(3, 4))}
    assert noted_counts(notes, 2) == (4, 6)
    notes[1] = Noted(1, None)
    assert noted_counts(notes, 2) is None
    del notes[1]
    assert noted_counts(notes, 2) is None


@pytest.mark.parametrize("data", [None, b"", b"1", b"1 ", b"a b", b"-1 2", b"1 2 3", b"\xff 1"])
def test_a_header_that_holds_no_counts_is_as_good_as_none(data: bytes | None) -> None:
    assert decode_counts(data) is None
    assert decode_counts(EntryCounts(0, 12).encode()) == (0, 12)

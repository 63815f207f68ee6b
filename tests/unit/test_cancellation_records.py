"""Cancellations of monitors: what workers send when one is paused or deleted, and what executors keep of that."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everwatch.core.errors import InvalidInput
from everwatch.encoding import codec
from everwatch.encoding.cancellation_records import Cancellation, decode_cancellation, encode_cancellation
from everwatch.executor.cancelled_monitors import KEPT_MS, CancelledMonitors, CancelledUpto
from everwatch.model import At, Every, Monitor, MonitorSpec, Origin, Schedule
from everwatch.rules import lifecycle
from everwatch.rules.registration_rules import Change
from streams.outputs.cancellations import cancellation_of

NOW = 1_800_000_000_000
SETTLED = NOW - 100


def monitor(schedule: Schedule) -> Monitor:
    return lifecycle.first_put(
        "ann", MonitorSpec("m", "noop", "{}", schedule), Origin.SIGNUP, NOW - 10_000, NOW - 9_000
    )


# --- workers ----------------------------------------------------------------------------------------------------------


def test_a_pause_cancels_what_is_emitted_and_a_deletion_runs_by_hand_too() -> None:
    recurring = monitor(Every(1_000))
    assert cancellation_of(Change(recurring, lifecycle.pause(recurring, SETTLED)), SETTLED) == Cancellation(SETTLED)
    deleted = Cancellation(SETTLED, is_deleted=True)
    assert cancellation_of(Change(recurring, None), SETTLED) == deleted
    assert cancellation_of(Change(lifecycle.pause(recurring, SETTLED), None), SETTLED) == deleted


def test_what_begins_changes_or_is_resumed_cancels_nothing() -> None:
    recurring = monitor(Every(1_000))
    paused = lifecycle.pause(recurring, SETTLED)
    for change in (
        Change(None, recurring),
        Change(paused, lifecycle.resume(paused, SETTLED)),
        Change(paused, lifecycle.pause(paused, SETTLED, NOW + 60_000)),
        Change(recurring, lifecycle.put_again(recurring, monitor(Every(2_000)).spec, Origin.SIGNUP, SETTLED)),
    ):
        assert cancellation_of(change, SETTLED) is None


def test_a_task_that_has_fired_runs_although_it_is_paused_and_one_that_has_not_has_nothing_to_cancel() -> None:
    fired, pending = monitor(At(NOW - 5_000)), monitor(At(NOW + 5_000))
    for task in (fired, pending):
        assert cancellation_of(Change(task, lifecycle.pause(task, SETTLED)), SETTLED) is None
    assert cancellation_of(Change(fired, None), SETTLED) == Cancellation(SETTLED, is_deleted=True)
    assert cancellation_of(Change(pending, None), SETTLED) is None


# --- records ----------------------------------------------------------------------------------------------------------

ids = st.text(st.characters(min_codepoint=33, exclude_categories=["Cs"]), min_size=1, max_size=20)


@given(ids, st.just("") | ids, st.integers(0, 10**12), st.booleans())
def test_a_record_says_what_was_put_into_it(user_id: str, monitor_id: str, until: int, is_deleted: bool) -> None:
    said = (user_id, monitor_id), Cancellation(until, is_deleted)
    assert decode_cancellation(*encode_cancellation(*said)) == said


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (None, b'{"until": 1}'),
        (b"\0m", b'{"until": 1}'),
        (b"\xff\0m", b'{"until": 1}'),
        (codec.table_key("ann", "m"), None),
        (codec.table_key("ann", "m"), b"x"),
        (codec.table_key("ann", "m"), b'{"until": -1}'),
        (codec.table_key("ann", "m"), b'{"until": 1e300}'),
        (codec.table_key("ann", "m"), b"[" * 100_000),
    ],
)
def test_a_record_that_is_none_is_refused(key: bytes | None, value: bytes | None) -> None:
    with pytest.raises(InvalidInput):
        decode_cancellation(key, value)


# --- executors --------------------------------------------------------------------------------------------------------


def test_what_is_known_of_a_monitor_is_its_own_and_its_users() -> None:
    cancelled = CancelledMonitors()
    cancelled.note(("ann", "m"), Cancellation(NOW - 2), NOW)
    cancelled.note(("ann", "m"), Cancellation(NOW - 9, is_deleted=True), NOW)
    cancelled.note(("bob", ""), Cancellation(NOW - 5, is_deleted=True), NOW)
    cancelled.note(("bob", "m"), Cancellation(NOW - 3), NOW)
    assert cancelled.upto("ann", "m") == CancelledUpto(NOW - 2, NOW - 9)
    assert cancelled.upto("bob", "m") == CancelledUpto(NOW - 3, NOW - 5)
    assert cancelled.upto("bob", "another") == CancelledUpto(0, NOW - 5)
    assert cancelled.upto("ann", "another") is None
    assert cancelled.upto("annm", "") is None


def test_an_older_record_that_comes_later_takes_nothing_back() -> None:
    cancelled = CancelledMonitors()
    for until in (NOW, NOW - 5_000):
        cancelled.note(("ann", "m"), Cancellation(until), NOW)
    assert cancelled.upto("ann", "m") == CancelledUpto(NOW, 0)


def test_as_much_is_kept_as_is_allowed_the_newest_and_none_for_longer_than_ticks_are() -> None:
    cancelled = CancelledMonitors(most_kept=10)
    for number in range(25):
        cancelled.note(("ann", f"m{number}"), Cancellation(NOW), NOW)
    assert len(cancelled) == 10
    assert cancelled.upto("ann", "m14") is None
    assert cancelled.upto("ann", "m15") is not None
    cancelled.note(("ann", "new"), Cancellation(NOW + KEPT_MS), NOW + KEPT_MS)
    assert len(cancelled) == 1
    cancelled.note(("ann", "old"), Cancellation(NOW), NOW + 3 * KEPT_MS)
    assert len(cancelled) == 0

"""Begin, end and next due instant of a monitor, as used wherever future runs are shown."""

from collections.abc import Iterator
from datetime import UTC, datetime

import msgspec
import pytest
from support.calls import calls_of

from everwatch.encoding.codec import table_key
from everwatch.model import Agenda, Align, At, Cron, Every, Monitor, MonitorSpec, Origin, Schedule, State
from everwatch.schedule import cron
from everwatch.schedule.cron import CronTimes
from everwatch.schedule.due import NeverDue, count_due, due_in, ends_at_of, last_due, nth_due, upcoming
from everwatch.schedule.duration import DAY_MS, HOUR_MS, MINUTE_MS

KEY = table_key("user-1", "report")
NOON = 1_795_262_400_000  # 2026-11-21T12:00:00Z
NOTHING_ELSE = Agenda()
HOURLY = Every(HOUR_MS, Align.EPOCH)
BY_HOUR = [HOURLY, Cron("0 * * * *"), Every(HOUR_MS, Align.MIDNIGHT, "UTC")]


def spec_of(schedule: Schedule, **bounds: int) -> MonitorSpec:
    return MonitorSpec("report", "noop", "{}", schedule, **bounds)


def monitor_of(schedule: Schedule, agenda: Agenda = NOTHING_ELSE, **bounds: int) -> Monitor:
    return Monitor("user-1", spec_of(schedule, **bounds), Origin.SIGNUP, 1, NOON, agenda=agenda, state_since=NOON)


def hours(*numbers: int) -> list[int]:
    return [NOON + n * HOUR_MS for n in numbers]


@pytest.fixture
def listed() -> Iterator[list[object]]:
    """Note each step in which instants of a cron expression are worked out."""
    with calls_of(cron.due_after, resumed=True) as listed:
        yield listed


# --- back and ahead ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("schedule", BY_HOUR)
def test_the_last_the_nth_and_their_number(schedule: Schedule) -> None:
    assert last_due(schedule, KEY, NOON, NOON + 5 * HOUR_MS) == NOON + 5 * HOUR_MS
    assert last_due(schedule, KEY, NOON, NOON + 5 * HOUR_MS - 1) == NOON + 4 * HOUR_MS
    assert last_due(schedule, KEY, NOON, NOON + HOUR_MS - 1) is None
    assert [nth_due(schedule, KEY, NOON, n) for n in (1, 2, 1_000)] == hours(1, 2, 1_000)
    assert count_due(schedule, KEY, NOON, NOON + 5 * HOUR_MS, 100) == 5
    assert count_due(schedule, KEY, NOON, NOON + 5 * HOUR_MS, 3) == 3
    assert count_due(schedule, KEY, NOON, NOON, 3) == 0


def test_a_task_is_due_once_also_if_it_comes_late() -> None:
    for at, due in ((NOON + HOUR_MS, NOON + HOUR_MS), (NOON - HOUR_MS, NOON + 1)):
        assert last_due(At(at), KEY, NOON, due) == due
        assert last_due(At(at), KEY, NOON, due - 1) is None
        assert nth_due(At(at), KEY, NOON, 1) == due
        assert nth_due(At(at), KEY, NOON, 2) is None
        assert count_due(At(at), KEY, NOON, due, 9) == 1
        assert count_due(At(at), KEY, NOON, due - 1, 9) == 0


def test_what_never_comes_again_has_no_nth() -> None:
    end = int(datetime.fromisoformat("9999-12-20T00:00Z").timestamp() * 1000)
    assert nth_due(Cron("0 9 * * *"), KEY, end, 1) == end + 9 * HOUR_MS
    assert nth_due(Cron("0 9 * * *"), KEY, end, 30) is None


def test_a_run_more_than_fifty_years_ahead_is_not_looked_for(listed: list[object]) -> None:
    leap_days = Cron("3 4 29 2 *", "Africa/Abidjan")
    assert nth_due(leap_days, KEY, NOON, 12) == int(datetime(2072, 2, 29, 4, 3, tzinfo=UTC).timestamp() * 1000)
    listed.clear()
    assert nth_due(leap_days, KEY, NOON, 1_000) is None
    assert len(listed) < 30


def test_a_last_run_too_far_ahead_to_be_known_counts_as_none() -> None:
    rare = spec_of(Cron("0 0 29 2 *"), max_runs=1_000)
    assert ends_at_of(rare, KEY, NOON, 0) == 0
    assert ends_at_of(rare, KEY, NOON, 998) == int(datetime(2032, 2, 29, tzinfo=UTC).timestamp() * 1000)
    end_at = NOON + 3_000 * DAY_MS
    bounded = spec_of(Cron("0 0 29 2 *"), max_runs=1_000, end_at=end_at)
    assert ends_at_of(bounded, KEY, NOON, 0) == last_due(rare.schedule, KEY, NOON, end_at)


@pytest.mark.parametrize(
    ("expression", "upto", "last"),
    [
        ("* * * 1 *", "2026-11-21T00:00Z", "2026-01-31T23:59Z"),
        ("* * 1 1 *", "2026-12-31T00:00Z", "2026-01-01T23:59Z"),
        ("0 0 29 2 *", "2027-12-31T00:00Z", "2024-02-29T00:00Z"),
        ("*/7 9-17 * * 1-5", "2026-11-23T08:59Z", "2026-11-20T17:56Z"),
    ],
)
def test_looking_far_back_reads_little(expression: str, upto: str, last: str, listed: list[object]) -> None:
    times = CronTimes(Cron(expression))
    asked, expected = (int(datetime.fromisoformat(text).timestamp() * 1000) for text in (upto, last))
    assert times.last_between(0, asked) == expected
    assert len(listed) < 1_500


def test_looking_back_leaves_what_comes_next_as_it_was(listed: list[object]) -> None:
    times = CronTimes(Cron("*/10 * * * *"))
    following = times.next_after(NOON)
    assert times.last_between(NOON - 100 * DAY_MS, NOON - DAY_MS - 1) == NOON - DAY_MS - 10 * MINUTE_MS
    listed.clear()
    assert times.next_after(NOON) == following
    assert listed == [], "nothing is worked out anew"


def test_the_end_of_a_gap_into_which_a_hundred_times_fell_is_found_as_the_last() -> None:
    # at Troll clocks are put forward by two hours
    change = int(datetime.fromisoformat("2027-03-28T01:00Z").timestamp() * 1000)
    times = CronTimes(Cron("0-59 1-2 * * *", "Antarctica/Troll"))
    assert times.last_between(change - HOUR_MS, change) == change
    assert times.between(change - 2 * HOUR_MS, change + HOUR_MS) == [change]


# --- when it ends -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("schedule", BY_HOUR)
@pytest.mark.parametrize(
    ("bounds", "runs", "ends_at"),
    [
        ({}, 0, 0),
        ({"start_at": NOON + 3 * HOUR_MS}, 0, 0),
        ({"end_at": NOON + 5 * HOUR_MS}, 0, 5),
        ({"end_at": NOON + 5 * HOUR_MS - 1}, 0, 4),
        ({"max_runs": 3}, 0, 3),
        ({"max_runs": 3}, 2, 1),
        ({"max_runs": 3, "start_at": NOON + 3 * HOUR_MS}, 0, 5),
        ({"max_runs": 3, "end_at": NOON + 2 * HOUR_MS}, 0, 2),
        ({"max_runs": 3, "end_at": NOON + 9 * HOUR_MS}, 0, 3),
        ({"max_runs": 3, "end_at": NOON + 9 * HOUR_MS, "start_at": NOON + 8 * HOUR_MS}, 1, 9),
    ],
)
def test_a_monitor_ends_with_its_last_run_before_end_at_or_at_its_last_of_max_runs(
    schedule: Schedule, bounds: dict[str, int], runs: int, ends_at: int
) -> None:
    expected = NOON + ends_at * HOUR_MS if ends_at else 0
    assert ends_at_of(spec_of(schedule, **bounds), KEY, NOON, runs) == expected


@pytest.mark.parametrize("schedule", BY_HOUR)
@pytest.mark.parametrize(
    ("bounds", "runs", "told"),
    [
        ({"end_at": NOON + HOUR_MS - 1}, 0, "end_at lies before its first run"),
        ({"end_at": NOON - HOUR_MS}, 0, "end_at lies before its first run"),
        ({"start_at": NOON + HOUR_MS + 1, "end_at": NOON + 2 * HOUR_MS - 1}, 0, "end_at lies before its first run"),
        ({"max_runs": 3}, 3, "its max_runs are used up"),
        ({"max_runs": 3}, 4, "its max_runs are used up"),
    ],
)
def test_what_would_never_be_due_is_refused_in_a_sentence(
    schedule: Schedule, bounds: dict[str, int], runs: int, told: str
) -> None:
    with pytest.raises(NeverDue) as caught:
        ends_at_of(spec_of(schedule, **bounds), KEY, NOON, runs)
    assert str(caught.value) == f"it would never be due: {told}"


def test_a_schedule_that_does_not_come_true_after_start_at_is_refused() -> None:
    last_day = int(datetime.fromisoformat("9999-12-31T12:00Z").timestamp() * 1000)
    for bounds in ({"start_at": last_day}, {"start_at": last_day, "max_runs": 3}):
        with pytest.raises(NeverDue, match="its schedule does not come true any more"):
            ends_at_of(spec_of(Cron("0 9 * * *"), **bounds), KEY, NOON, 0)


def test_a_task_ends_by_itself_but_its_instant_must_lie_within_its_bounds() -> None:
    assert ends_at_of(spec_of(At(NOON + HOUR_MS)), KEY, NOON, 0) == 0
    assert ends_at_of(spec_of(At(NOON), start_at=NOON, end_at=NOON, max_runs=1), KEY, NOON + DAY_MS, 1) == 0
    with pytest.raises(NeverDue, match="it would never be due: at lies before start_at"):
        ends_at_of(spec_of(At(NOON), start_at=NOON + 1), KEY, NOON, 0)
    with pytest.raises(NeverDue, match="it would never be due: at lies after end_at"):
        ends_at_of(spec_of(At(NOON), end_at=NOON - 1), KEY, NOON, 0)


# --- what comes next --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("schedule", BY_HOUR)
def test_the_next_runs_are_told_from_any_instant_on(schedule: Schedule) -> None:
    monitor = monitor_of(schedule)
    assert upcoming(monitor, NOON, 3) == hours(1, 2, 3)
    assert upcoming(monitor, NOON + HOUR_MS, 3) == hours(2, 3, 4)
    assert upcoming(monitor, 0, 3) == hours(1, 2, 3)
    assert upcoming(monitor, NOON, 0) == []


@pytest.mark.parametrize("schedule", BY_HOUR)
def test_the_next_runs_keep_within_start_and_end(schedule: Schedule) -> None:
    assert upcoming(monitor_of(schedule, start_at=NOON + 3 * HOUR_MS), NOON, 2) == hours(3, 4)
    assert upcoming(monitor_of(schedule, end_at=NOON + 2 * HOUR_MS), NOON, 9) == hours(1, 2)
    assert upcoming(monitor_of(schedule, max_runs=2), NOON, 9) == hours(1, 2)
    assert upcoming(monitor_of(schedule, Agenda(ends_at=NOON + 2 * HOUR_MS), max_runs=9), NOON, 9) == hours(1, 2)
    assert upcoming(monitor_of(schedule, end_at=NOON - HOUR_MS), NOON, 9) == []


def test_phase_and_spread_are_those_of_the_monitors_table_key() -> None:
    for schedule in (Every(HOUR_MS), Cron("0 * * * *", spread_ms=HOUR_MS)):
        found = upcoming(monitor_of(schedule), NOON, 5)
        assert found == list(due_in(schedule, KEY, NOON, NOON, NOON + 5 * HOUR_MS))
        assert found[0] % HOUR_MS


@pytest.mark.parametrize("state", [State.PAUSED, State.DONE])
def test_of_what_sleeps_nothing_comes(state: State) -> None:
    assert upcoming(msgspec.structs.replace(monitor_of(HOURLY), state=state), NOON, 3) == []


def paused(schedule: Schedule, at: int, until: int, **bounds: int) -> Monitor:
    monitor = monitor_of(schedule, Agenda(resume_at=until), **bounds)
    return msgspec.structs.replace(monitor, state=State.PAUSED, state_since=at)


@pytest.mark.parametrize("schedule", BY_HOUR)
def test_of_a_pause_with_an_end_that_comes_which_is_due_after_it(schedule: Schedule) -> None:
    until = NOON + 5 * HOUR_MS
    assert upcoming(paused(schedule, NOON, until), NOON, 2) == hours(6, 7)
    assert upcoming(paused(schedule, NOON, until, end_at=NOON + 6 * HOUR_MS), NOON, 9) == hours(6)
    assert upcoming(paused(schedule, NOON, until, end_at=NOON + 4 * HOUR_MS), NOON, 9) == []


@pytest.mark.parametrize("schedule", BY_HOUR)
def test_runs_before_a_pause_count_and_those_missed_in_it_do_not(schedule: Schedule) -> None:
    begun, until = NOON + 2 * HOUR_MS, NOON + 10 * HOUR_MS
    assert upcoming(paused(schedule, begun, until, max_runs=5), begun, 9) == hours(11, 12, 13)
    assert upcoming(paused(schedule, begun, until, max_runs=2), begun, 9) == []
    # what was worked out before the pause no longer holds
    monitor = paused(schedule, begun, until, max_runs=5)
    known = msgspec.structs.replace(monitor.agenda, ends_at=NOON + 5 * HOUR_MS)
    assert upcoming(msgspec.structs.replace(monitor, agenda=known), begun, 9) == hours(11, 12, 13)


def test_a_task_comes_once_and_after_a_pause_that_it_fell_into() -> None:
    assert upcoming(monitor_of(At(NOON + HOUR_MS)), NOON, 9) == hours(1)
    assert upcoming(monitor_of(At(NOON + HOUR_MS)), NOON + HOUR_MS, 9) == []
    assert upcoming(monitor_of(At(NOON - HOUR_MS)), NOON, 9) == [NOON + 1]
    assert upcoming(monitor_of(At(NOON + HOUR_MS), start_at=NOON, end_at=NOON + HOUR_MS), NOON, 9) == hours(1)
    assert upcoming(paused(At(NOON + HOUR_MS), NOON, NOON + DAY_MS), NOON, 9) == [NOON + DAY_MS + 1]
    assert upcoming(paused(At(NOON + 2 * DAY_MS), NOON, NOON + DAY_MS), NOON, 9) == [NOON + 2 * DAY_MS]

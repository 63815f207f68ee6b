"""Last, n-th and next due instants and ends of schedules, against walking from one due instant to the next."""

from itertools import pairwise

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from everwatch.model import Agenda, Align, At, Cron, Every, Monitor, MonitorSpec, Origin, Schedule, State
from everwatch.schedule.due import NeverDue, count_due, due_in, ends_at_of, last_due, next_due, nth_due, upcoming
from everwatch.schedule.duration import DAY_MS, HOUR_MS, MINUTE_MS
from everwatch.schedule.every import PHASE_STEP_MS, phase_of
from everwatch.schedule.spread import spread_of

START = 1_795_262_400_000  # 2026-11-21T12:00:00Z

keys = st.binary(min_size=1, max_size=24)
zones = st.sampled_from(["UTC", "Europe/Berlin", "America/Havana", "Australia/Lord_Howe", "Africa/Cairo"])
expressions = st.sampled_from(
    ["* * * * *", "*/7 * * * *", "0 * * * *", "30 2 * * *", "0 9 * * 1-5", "0-59 2 * * *", "* 9 * * SUN", "0 0 1 * *"]
)
spreads = st.sampled_from([0, 1, 100, MINUTE_MS, 10 * MINUTE_MS, 25 * HOUR_MS])
crons = st.builds(Cron, expressions, zones, spreads)
aligned = st.builds(
    lambda interval_ms, zone: Every(interval_ms, Align.MIDNIGHT, zone),
    st.sampled_from([MINUTE_MS, HOUR_MS, 8 * HOUR_MS, DAY_MS, 3 * DAY_MS]),
    zones,
)
everies = st.builds(
    lambda steps, align: Every(steps * PHASE_STEP_MS, align),
    st.integers(MINUTE_MS // PHASE_STEP_MS, 2 * DAY_MS // PHASE_STEP_MS),
    st.sampled_from([Align.PHASE, Align.EPOCH]),
)
moments = st.integers(START, START + 365 * DAY_MS)
ats = st.builds(At, moments)
walls = crons | aligned
repeated = walls | everies
schedules = repeated | ats
stretches = st.integers(0, 3 * DAY_MS)
bounds = st.none() | st.integers(-DAY_MS, 5 * DAY_MS)


def walked(schedule: Schedule, key: bytes, since: int, most: int, upto: int = 0) -> list[int]:
    """From one due instant to the next, each asked for by itself."""
    found: list[int] = []
    following = next_due(schedule, key, since, since)
    while following is not None and len(found) < most and not 0 < upto < following:
        found.append(following)
        following = next_due(schedule, key, since, following)
    return found


@settings(deadline=None)
@given(schedules, keys, moments, stretches)
def test_the_last_one_is_the_last_of_all(schedule: Schedule, key: bytes, since: int, length_ms: int) -> None:
    everything = due_in(schedule, key, since, since, since + length_ms)
    assert last_due(schedule, key, since, since + length_ms) == (everything[-1] if everything else None)


@settings(deadline=None)
@given(walls, keys, moments, st.integers(0, 200 * DAY_MS))
def test_however_long_ago_nothing_comes_after_the_last_one(
    schedule: Schedule, key: bytes, since: int, length_ms: int
) -> None:
    last = last_due(schedule, key, since, since + length_ms)
    following = next_due(schedule, key, since, since if last is None else last)
    assert last is None or since < last <= since + length_ms
    assert following is None or following > since + length_ms


@settings(deadline=None)
@given(schedules, keys, moments, st.integers(1, 200))
def test_the_nth_one_is_found_by_walking(schedule: Schedule, key: bytes, since: int, n: int) -> None:
    found = walked(schedule, key, since, n)
    assert nth_due(schedule, key, since, n) == (found[-1] if len(found) == n else None)
    assert all(before < after for before, after in pairwise(found))


@settings(deadline=None)
@given(schedules, keys, moments, stretches, st.integers(0, 500))
def test_they_are_counted_one_by_one_and_no_further_than_asked(
    schedule: Schedule, key: bytes, since: int, length_ms: int, most: int
) -> None:
    everything = due_in(schedule, key, since, since, since + length_ms)
    assert count_due(schedule, key, since, since + length_ms, most) == min(most, len(everything))


@settings(deadline=None)
@given(crons, keys, moments, stretches)
def test_a_spread_moves_every_due_instant_by_the_same(schedule: Cron, key: bytes, since: int, length_ms: int) -> None:
    offset = spread_of(key, schedule.spread_ms)
    assert offset % PHASE_STEP_MS == 0
    assert 0 <= offset < max(1, schedule.spread_ms)
    plain = Cron(schedule.expression, schedule.timezone)
    expected = [t + offset for t in due_in(plain, key, 0, since - offset, since + length_ms - offset)]
    assert list(due_in(schedule, key, since, 0, since + length_ms)) == expected


@given(everies, keys, moments, stretches)
def test_an_interval_is_due_where_it_leaves_its_phase(schedule: Every, key: bytes, since: int, length_ms: int) -> None:
    phase = phase_of(key, schedule)
    assert (phase == 0) if schedule.align is Align.EPOCH else (0 <= phase < schedule.interval_ms)
    steps = range(since - since % PHASE_STEP_MS, since + length_ms + 1, PHASE_STEP_MS)[:20_000]
    expected = [t for t in steps if t > since and t % schedule.interval_ms == phase]
    assert list(due_in(schedule, key, since, since, steps[-1])) == expected


@settings(deadline=None)
@given(repeated, keys, moments, bounds, bounds, st.integers(0, 40), st.integers(0, 40))
def test_it_ends_where_a_walk_within_its_bounds_ends(
    schedule: Schedule, key: bytes, since: int, start_ms: int | None, end_ms: int | None, max_runs: int, runs: int
) -> None:
    start_at, end_at = (0 if ms is None else since + ms for ms in (start_ms, end_ms))
    spec = MonitorSpec("m", "noop", "{}", schedule, start_at=start_at, end_at=end_at, max_runs=max_runs)
    left = max(0, max_runs - runs) if max_runs else 10_000
    found = walked(schedule, key, max(since, start_at - 1), left if end_at or max_runs else 1, end_at)
    try:
        ends_at = ends_at_of(spec, key, since, runs)
    except NeverDue:
        assert found == []
    else:
        assert ends_at == (found[-1] if end_at or max_runs else 0)


@settings(deadline=None)
@given(repeated, moments, moments, bounds, bounds, st.integers(0, 20), st.integers(0, 8))
def test_what_comes_is_what_a_walk_within_its_bounds_comes_to(
    schedule: Schedule, since: int, after: int, start_ms: int | None, end_ms: int | None, max_runs: int, most: int
) -> None:
    start_at, end_at = (0 if ms is None else since + ms for ms in (start_ms, end_ms))
    spec = MonitorSpec("m", "noop", "{}", schedule, start_at=start_at, end_at=end_at, max_runs=max_runs)
    monitor = Monitor("user-1", spec, Origin.SIGNUP, 1, since)
    begin = max(since, start_at - 1)
    allowed = walked(schedule, monitor.key, begin, max_runs, end_at) if max_runs else None
    expected = walked(schedule, monitor.key, max(begin, after), most, end_at)
    if allowed is not None:
        expected = [t for t in allowed if t > after][:most]
    assert upcoming(monitor, after, most) == expected
    # worked out before or not, its end is the same
    try:
        agenda = Agenda(ends_at=ends_at_of(spec, monitor.key, since, 0))
    except NeverDue:
        assert expected == []
    else:
        assert upcoming(msgspec.structs.replace(monitor, agenda=agenda), after, most) == expected


@settings(deadline=None)
@given(schedules, moments, st.integers(0, DAY_MS), st.integers(0, 3 * DAY_MS), st.integers(0, 8))
def test_of_a_paused_monitor_comes_what_comes_of_one_resumed_then(
    schedule: Schedule, since: int, paused_ms: int, pause_ms: int, most: int
) -> None:
    spec = MonitorSpec("m", "noop", "{}", schedule)
    at = since + paused_ms
    agenda = Agenda(resume_at=at + pause_ms)
    paused = Monitor("user-1", spec, Origin.SIGNUP, 1, since, State.PAUSED, at, agenda=agenda)
    resumed = Monitor("user-1", spec, Origin.SIGNUP, 1, at + pause_ms)
    assert upcoming(paused, at, most) == upcoming(resumed, at, most)
    assert all(t > at + pause_ms for t in upcoming(paused, at, most))
    assert upcoming(msgspec.structs.replace(paused, agenda=Agenda()), at, most) == []

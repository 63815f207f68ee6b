"""Schedules and misfire rules against naive models: every minute tried one by one, every instant asked for its age."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everwatch.core.bounds import LATEST_MS
from everwatch.core.errors import InvalidInput
from everwatch.encoding.input_conversion import monitor_of
from everwatch.encoding.input_models import MonitorInput, ScheduleInput
from everwatch.model import At, Cron, Every, Misfire, Schedule
from everwatch.schedule.cron import read_expression
from everwatch.schedule.due import due_in, next_due
from everwatch.schedule.every import due_between, phase_of
from everwatch.schedule.instant import EARLIEST_MS, parse_instant_ms
from everwatch.schedule.misfire import divide

START = 1_795_262_400_000  # 2026-11-21T12:00:00Z
MINUTE_MS, HOUR_MS, DAY_MS = 60_000, 3_600_000, 86_400_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

keys = st.binary(min_size=1, max_size=24)
moments = st.integers(START, START + 3 * 365 * DAY_MS)
ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Cairo", "Asia/Kathmandu"]


def field(least: int, most: int) -> st.SearchStrategy[str]:
    numbers = st.integers(least, most)
    ranges = st.tuples(numbers, numbers).map(sorted).map(lambda pair: f"{pair[0]}-{pair[1]}")
    steps = st.integers(1, most).map(lambda step: f"*/{step}")
    lists = st.lists(numbers, min_size=1, max_size=3).map(lambda listed: ",".join(map(str, listed)))
    return st.just("*") | lists | ranges | steps


expressions = st.tuples(field(0, 59), field(0, 23), field(1, 28), field(1, 12), field(0, 6)).map(" ".join)
zones = st.sampled_from(ZONES)
crons = st.builds(Cron, expressions, zones)
everies = st.integers(10, 100_000).map(lambda steps: Every(steps * 100))
ats = st.builds(At, moments)
schedules = crons | everies | ats


def allowed(field: str, least: int, most: int) -> set[int]:
    """The numbers that a simple field of a cron expression stands for."""
    everything = range(least, most + 1)
    if field.startswith("*"):
        return set(everything[:: int(field[2:] or 1)])
    begin, dash, end = field.partition("-")
    return set(range(int(begin), int(end) + 1)) if dash else {int(number) for number in field.split(",")}


def matches(expression: str, wall: datetime) -> bool:
    """Tell whether Debian's cron runs this at ``wall``: the two day fields both count if one begins with a star."""
    minute, hour, day, month, weekday = expression.split()
    right_day = wall.day in allowed(day, 1, 31)
    right_weekday = wall.isoweekday() % 7 in allowed(weekday, 0, 6)
    both = day.startswith("*") or weekday.startswith("*")
    return (
        wall.minute in allowed(minute, 0, 59)
        and wall.hour in allowed(hour, 0, 23)
        and wall.month in allowed(month, 1, 12)
        and ((right_day and right_weekday) if both else (right_day or right_weekday))
    )


def naive_cron(expression: str, after: int, upto: int) -> list[int]:
    first = after - after % MINUTE_MS + MINUTE_MS
    minutes = range(first, upto + 1, MINUTE_MS)
    return [t for t in minutes if matches(expression, EPOCH + timedelta(milliseconds=t))]


@settings(deadline=None)
@given(expressions, moments, st.integers(0, DAY_MS))
def test_cron_in_utc_is_due_at_every_minute_that_matches(expression: str, after: int, length_ms: int) -> None:
    found = due_in(Cron(expression), b"key", 0, after, after + length_ms)
    assert list(found) == naive_cron(expression, after, after + length_ms)


@settings(deadline=None)
@given(schedules, keys, moments, st.lists(st.integers(0, DAY_MS), min_size=1, max_size=6))
def test_however_time_is_cut_the_same_is_due(schedule: Schedule, key: bytes, since: int, steps_ms: list[int]) -> None:
    at, found = since, []
    for step_ms in steps_ms:
        found += due_in(schedule, key, since, at, at + step_ms)
        at += step_ms
    assert found == list(due_in(schedule, key, since, 0, at))
    assert found == sorted(set(found))


@settings(deadline=None)
@given(schedules, keys, moments, st.integers(-DAY_MS, DAY_MS))
def test_the_next_due_instant_is_the_first_of_those_to_come(
    schedule: Schedule, key: bytes, since: int, after_ms: int
) -> None:
    after = since + after_ms
    following = next_due(schedule, key, since, after)
    if following is None:
        assert len(due_in(schedule, key, since, after, after + 10 * DAY_MS)) == 0
    else:
        assert following > max(after, since)
        assert list(due_in(schedule, key, since, after, following)) == [following]


@given(everies, keys, moments, st.integers(-DAY_MS, DAY_MS), st.integers(0, HOUR_MS))
def test_an_interval_is_due_as_the_timetable_has_it(
    schedule: Every, key: bytes, since: int, after_ms: int, length_ms: int
) -> None:
    after = since + after_ms
    found = due_in(schedule, key, since, after, after + length_ms)
    assert found == due_between(schedule, phase_of(key, schedule), max(after, since), after + length_ms)


@given(moments, keys, moments, moments, moments)
def test_a_delayed_task_is_due_once_and_never_before_its_time(
    at: int, key: bytes, since: int, after: int, upto: int
) -> None:
    found = list(due_in(At(at), key, since, after, upto))
    expected = at if at > since else since + 1
    assert found == ([expected] if after < expected <= upto else [])


@given(st.text(st.sampled_from("0123456789*/-,#L WMONSUJAFEB?"), max_size=24) | st.text(max_size=12))
def test_whatever_is_written_for_cron_is_taken_or_refused_in_a_sentence(text: str) -> None:
    try:
        expression = read_expression(text)
    except ValueError as error:
        assert str(error)  # noqa: PT017  (both outcomes are fine; any other exception is not)
    else:
        assert next_due(Cron(expression), b"key", START, START) is not None


@given(st.text(max_size=24), st.text(max_size=24))
def test_whatever_is_written_for_a_schedule_is_taken_or_refused_with_its_path(text: str, zone: str) -> None:
    for given_schedule in (ScheduleInput(cron="* * * * *", timezone=zone), ScheduleInput(at=text)):
        try:
            monitor_of(MonitorInput(schedule=given_schedule), "$")
        except InvalidInput as error:
            assert error.path in ("$.schedule.timezone", "$.schedule.at")  # noqa: PT017


@given(st.integers(EARLIEST_MS, LATEST_MS), st.timedeltas(timedelta(hours=-14), timedelta(hours=14)))
def test_an_instant_is_the_same_in_every_offset(instant_ms: int, offset: timedelta) -> None:
    wall = datetime(1970, 1, 1) + timedelta(milliseconds=instant_ms)
    minutes = offset // timedelta(minutes=1)
    try:
        local = wall + timedelta(minutes=minutes)
    except OverflowError:  # the last hours of the year 9999
        return
    sign, (hours, rest) = "+-"[minutes < 0], divmod(abs(minutes), 60)
    assert parse_instant_ms(f"{local.isoformat()}{sign}{hours:02d}:{rest:02d}") == instant_ms
    assert parse_instant_ms(f"{wall.isoformat()}Z") == parse_instant_ms(instant_ms) == instant_ms


# --- misfire rules ----------------------------------------------------------------------------------------------------


def naive_settle(due: Sequence[int], now: int, rule: Misfire, grace_ms: int) -> tuple[list[int], list[int]]:
    fresh = [t for t in due if now - t <= grace_ms]
    late = [t for t in due if now - t > grace_ms]
    if rule is Misfire.FIRE_ALL:
        return late + fresh, []
    if rule is Misfire.FIRE_LAST and late and not fresh:
        return [late[-1]], late[:-1]
    return fresh, late


uneven = st.lists(st.integers(START, START + HOUR_MS), unique=True, max_size=30).map(sorted)
even = st.builds(
    lambda start, interval_ms, count: range(start, start + interval_ms * count, interval_ms),
    st.integers(START, START + HOUR_MS),
    st.integers(1, HOUR_MS),
    st.integers(0, 50),
)


@given(
    uneven | uneven.map(tuple) | even,
    st.integers(START, START + 2 * HOUR_MS),
    st.sampled_from(Misfire),
    st.integers(5_000, HOUR_MS),
)
def test_due_instants_however_they_are_spaced_are_settled_as_the_rule_says(
    due: Sequence[int], now: int, rule: Misfire, grace_ms: int
) -> None:
    fire, skipped = divide(due, now, rule, grace_ms)
    assert (list(fire), list(skipped)) == naive_settle(due, now, rule, grace_ms)
    assert type(fire) is type(skipped) is type(due)


def test_what_is_exactly_as_old_as_the_grace_is_within_it() -> None:
    assert divide([START - 1, START], START + MINUTE_MS, Misfire.SKIP, MINUTE_MS) == ([START], [START - 1])


@pytest.mark.parametrize("rule", Misfire)
def test_a_delayed_task_that_is_too_late_runs_unless_its_rule_is_to_skip(rule: Misfire) -> None:
    due = due_in(At(START), b"key", START - 1, START - 1, START + DAY_MS)
    fire, skipped = divide(due, START + DAY_MS, rule, MINUTE_MS)
    assert (list(fire), list(skipped)) == (([], [START]) if rule is Misfire.SKIP else ([START], []))

"""Intervals counted from midnight against a walk through every minute, where and when clocks change oddly."""

from datetime import UTC, date, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from everwatch.model import Align, Every
from everwatch.schedule.cron import zone_named
from everwatch.schedule.duration import DAY_MS, HOUR_MS, MINUTE_MS
from everwatch.schedule.midnight import MidnightTimes, check_alignment

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# near these instants a day is shorter or longer, has no midnight, two of them, or is not there at all
CHANGES = [
    ("Europe/Berlin", "2027-03-28T01:00Z"), ("Europe/Berlin", "2027-10-31T01:00Z"),
    ("Africa/Cairo", "2026-04-23T22:00Z"), ("Africa/Cairo", "2026-10-29T21:00Z"),
    ("America/Havana", "2026-03-08T05:00Z"), ("America/Havana", "2027-11-07T05:00Z"),
    ("America/Santiago", "2026-04-05T03:00Z"), ("America/Santiago", "2026-09-06T04:00Z"),
    ("America/St_Johns", "2010-11-07T02:31Z"), ("America/St_Johns", "2010-03-14T03:31Z"),  # one minute past midnight
    ("Australia/Lord_Howe", "2026-10-03T15:30Z"), ("Antarctica/Troll", "2027-10-31T01:00Z"),
    ("Pacific/Apia", "2011-12-30T10:00Z"), ("Asia/Kathmandu", "2026-11-21T00:00Z"), ("UTC", "2028-02-29T00:00Z"),
]  # fmt: skip

minutes = st.sampled_from([n for n in range(1, 1_440) if 1_440 % n == 0]).map(lambda n: n * MINUTE_MS)
days = st.integers(1, 5).map(lambda n: n * DAY_MS)
intervals = st.sampled_from([MINUTE_MS, HOUR_MS, 6 * HOUR_MS, 12 * HOUR_MS]) | minutes | days


def naive(interval_ms: int, timezone: str, after: int, upto: int) -> list[int]:
    """Decide for each minute by itself: whether a day begins with it, and how long ago one did."""
    zone, begun, seen, found = zone_named(timezone), 0, set[date](), []
    first = after - after % MINUTE_MS - 3 * DAY_MS
    seen.add((EPOCH + timedelta(milliseconds=first - MINUTE_MS)).astimezone(zone).date())
    for t in range(first, upto + 1, MINUTE_MS):
        day = (EPOCH + timedelta(milliseconds=t)).astimezone(zone).date()
        begins = day not in seen
        if begins:
            seen.add(day)
            begun = t
        if interval_ms < DAY_MS:
            due = begun > 0 and (t - begun) % interval_ms == 0
        else:
            due = begins and (day - date(1970, 1, 1)).days % (interval_ms // DAY_MS) == 0
        if due and after < t:
            found.append(t)
    return found


@settings(deadline=None)
@given(st.sampled_from(CHANGES), intervals, st.integers(-30 * HOUR_MS, 6 * HOUR_MS), st.integers(0, 40 * HOUR_MS))
def test_it_is_due_at_every_minute_that_is_so_long_after_the_day_began(
    change: tuple[str, str], interval_ms: int, offset_ms: int, length_ms: int
) -> None:
    timezone, at = change
    after = int(datetime.fromisoformat(at).timestamp() * 1000) + offset_ms
    times = MidnightTimes(Every(interval_ms, Align.MIDNIGHT, timezone))
    assert times.between(after, after + length_ms) == naive(interval_ms, timezone, after, after + length_ms)


@settings(deadline=None)
@given(
    st.sampled_from(CHANGES),
    intervals,
    st.integers(-50 * HOUR_MS, 0),
    st.lists(st.integers(0, 30 * HOUR_MS), min_size=1, max_size=6),
)
def test_from_wherever_and_however_often_one_asks_the_same_is_due(
    change: tuple[str, str], interval_ms: int, offset_ms: int, steps_ms: list[int]
) -> None:
    timezone, text = change
    begin = at = int(datetime.fromisoformat(text).timestamp() * 1000) + offset_ms
    schedule = Every(interval_ms, Align.MIDNIGHT, timezone)
    everything = MidnightTimes(schedule).between(begin, begin + sum(steps_ms))
    asked = MidnightTimes(schedule)
    found = []
    for step_ms in steps_ms:
        found += asked.between(at, at + step_ms)
        at += step_ms
        assert asked.last_between(begin, at) == (found[-1] if found else None)
        assert MidnightTimes(schedule).between(at, begin + sum(steps_ms)) == [t for t in everything if t > at]
    assert found == everything
    assert found == sorted(set(found))


@given(st.integers(1, 30 * DAY_MS) | minutes | days)
def test_an_interval_is_allowed_if_and_only_if_midnights_lie_on_it(interval_ms: int) -> None:
    try:
        check_alignment(interval_ms)
        allowed = True
    except ValueError:
        allowed = False
    assert allowed == (DAY_MS % interval_ms == 0 or interval_ms % DAY_MS == 0)

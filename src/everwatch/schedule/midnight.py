"""Intervals counted from each local midnight: due at the same times of the wall clock every day. Pure.

An interval that divides 24 hours is due at midnight and then each interval of elapsed time, up to the next midnight: a
day of 23 hours has less of them and one of 25 hours more, and after a change of the clock they come an hour later or
earlier by the wall clock, until midnight sets them right. An interval of whole days is due at the midnight of each nth
day, days counted from 1 January 1970.

A day begins at the first instant at which the clock shows its date: where 00:00 does not exist that is the end of the
gap, and where it exists twice the first one. A day that a zone left out has no midnight.
"""

from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from functools import lru_cache, partial
from zoneinfo import ZoneInfo

from everwatch.model import Every
from everwatch.schedule.cron import DAY, EPOCH, MS, first_showing, zone_named
from everwatch.schedule.duration import DAY_MS, describe_duration
from everwatch.schedule.listed_instants import Ahead

FIRST_DAY = date(1970, 1, 1)


class MidnightTimes(Ahead):
    """The due instants, in ms, of one interval that is aligned to midnight. Raises ValueError as check_alignment."""

    def __init__(self, schedule: Every) -> None:
        check_alignment(schedule.interval_ms)
        super().__init__(partial(due_after, schedule.interval_ms, zone_named(schedule.timezone)))


@lru_cache(maxsize=4_096)
def midnight_times(schedule: Every) -> MidnightTimes:
    """The due instants of ``schedule``: one value for all monitors that share it."""
    return MidnightTimes(schedule)


def check_alignment(interval_ms: int) -> None:
    """Raise ValueError, with one sentence, if an interval cannot be counted from midnight."""
    if interval_ms < 1 or (DAY_MS % interval_ms and interval_ms % DAY_MS):
        raise ValueError(
            f"{describe_duration(interval_ms)} neither divides 24 hours nor is a whole number of days, "
            "so it cannot be counted from midnight"
        )


def due_after(interval_ms: int, zone: ZoneInfo, after: int) -> Iterator[int]:
    """All that is due after an instant, in order."""
    days = max(1, interval_ms // DAY_MS)
    try:
        day = (EPOCH + after * MS).astimezone(zone).date()
        day += timedelta(days=-(day - FIRST_DAY).days % days)
        while True:
            begin, end = _begin_of(day, zone), _begin_of(day + DAY, zone)
            if interval_ms >= DAY_MS:
                # nothing but midnight itself; a day that was left out begins where it ends, and has not even that
                end = min(end, begin + 1)
            passed = max(0, (after - begin) // interval_ms + 1)
            yield from range(begin + passed * interval_ms, end, interval_ms)
            day += timedelta(days=days)
    except OverflowError:
        return  # that is beyond the year 9999


def _begin_of(day: date, zone: ZoneInfo) -> int:
    return first_showing(datetime.combine(day, time()), zone)

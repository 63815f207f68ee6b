"""When a monitor is due, whatever its schedule. Pure.

What shows or audits runs asks here; the timetable comes to the same instants by shorter ways.
"""

from collections.abc import Sequence
from typing import assert_never

from everwatch.model import At, Cron, Every, Schedule
from everwatch.schedule.at import due_instant
from everwatch.schedule.cron import cron_times
from everwatch.schedule.every import due_between, phase_of


def due_in(schedule: Schedule, key: bytes, since: int, after: int, upto: int) -> Sequence[int]:
    """Every due instant t with max(after, since) < t <= upto, in order.

    ``key`` is the monitor's table key, ``since`` the instant after which it is due at all.
    """
    begin = max(after, since)
    match schedule:
        case Every():
            return due_between(schedule, phase_of(key, schedule), begin, upto)
        case Cron():
            return cron_times(schedule).between(begin, upto)
        case At():
            instant = due_instant(schedule, since)
            return (instant,) if begin < instant <= upto else ()
        case _:
            assert_never(schedule)


def next_due(schedule: Schedule, key: bytes, since: int, after: int) -> int | None:
    """The first due instant t with max(after, since) < t; None if there is none."""
    begin = max(after, since)
    match schedule:
        case Every():
            return due_between(schedule, phase_of(key, schedule), begin, begin + schedule.interval_ms)[0]
        case Cron():
            return cron_times(schedule).next_after(begin)
        case At():
            instant = due_instant(schedule, since)
            return instant if begin < instant else None
        case _:
            assert_never(schedule)

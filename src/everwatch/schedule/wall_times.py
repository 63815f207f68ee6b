"""Schedules that follow a wall clock: cron, and intervals counted from midnight. Pure."""

from typing import Protocol

from everwatch.model import Cron, Every
from everwatch.schedule.cron import CronTimes, cron_times
from everwatch.schedule.midnight import MidnightTimes, midnight_times


class Times(Protocol):
    """Due instants, in ms, that many monitors share."""

    def next_after(self, instant_ms: int) -> int | None:
        """The first due instant after ``instant_ms``; None if it is never due again."""
        ...

    def between(self, after: int, upto: int) -> list[int]:
        """All due instants t with after < t <= upto, in order."""
        ...

    def last_between(self, after: int, upto: int) -> int | None:
        """The last due instant t with after < t <= upto; None if there is none."""
        ...


def wall_times(schedule: Cron | Every) -> CronTimes | MidnightTimes:
    """The due instants of a schedule that follows a wall clock, before any spread: one value for all that share it.

    An interval must be aligned to midnight and fit into days; raises ValueError otherwise.
    """
    return cron_times(schedule) if isinstance(schedule, Cron) else midnight_times(schedule)

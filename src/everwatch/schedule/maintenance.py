"""Maintenance windows: alerts are suppressed. Pure."""

from collections.abc import Iterable

from everwatch.model import Cron, Maintenance
from everwatch.schedule.cron import cron_times
from everwatch.schedule.duration import DAY_MS

# each step asks every window, and all this is asked for every transition
MOST_STEPS = 10
FAR_ENOUGH_MS = DAY_MS


def maintenance_end(windows: Iterable[Maintenance], at: int) -> int:
    """The instant, in ms, at which the maintenance that is on at ``at`` is over; 0 if none is.

    A window's end is outside it. Windows that overlap or touch are one; those that go on and on in this way are
    followed ten times, or for a day, and the end that was found by then is returned (ask again then).
    """
    distinct = tuple(dict.fromkeys(windows))
    end = at
    for _ in range(MOST_STEPS):
        further = max((_end_of(window, end) for window in distinct), default=0)
        if further <= end:
            break
        end = further
        if end - at > FAR_ENOUGH_MS:
            break
    return end if end > at else 0


def _end_of(window: Maintenance, at: int) -> int:
    """Return the end of a window that is open at ``at``; 0 if it is not open."""
    if not window.cron:
        return window.end if window.start <= at < window.end else 0
    times = cron_times(Cron(window.cron, window.timezone))
    begin = times.last_between(at - window.duration_ms, at)
    return 0 if begin is None else begin + window.duration_ms

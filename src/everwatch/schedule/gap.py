"""Shortest gap between two due instants of a schedule. Pure."""

from functools import lru_cache
from itertools import islice, pairwise, takewhile

from cronsim import CronSim

from everwatch.model import At, Every, Schedule
from everwatch.schedule.cron import JUDGED_FROM, RAREST
from everwatch.schedule.duration import MINUTE_MS

MOST_DAYS = 400
_DAY_MINUTES = 24 * 60


def shortest_gap_ms(schedule: Schedule) -> int | None:
    """The shortest time between two due instants of ``schedule``; None if it is due once.

    By the wall clock: a change of the clock may bring two instants closer together, or further apart.
    """
    match schedule:
        case At():
            return None
        case Every():
            return schedule.interval_ms
    return _gap_of_cron(schedule.expression)


@lru_cache(maxsize=4_096)
def _gap_of_cron(expression: str) -> int:
    fields = CronSim(expression, JUDGED_FROM)
    minutes, hours = sorted(fields.minutes), sorted(fields.hours)
    first, last = hours[0] * 60 + minutes[0], hours[-1] * 60 + minutes[-1]
    gaps = [later - former for former, later in pairwise(minutes)]
    gaps += [(later - former) * 60 - minutes[-1] + minutes[0] for former, later in pairwise(hours)]
    gaps.append(_days_apart(expression) * _DAY_MINUTES - last + first)
    return min(gaps) * MINUTE_MS


def _days_apart(expression: str) -> int:
    """Days between two days on which it is due, of the next few hundred of these within some years."""
    days = CronSim(" ".join(["0", "0", *expression.split()[2:]]), JUDGED_FROM)
    some = islice(takewhile(lambda day: day <= JUDGED_FROM + 2 * RAREST, days), MOST_DAYS)
    shortest = 2 * RAREST.days
    for former, later in pairwise(some):
        shortest = min(shortest, (later - former).days)
        if shortest == 1:
            break
    return shortest

"""Due instants of a window worked out the slow way, step by step, for comparison with what a timetable emits.

Nothing here is the product's but the two hashes that are part of a schedule's definition (a monitor's phase and its
spread) and the model. An interval is tried at each step of 100 ms; a cron expression at each minute of the window, by
the zone's wall clock. Fields may hold ``*``, ``*/n``, numbers, ranges and lists; no names, and days of the month only
as ``*``.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from everwatch.model import Cron, Every
from everwatch.schedule.every import PHASE_STEP_MS

MINUTE_MS = 60_000
_MINUTE = timedelta(minutes=1)
_BOUNDS = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))
# a spread is at most this: instants before the window reach into it
_MOST_SPREAD_MS = 3_600_000


def interval_instants(schedule: Every, phase_ms: int, after: int, upto: int) -> list[int]:
    """Instants t with after < t <= upto at which a monitor of this phase is due."""
    steps = range(after + PHASE_STEP_MS - after % PHASE_STEP_MS, upto + 1, PHASE_STEP_MS)
    return [instant for instant in steps if instant % schedule.interval_ms == phase_ms]


def cron_instants(schedule: Cron, after: int, upto: int) -> list[int]:
    """Shared instants of a cron schedule, before any spread: those from an hour before the window to its end.

    The rule is Debian cron's: a time of day in a gap is due at the end of the gap, one that exists twice the first
    time; any other expression is due at each minute that exists.
    """
    minute, hour, _, month, weekday = (
        _values(text, *bounds) for text, bounds in zip(schedule.expression.split(), _BOUNDS, strict=True)
    )
    of_the_day = not any(field.startswith("*") for field in schedule.expression.split()[:2])

    def matches(wall: datetime) -> bool:
        days = {wall.isoweekday(), wall.isoweekday() % 7}
        return wall.minute in minute and wall.hour in hour and wall.month in month and bool(days & weekday)

    found: list[int] = []
    shown: set[datetime] = set()
    before: datetime | None = None
    # a day earlier: what a clock showed once already is known from then on
    for instant, wall in _wall_clock(schedule.timezone, after - 24 * 60 * MINUTE_MS, upto):
        skipped = _between(before, wall)
        is_due = (matches(wall) and not (of_the_day and wall in shown)) or (of_the_day and any(map(matches, skipped)))
        if is_due and instant > after - _MOST_SPREAD_MS:
            found.append(instant)
        shown.add(wall)
        before = wall
    return found


def _wall_clock(timezone: str, after: int, upto: int) -> Iterator[tuple[int, datetime]]:
    zone = ZoneInfo(timezone)
    for instant in range(after - after % MINUTE_MS, upto + 1, MINUTE_MS):
        yield instant, datetime.fromtimestamp(instant / 1000, UTC).astimezone(zone).replace(tzinfo=None)


def _between(before: datetime | None, wall: datetime) -> list[datetime]:
    """Minutes that the wall clock left out between two minutes."""
    if before is None or wall <= before + _MINUTE:
        return []
    return [before + number * _MINUTE for number in range(1, (wall - before) // _MINUTE)]


def _values(text: str, low: int, high: int) -> set[int]:
    found: set[int] = set()
    for part in text.split(","):
        whole, _, step = part.partition("/")
        first, _, last = whole.partition("-")
        bounds = (low, high) if whole == "*" else (int(first), int(last or first))
        found.update(range(bounds[0], bounds[1] + 1, int(step or 1)))
    return found

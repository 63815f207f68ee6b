"""Cron schedules: due when a time zone's wall clock matches an expression of five fields. Pure.

cronsim reads the expression and lists the matching times of the wall clock; which instants those are is decided here,
time by time, so that the due instants do not depend on where a search begins (cronsim with a time zone is
not so sure of that on Lord Howe Island, where clocks change by half an hour).

The rule is Debian cron's, as cronsim has it. A time of day (neither minute nor hour begins with ``*``) that does not
exist because clocks are put forward is due at the end of the gap, and one that exists twice is due the first time; with
any other expression, a time that does not exist is not due, and one that exists twice is due twice.

Time zones come from the package tzdata and not from the machine, so that all machines agree.
"""

import difflib
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache, lru_cache, partial
from heapq import heappop, heappush
from importlib.resources import files
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from everwatch.model import Cron
from everwatch.schedule.listed_instants import Ahead

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MS = timedelta(milliseconds=1)
MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)

FIELDS = ("minute", "hour", "day of month", "month", "day of week")
_ALLOWED = (
    "0 to 59",
    "0 to 23",
    "1 to 31, L or LW",
    "1 to 12 or JAN to DEC",
    "0 to 7 (0 and 7 are Sunday), SUN to SAT, 5L or FRI#2",
)
_NICKNAMES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
# a week may end on Sunday: to cronsim, as to cron, SUN is 0, and a range from MON to it runs backwards
_TO_SUNDAY = re.compile(r"(?<![A-Z0-9])(MON|TUE|WED|THU|FRI|SAT|[1-7])-SUN(?![A-Z0-9])")
RAREST = timedelta(days=5 * 366)
# any instant would do; a fixed one makes an expression good or bad forever
JUDGED_FROM = datetime(2026, 1, 1)


class CronTimes(Ahead):
    """The due instants of one cron schedule, in ms, before any spread."""

    def __init__(self, schedule: Cron) -> None:
        super().__init__(partial(due_after, schedule.expression, zone_named(schedule.timezone)))


def cron_times(schedule: Cron) -> CronTimes:
    """The due instants of ``schedule``, before any spread: one value for all with the same expression and zone."""
    return _shared(schedule.expression, schedule.timezone)


@lru_cache(maxsize=4_096)
def _shared(expression: str, timezone: str) -> CronTimes:
    return CronTimes(Cron(expression, timezone))


def due_after(expression: str, zone: ZoneInfo, after: int) -> Iterator[int]:
    """All that is due after an instant, in order."""
    minute, hour, *_ = expression.split()
    of_the_day = not minute.startswith("*") and not hour.startswith("*")
    instants_of = _times_of_day if of_the_day else _all_times
    try:
        instants = instants_of(CronSim(expression, _wall_before(after, zone)), zone)
        for instant in instants:
            # the end of a gap comes as often as times of day fell into the gap
            if instant > after:
                yield instant
                after = instant
    except OverflowError:
        return  # that is beyond the year 9999


def _times_of_day(walls: Iterator[datetime], zone: ZoneInfo) -> Iterator[int]:
    for wall in walls:
        yield first_showing(wall, zone)


def _all_times(walls: Iterator[datetime], zone: ZoneInfo) -> Iterator[int]:
    # the second instants of times that exist twice wait here until all first ones are through
    waiting: list[int] = []
    for wall in walls:
        first, second = _instants(wall, zone)
        while waiting and waiting[0] < first:
            yield heappop(waiting)
        if first <= second:
            yield first
        if first < second:
            heappush(waiting, second)


def first_showing(wall: datetime, zone: ZoneInfo) -> int:
    """The first instant, in ms, at which a zone's clock shows ``wall``; the end of the gap if ``wall`` is in one."""
    first, second = _instants(wall, zone)
    while first > second:
        wall += MINUTE
        first, second = _instants(wall, zone)
    return first


def _instants(wall: datetime, zone: ZoneInfo) -> tuple[int, int]:
    """The instants, in ms, at which a zone's clock shows ``wall``, before and after a change of the clock.

    They are the same but where clocks change: the second is later if ``wall`` exists twice, and earlier if it is in a
    gap (PEP 495 reads it by the offset that does not apply).
    """
    return (wall.replace(tzinfo=zone) - EPOCH) // MS, (wall.replace(tzinfo=zone, fold=1) - EPOCH) // MS


def _wall_before(after: int, zone: ZoneInfo) -> datetime:
    """A time of the wall clock such that whatever it shows at an instant after ``after`` is later."""
    instant = EPOCH + after * MS
    now, tomorrow = (each.astimezone(zone).replace(tzinfo=None) for each in (instant, instant + DAY))
    # in case clocks are put back within the day
    return min(now, tomorrow - DAY)


# --- what is a cron expression, and what a time zone ------------------------------------------------------------------


def read_expression(text: str) -> str:
    """The expression of five fields that ``text`` means: a nickname such as ``@daily`` stands for one, as in cron.

    Raises ValueError, with one sentence that names the wrong field, if it is none or never comes true.
    """
    expression = " ".join(text.split())
    if expression.startswith("@"):
        nickname = expression.lower()
        if nickname == "@reboot":
            raise ValueError("'@reboot' is no time: a monitor is due by the clock alone")
        if nickname not in _NICKNAMES:
            raise ValueError(f"{expression!r} is none of {', '.join(_NICKNAMES)}")
        return _NICKNAMES[nickname]
    fields = expression.split()
    if len(fields) == len(FIELDS):
        days = _TO_SUNDAY.sub(r"\1-7", fields[-1].upper())
        expression = expression if days == fields[-1].upper() else " ".join([*fields[:-1], days])
    if problem := problem_of(expression):
        raise ValueError(problem)
    return expression


# a problem is a value here and no exception, so that the cache keeps it too
@lru_cache(maxsize=4_096)
def problem_of(expression: str) -> str:
    fields = expression.split()
    if len(fields) != len(FIELDS):
        return f"{expression!r} has {len(fields)} fields, but a cron expression has five: {', '.join(FIELDS)}"
    try:
        first = next(CronSim(expression, JUDGED_FROM))
    except (CronSimError, StopIteration):
        for i, field in enumerate(fields):
            if not _is_read(i, field):
                return _wrong_field(i, field)
        return f"{expression!r} never comes true"
    return f"{expression!r} does not come true within five years" if first > JUDGED_FROM + RAREST else ""


def _wrong_field(i: int, field: str) -> str:
    part = next((part for part in field.split(",") if not _is_read(i, part)), field)
    within = "" if part == field else f" in {field!r}"
    start, _, end = part.partition("-")
    if end and _is_read(i, start) and _is_read(i, end):
        return f"{part!r}{within} cannot be the {FIELDS[i]} of a cron expression: the range runs backwards"
    return f"{part!r}{within} cannot be the {FIELDS[i]} of a cron expression: {_ALLOWED[i]}"


def _is_read(i: int, field: str) -> bool:
    """Tell whether ``field`` can be the ``i``-th of an expression."""
    try:
        CronSim(" ".join(field if j == i else "*" for j in range(len(FIELDS))), JUDGED_FROM)
    except CronSimError:
        return False
    return True


@lru_cache(maxsize=1_024)
def zone_named(name: str) -> ZoneInfo:
    """The time zone with this IANA name. Raises ValueError with one sentence."""
    if name not in _zone_names():
        near = difflib.get_close_matches(name.lower(), _zone_spellings(), n=1, cutoff=0.85)
        advice = f"did you mean {_zone_spellings()[near[0]]}?" if near else "write it like Europe/Berlin"
        raise ValueError(f"there is no time zone {name!r}: {advice}")
    with files("tzdata").joinpath("zoneinfo", *name.split("/")).open("rb") as stream:
        return ZoneInfo.from_file(stream, key=name)


@cache
def _zone_names() -> frozenset[str]:
    return frozenset(files("tzdata").joinpath("zones").read_text(encoding="ascii").split())


@cache
def _zone_spellings() -> dict[str, str]:
    """Return usual spellings of a name: in lower case, or the city alone."""
    names = sorted(_zone_names())
    return {name.lower().rpartition("/")[2]: name for name in names} | {name.lower(): name for name in names}

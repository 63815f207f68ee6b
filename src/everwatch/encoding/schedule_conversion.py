"""Schedules, durations and instants as users write them, turned into the values of ``everwatch.model``."""

from collections.abc import Callable
from functools import lru_cache
from typing import TypeVar

from everwatch.core.errors import InvalidInput
from everwatch.encoding.input_models import (
    LONGEST_INTERVAL_MS,
    LONGEST_SPREAD_MS,
    NO_SCHEDULE,
    SECOND_MS,
    Duration,
    ScheduleInput,
)
from everwatch.model import (
    Align,
    At,
    Cron,
    Every,
    Schedule,
)
from everwatch.schedule.cron import read_expression, zone_named
from everwatch.schedule.duration import describe_duration, parse_duration_ms
from everwatch.schedule.every import PHASE_STEP_MS
from everwatch.schedule.instant import parse_instant_ms
from everwatch.schedule.midnight import check_alignment

Given = TypeVar("Given")

Meant = TypeVar("Meant")


def schedule_of(given: ScheduleInput, path: str) -> Schedule:
    path = f"{path}.schedule"
    said = {"every": given.every, "cron": given.cron, "at": given.at, "in": given.in_}
    named = [name for name, value in said.items() if value is not None]
    if len(named) > 1:
        raise InvalidInput(f"a schedule is one of every, cron, at and in, not {' and '.join(named)}", path)
    if given.align is not None and given.every is None:
        raise InvalidInput("only an interval (every) can be aligned", f"{path}.align")
    if given.spread is not None and given.cron is None:
        raise InvalidInput("only a cron schedule can be spread", f"{path}.spread")
    if given.timezone is not None and given.cron is None and given.align is not Align.MIDNIGHT:
        raise InvalidInput("a timezone goes with cron, or with every aligned to midnight", f"{path}.timezone")
    if given.cron is not None:
        spread_ms = 0 if given.spread is None else duration_of(given.spread, f"{path}.spread", 0, LONGEST_SPREAD_MS)
        return cron_of(given.cron, "UTC" if given.timezone is None else given.timezone, spread_ms, path)
    if given.at is not None:
        return At(taken(parse_instant_ms, given.at, f"{path}.at"))
    if given.in_ is not None:
        # the instant that it counts from is known when the record is; until then the delay stands in its place
        return At(-duration_of(given.in_, f"{path}.in", 0, LONGEST_INTERVAL_MS))
    if given.every is None:
        return NO_SCHEDULE
    return _every_of(given.every, given.align or Align.PHASE, given.timezone, path)


def is_by_wall_clock(schedule: Schedule) -> bool:
    return isinstance(schedule, Cron) or (isinstance(schedule, Every) and schedule.align is Align.MIDNIGHT)


def _every_of(every: Duration, align: Align, timezone: str | None, path: str) -> Every:
    interval_ms = duration_of(every, f"{path}.every", SECOND_MS, LONGEST_INTERVAL_MS)
    if interval_ms % PHASE_STEP_MS:
        raise InvalidInput(f"an interval is a whole multiple of {PHASE_STEP_MS} ms", f"{path}.every")
    if align is not Align.MIDNIGHT:
        return Every(interval_ms, align)
    taken(check_alignment, interval_ms, f"{path}.every")
    zone = "UTC" if timezone is None else timezone
    taken(zone_named, zone, f"{path}.timezone")
    return Every(interval_ms, align, zone)


def cron_of(cron: str, timezone: str, spread_ms: int, path: str) -> Cron:
    expression = taken(read_expression, cron, f"{path}.cron")
    taken(zone_named, timezone, f"{path}.timezone")
    return Cron(expression, timezone, spread_ms)


# the same few durations come with every signup
_parsed = lru_cache(maxsize=1_000)(parse_duration_ms)


def duration_of(value: Duration, path: str, least_ms: int, most_ms: int) -> int:
    # long texts are rare, and not worth caching
    known = not isinstance(value, str) or len(value) <= 64
    duration_ms = taken(_parsed if known else parse_duration_ms, value, path)
    if not least_ms <= duration_ms <= most_ms:
        bounds = f"{describe_duration(least_ms)} and {describe_duration(most_ms)}"
        raise InvalidInput(f"{value!r} is not between {bounds}", path)
    return duration_ms


def taken(parse: Callable[[Given], Meant], value: Given, path: str) -> Meant:
    """``value`` as ``parse`` takes it; its ValueError becomes a refusal that names the field."""
    try:
        return parse(value)
    except ValueError as error:
        raise InvalidInput(str(error), path) from None

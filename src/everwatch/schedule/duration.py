"""Durations as people write them: "30s", "1h30m", ISO 8601 "PT30S", or a plain number of seconds."""

import math
import re
from decimal import Decimal

SECOND_MS = 1_000
MINUTE_MS = 60 * SECOND_MS
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS
WEEK_MS = 7 * DAY_MS

# longest first: that is the order in which a duration is written
_UNITS = {"d": DAY_MS, "h": HOUR_MS, "m": MINUTE_MS, "s": SECOND_MS, "ms": 1}

# more than any schedule needs, and small enough for every arithmetic that follows
LONGEST_MS = 10_000 * DAY_MS

_NUMBER = r"\d{1,12}(?:\.\d{1,9})?"
_PLAIN = re.compile(_NUMBER, re.ASCII)
_PARTS = re.compile("".join(rf"(?:(?P<{unit}>{_NUMBER}){unit})?" for unit in _UNITS), re.ASCII)
_ISO = re.compile(
    rf"P(?:(?P<years>{_NUMBER})Y)?(?:(?P<months>{_NUMBER})M)?(?:(?P<weeks>{_NUMBER})W)?(?:(?P<days>{_NUMBER})D)?"
    rf"(?P<time>T(?:(?P<hours>{_NUMBER})H)?(?:(?P<minutes>{_NUMBER})M)?(?:(?P<seconds>{_NUMBER})S)?)?",
    re.ASCII,
)
_ISO_UNITS = {"weeks": WEEK_MS, "days": DAY_MS, "hours": HOUR_MS, "minutes": MINUTE_MS, "seconds": SECOND_MS}
_EXAMPLES = "write it like 30s, 5m, 1h30m, 500ms, PT30S or a number of seconds"


def parse_duration_ms(value: str | int | float) -> int:
    """Whole milliseconds of a duration; a number, or text that is one, means seconds.

    Units run from days to milliseconds, each at most once and the longest first ("1d12h"); ISO 8601 durations
    may have weeks, days, hours, minutes and seconds, but no years and months, whose length varies.
    Raises ValueError with one sentence.
    """
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(f"{value!r} is not a duration: {_EXAMPLES}")
    duration_ms = _parse_text(value.strip(), value) if isinstance(value, str) else _whole(value, SECOND_MS, value)
    if duration_ms > LONGEST_MS:
        raise ValueError(f"{value!r} is longer than the longest duration, {LONGEST_MS // DAY_MS} days")
    return duration_ms


def format_duration(duration_ms: int) -> str:
    """``duration_ms`` in normal form, "1h30m"; ``parse_duration_ms`` gives it back. Raises ValueError if negative."""
    if duration_ms < 0:
        raise ValueError(f"{duration_ms} ms is negative, and no duration is")
    parts, rest = [], duration_ms
    for unit, length_ms in _UNITS.items():
        count, rest = divmod(rest, length_ms)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def describe_duration(duration_ms: int) -> str:
    """``duration_ms`` for a sentence: "75 s", "2.5 s", and from two minutes on the two longest units, "1 h 30 min"."""
    if duration_ms < 2 * MINUTE_MS:
        return f"{duration_ms / SECOND_MS:.4g} s"
    names = {DAY_MS: "d", HOUR_MS: "h", MINUTE_MS: "min", SECOND_MS: "s"}
    parts, rest = [], duration_ms
    for length_ms, name in names.items():
        count, rest = divmod(rest, length_ms)
        parts.append(f"{count} {name}" if count else "")
    first = next(i for i, part in enumerate(parts) if part)
    return " ".join(part for part in parts[first : first + 2] if part)


def _parse_text(text: str, given: str) -> int:
    if _PLAIN.fullmatch(text):
        return _whole(text, SECOND_MS, given)
    if text.startswith("P"):
        return _parse_iso(text, given)
    match = _PARTS.fullmatch(text)
    if match is None or not text:
        raise ValueError(f"{given!r} is not a duration: {_EXAMPLES}")
    return _total({unit: _UNITS[unit] for unit in match.groupdict()}, match.groupdict(), given)


def _parse_iso(text: str, given: str) -> int:
    match = _ISO.fullmatch(text)
    if match is None:
        raise ValueError(f"{given!r} is not an ISO 8601 duration such as PT30S or P1DT2H")
    found = match.groupdict()
    if found.pop("years") is not None or found.pop("months") is not None:
        raise ValueError(f"{given!r} has years or months, whose length varies: write days instead")
    time = found.pop("time")
    if time == "T" or not any(found.get(name) for name in _ISO_UNITS):
        raise ValueError(f"{given!r} is not an ISO 8601 duration such as PT30S or P1DT2H")
    return _total(_ISO_UNITS, found, given)


def _total(lengths_ms: dict[str, int], counts: dict[str, str | None], given: str) -> int:
    total = sum((Decimal(count) * lengths_ms[unit] for unit, count in counts.items() if count), Decimal(0))
    return _whole(total, 1, given)


def _whole(number: str | int | float | Decimal, length_ms: int, given: object) -> int:
    if isinstance(number, float) and not math.isfinite(number):
        raise ValueError(f"{given!r} is not a duration: {_EXAMPLES}")
    # by way of text, so that 0.1 means a tenth and not its nearest binary fraction
    exact = Decimal(str(number)) * length_ms
    if exact < 0:
        raise ValueError(f"{given!r} is negative, and no duration is")
    if exact != exact.to_integral_value():
        raise ValueError(f"{given!r} is not a whole number of milliseconds")
    return int(exact)

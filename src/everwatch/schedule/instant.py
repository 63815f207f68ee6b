"""Instants as people and programs write them: ISO 8601 with its offset from UTC, or milliseconds since the epoch."""

from datetime import UTC, datetime, timedelta, tzinfo
from enum import Enum

from everwatch.core.bounds import LATEST_MS
from everwatch.schedule.duration import SECOND_MS, parse_duration_ms

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST = datetime.max.replace(tzinfo=UTC)
EARLIEST_MS = 946_684_800 * SECOND_MS
"""The beginning of the year 2000. What lies before was meant as something else: seconds since the epoch, say."""
# a shorter number is a duration in seconds: the longest one has nine digits
_DIGITS_OF_EARLIEST = len(str(EARLIEST_MS))
_EXAMPLES = "write it like 2026-11-21T09:00:00+01:00 or 2026-11-21T08:00:00Z"


def parse_instant_ms(value: str | int) -> int:
    """Milliseconds since the epoch of an instant; finer digits are cut off.

    A number is milliseconds since the epoch. Raises ValueError with one sentence.
    """
    instant_ms = value if isinstance(value, int) else _parse_text(value)
    if not EARLIEST_MS <= instant_ms <= LATEST_MS:
        raise ValueError(
            f"{value!r} is not between the years 2000 and 9999"
            + (" (a number means milliseconds since 1970)" if isinstance(value, int) else "")
        )
    return instant_ms


class Bare(Enum):
    """Meaning of a duration without a sign in the place of an instant: that long ago, or that long from now."""

    PAST = "past"
    FUTURE = "future"


def parse_moment_ms(text: str, now: int, bare: Bare) -> int:
    """Milliseconds since the epoch of an instant as people give it on a command line.

    It is an instant as above, a number of milliseconds since the epoch (12 digits or more), ``now``, or a duration from
    ``now``: ``-1h`` ago, ``+1h`` from now, ``1h`` as ``bare`` says. Raises ValueError with one sentence.
    """
    given = text.strip()
    if given == "now":
        return now
    if given.isascii() and given.isdigit() and len(given) >= _DIGITS_OF_EARLIEST:
        return parse_instant_ms(int(given))
    sign, length = (given[0], given[1:]) if given[:1] in ("+", "-") else ("", given)
    try:
        duration_ms = parse_duration_ms(length)
    except ValueError:
        pass
    else:
        ahead = sign == "+" or (not sign and bare is Bare.FUTURE)
        return now + duration_ms if ahead else max(0, now - duration_ms)
    try:
        return parse_instant_ms(given)
    except ValueError:
        # an instant that lacks its zone has a better sentence of its own than "neither this nor that"
        if _is_naive(given):
            raise
        raise ValueError(
            f"{text!r} is neither an instant such as 2026-11-21T09:00:00Z nor a duration such as 90m, -90m or +90m"
        ) from None


def format_instant(instant_ms: int, zone: tzinfo = UTC) -> str:
    """``instant_ms`` in ``zone``, "2026-11-21T08:00:00Z" in UTC; ``parse_instant_ms`` gives it back."""
    instant = _EPOCH + timedelta(milliseconds=instant_ms)
    precision = "milliseconds" if instant_ms % SECOND_MS else "seconds"
    # east of Greenwich the last hours of the year 9999 have no date of their own
    if zone is UTC or instant > _LAST - timedelta(days=1):
        return instant.isoformat(timespec=precision).removesuffix("+00:00") + "Z"
    return instant.astimezone(zone).isoformat(timespec=precision)


def instant_text(instant_ms: int, zone: tzinfo = UTC) -> str:
    """The same for people to read, "2026-11-21 08:00:00Z", or "2026-11-21 09:00:00+01:00" in Berlin."""
    return format_instant(instant_ms, zone).replace("T", " ")


def _parse_text(text: str) -> int:
    try:
        instant = datetime.fromisoformat(text.strip())
    except ValueError:
        raise ValueError(f"{text!r} is not an instant: {_EXAMPLES}") from None
    if instant.tzinfo is None:
        raise ValueError(f"{text!r} does not say in which time zone, by an offset from UTC: {_EXAMPLES}")
    return (instant - _EPOCH) // timedelta(milliseconds=1)


def _is_naive(text: str) -> bool:
    try:
        return datetime.fromisoformat(text).tzinfo is None
    except ValueError:
        return False

"""Instants as people and programs write them: ISO 8601 with its offset from UTC, or milliseconds since the epoch."""

from datetime import UTC, datetime, timedelta

from everwatch.bounds import LATEST_MS
from everwatch.schedule.duration import SECOND_MS

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
EARLIEST_MS = 946_684_800 * SECOND_MS
"""The beginning of the year 2000. What lies before was meant as something else: seconds since the epoch, say."""
_EXAMPLES = "write it like 2026-11-21T09:00:00+01:00 or 2026-11-21T08:00:00Z"


def parse_instant_ms(value: str | int) -> int:
    """Milliseconds since the epoch of an instant; what is finer than that is cut off.

    A number is milliseconds since the epoch. Raises ValueError with one sentence.
    """
    instant_ms = value if isinstance(value, int) else _parse_text(value)
    if not EARLIEST_MS <= instant_ms <= LATEST_MS:
        raise ValueError(
            f"{value!r} is not between the years 2000 and 9999"
            + (" (a number means milliseconds since 1970)" if isinstance(value, int) else "")
        )
    return instant_ms


def format_instant(instant_ms: int) -> str:
    """``instant_ms`` in UTC, "2026-11-21T08:00:00Z"; ``parse_instant_ms`` gives it back."""
    text = (_EPOCH + timedelta(milliseconds=instant_ms)).isoformat(
        timespec="milliseconds" if instant_ms % SECOND_MS else "seconds"
    )
    return text.removesuffix("+00:00") + "Z"


def instant_text(instant_ms: int) -> str:
    """The same for people to read, "2026-11-21 08:00:00Z"."""
    return format_instant(instant_ms).replace("T", " ")


def _parse_text(text: str) -> int:
    try:
        instant = datetime.fromisoformat(text.strip())
    except ValueError:
        raise ValueError(f"{text!r} is not an instant: {_EXAMPLES}") from None
    if instant.tzinfo is None:
        raise ValueError(f"{text!r} does not say in which time zone, by an offset from UTC: {_EXAMPLES}")
    return (instant - _EPOCH) // timedelta(milliseconds=1)

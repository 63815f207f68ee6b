"""Durations in the configs of kinds: validated, and kept in one normal form."""

from everwatch.kinds.protocol import FieldError
from everwatch.schedule.duration import DAY_MS, describe_duration, format_duration, parse_duration_ms

_LONGEST_MS = 400 * DAY_MS


def normal_duration(field: str, value: str | int | float, least_ms: int) -> str:
    """``value`` in normal form ("1h30m"). Raises FieldError unless it lies between ``least_ms`` and 400 days."""
    try:
        duration_ms = parse_duration_ms(value)
    except ValueError as error:
        raise FieldError(field, str(error)) from None
    if not least_ms <= duration_ms <= _LONGEST_MS:
        raise FieldError(
            field, f"{value!r} is not between {describe_duration(least_ms)} and {describe_duration(_LONGEST_MS)}"
        )
    return format_duration(duration_ms)

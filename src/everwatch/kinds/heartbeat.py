"""The kind ``heartbeat``: a user's own job reports at least once a period, or is late."""

from typing import Literal

import msgspec

from everwatch.kinds.protocol import FieldError, InlineView
from everwatch.model import Outcome, Status
from everwatch.schedule.duration import DAY_MS, SECOND_MS, describe_duration, format_duration, parse_duration_ms

_LONGEST_MS = 400 * DAY_MS
_ALIVE = Outcome(Status.SUCCESS)


class HeartbeatConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Durations as text ("5m") or seconds; kept in normal form. ``grace`` is how much later than ``period`` is fine."""

    period: str | int | float
    grace: str | int | float = "10s"

    def __post_init__(self) -> None:
        for field, least_ms in (("period", SECOND_MS), ("grace", 0)):
            msgspec.structs.force_setattr(self, field, _normal(field, getattr(self, field), least_ms))

    @property
    def period_ms(self) -> int:
        return parse_duration_ms(self.period)

    @property
    def grace_ms(self) -> int:
        return parse_duration_ms(self.grace)


class HeartbeatKind:
    """Judged from the newest signal alone."""

    name = "heartbeat"
    config_type = HeartbeatConfig
    default_schedule_ms = 30_000

    @property
    def inline(self) -> Literal[True]:
        return True

    def judge(self, config: HeartbeatConfig, view: InlineView, at: int) -> Outcome:
        """Late when ``at`` lies after the deadline.

        A worker that has just taken over may not have read the newest signals yet, so it gives at least the grace
        from when it began to watch, and to a job that never reported a whole period more.
        """
        period_ms, grace_ms = config.period_ms, config.grace_ms
        if view.last_signal:
            deadline = max(view.last_signal + period_ms + grace_ms, view.watching_since + grace_ms)
        else:
            deadline = view.watching_since + period_ms + grace_ms
        if at <= deadline:
            return _ALIVE
        expected = f"(expected every {describe_duration(period_ms)}, grace {describe_duration(grace_ms)})"
        if view.last_signal:
            return Outcome(Status.LATE, f"no heartbeat for {describe_duration(at - view.last_signal)} {expected}")
        waited = describe_duration(at - view.watching_since)
        return Outcome(Status.LATE, f"no heartbeat since watching began {waited} ago {expected}")


def _normal(field: str, value: str | int | float, least_ms: int) -> str:
    try:
        duration_ms = parse_duration_ms(value)
    except ValueError as error:
        raise FieldError(field, str(error)) from None
    if not least_ms <= duration_ms <= _LONGEST_MS:
        raise FieldError(
            field, f"{value!r} is not between {describe_duration(least_ms)} and {describe_duration(_LONGEST_MS)}"
        )
    return format_duration(duration_ms)

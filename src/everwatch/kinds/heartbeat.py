"""The kind ``heartbeat``: a user's own job reports at least once a period, or is late."""

from typing import Literal

import msgspec

from everwatch.kinds.protocol import FieldError, InlineView
from everwatch.model import Outcome, Status
from everwatch.schedule.duration import DAY_MS, SECOND_MS, describe_duration, format_duration, parse_duration_ms

_LONGEST_MS = 400 * DAY_MS
_TAKEOVER_MS = 60 * SECOND_MS
_ALIVE = Outcome(Status.SUCCESS)
_TAKING_OVER = Outcome(
    Status.SKIPPED, "not judged: its worker has just taken over, and heartbeats may still be on their way"
)


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
        """Late when ``at`` lies more than period and grace after the newest signal (or after the monitor was put).

        A worker that has just taken over may not have read the newest signals yet: for the length of the grace, but
        at most a minute, it does not judge a job that looks late (the tick is skipped and says so).
        """
        period_ms, grace_ms = config.period_ms, config.grace_ms
        quiet_since = max(view.last_signal, view.began)
        if at <= quiet_since + period_ms + grace_ms:
            return _ALIVE
        if at <= view.watching_since + min(grace_ms, _TAKEOVER_MS):
            return _TAKING_OVER
        expected = f"(expected every {describe_duration(period_ms)}, grace {describe_duration(grace_ms)})"
        quiet_ms = at - quiet_since
        # to the second is exact enough for a person
        quiet = describe_duration(quiet_ms - quiet_ms % SECOND_MS or quiet_ms)
        if view.last_signal == quiet_since:
            return Outcome(Status.LATE, f"no heartbeat for {quiet} {expected}")
        return Outcome(Status.LATE, f"no heartbeat since watching began {quiet} ago {expected}")


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

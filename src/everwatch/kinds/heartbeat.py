"""The kind ``heartbeat``: a user's own job reports at least once a period, or is late; it may say how its runs went."""

from typing import Literal

import msgspec

from everwatch.errors import InvalidInput
from everwatch.kinds.durations import normal_duration
from everwatch.kinds.protocol import InlineView
from everwatch.kinds.silence import is_taking_over, quiet_since, silence_text, to_the_second
from everwatch.model import Outcome, Signal, SignalState, SignalType, Status
from everwatch.schedule.duration import SECOND_MS, describe_duration, parse_duration_ms
from everwatch.schedule.instant import instant_text

_ALIVE = Outcome(Status.SUCCESS)
_TAKING_OVER = Outcome(
    Status.SKIPPED, "not judged: its worker has just taken over, and heartbeats may still be on their way"
)


class HeartbeatConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Durations as text ("5m") or seconds; kept in normal form. ``grace`` is how much later than ``period`` is fine.

    ``max_duration``: how long a run may take that said it has begun, None for as long as it likes.
    """

    period: str | int | float
    grace: str | int | float = "10s"
    max_duration: str | int | float | None = None

    def __post_init__(self) -> None:
        for field, least_ms in (("period", SECOND_MS), ("grace", 0), ("max_duration", SECOND_MS)):
            value = getattr(self, field)
            if value is not None:
                msgspec.structs.force_setattr(self, field, normal_duration(field, value, least_ms))

    @property
    def period_ms(self) -> int:
        return parse_duration_ms(self.period)

    @property
    def grace_ms(self) -> int:
        return parse_duration_ms(self.grace)

    @property
    def max_duration_ms(self) -> int:
        """0 for as long as it likes."""
        return 0 if self.max_duration is None else parse_duration_ms(self.max_duration)


class HeartbeatKind:
    """Judged from the newest success, the newest failure and the newest start alone."""

    name = "heartbeat"
    config_type = HeartbeatConfig
    default_schedule_ms = 30_000

    @property
    def inline(self) -> Literal[True]:
        return True

    def take(
        self,
        config: HeartbeatConfig,  # noqa: ARG002  (the names are the protocol's)
        last_signal: int,
        known: SignalState,
        signal: Signal,
    ) -> tuple[int, SignalState]:
        """``last_signal`` is the newest success. In whichever order signals come, what is known in the end is the same.

        All but how long the last run took: that is measured when its end comes, from the start that is known by then.
        A start at the same millisecond as an end belongs to it, and a failure weighs more than a success.
        """
        if signal.value is not None:
            raise InvalidInput("the monitor is of kind heartbeat, which takes no values", "$.value")
        at, ended_at = signal.at, max(last_signal, known.failed_at)
        if signal.type is SignalType.START:
            if at <= max(ended_at, known.started_at):
                return last_signal, known
            return last_signal, msgspec.structs.replace(known, started_at=at)
        still_runs = known.started_at if known.started_at > at else 0
        if signal.type is SignalType.SUCCESS:
            if at <= last_signal:
                return last_signal, known
            if at <= known.failed_at:
                return at, known
            return at, SignalState(started_at=still_runs, duration_ms=_duration_ms(known, signal))
        if at <= known.failed_at or at < last_signal:
            return last_signal, known
        failed = SignalState(
            started_at=still_runs,
            failed_at=at,
            exit_code=signal.exit_code,
            duration_ms=_duration_ms(known, signal),
        )
        return last_signal, failed

    def judge(self, config: HeartbeatConfig, view: InlineView, at: int) -> Outcome:
        """A failure from when the job says that it failed until it says that it went well.

        Late when it runs for longer than it may, or when ``at`` lies more than period and grace after the newest
        success (or after the monitor was put): that a run has begun is no sign that it will end.

        A worker that has just taken over may not have read the newest signals yet: for the length of the grace, but
        at most a minute, it does not judge a job that looks late (the tick is skipped and says so).
        """
        known = view.signals
        if known.failed_at:
            return Outcome(Status.FAILURE, _failure(known), _timings(known))
        late = _overdue(config, known, at) or _silent(config, view, at)
        if not late:
            return _ALIVE if known.duration_ms is None else Outcome(Status.SUCCESS, "", _timings(known))
        if is_taking_over(view, at, config.grace_ms):
            return _TAKING_OVER
        return Outcome(Status.LATE, late)


def _duration_ms(known: SignalState, signal: Signal) -> float | None:
    """How long the run took that ``signal`` ends: as it says, else since it began, if that is known."""
    if signal.duration_ms is not None:
        return signal.duration_ms
    return float(signal.at - known.started_at) if 0 < known.started_at <= signal.at else None


def _timings(known: SignalState) -> dict[str, float]:
    return {} if known.duration_ms is None else {"duration": known.duration_ms}


def _failure(known: SignalState) -> str:
    how = "" if known.exit_code is None else f" with exit code {known.exit_code}"
    after = "" if known.duration_ms is None else f" after {describe_duration(round(known.duration_ms))}"
    return f"the job failed{how}{after}, at {instant_text(known.failed_at)}"


def _overdue(config: HeartbeatConfig, known: SignalState, at: int) -> str:
    """Since when it runs, if that is too long ago."""
    most_ms = config.max_duration_ms
    if not (known.started_at and most_ms) or at <= known.started_at + most_ms:
        return ""
    lasting = to_the_second(at - known.started_at)
    return f"running since {instant_text(known.started_at)}, for {lasting} (at most {describe_duration(most_ms)})"


def _silent(config: HeartbeatConfig, view: InlineView, at: int) -> str:
    """For how long there was no heartbeat, if that is too long."""
    period_ms, grace_ms = config.period_ms, config.grace_ms
    if at <= quiet_since(view) + period_ms + grace_ms:
        return ""
    expected = f"(expected every {describe_duration(period_ms)}, grace {describe_duration(grace_ms)})"
    return f"no heartbeat {silence_text(view, at)} {expected}"

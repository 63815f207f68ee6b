"""The kind ``threshold``: values that users send must stay on one side of a limit."""

from math import isfinite
from typing import Literal

import msgspec

from everwatch.core.errors import InvalidInput
from everwatch.kinds.protocol import FieldError, InlineView
from everwatch.kinds.shared.duration_fields import normal_duration
from everwatch.kinds.shared.signal_silence import is_taking_over, quiet_since, silence_text
from everwatch.model import Outcome, Signal, SignalState, Status
from everwatch.schedule.duration import SECOND_MS, describe_duration, parse_duration_ms
from everwatch.schedule.instant import instant_text

_MISSING = ("skip", "ok", "failure")
_NOTHING_YET = Outcome(Status.SKIPPED, "not judged: no value has come yet")
_TAKING_OVER = Outcome(
    Status.SKIPPED, "not judged: its worker has just taken over, and values may still be on their way"
)


class ThresholdConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"for_": "for"}):
    """Exactly one of ``above`` and ``below``: a value beyond it is wrong, and right again at ``clear`` (or the limit).

    ``for_``: how long it must be wrong before that is a failure. ``missing``: what a look says when the newest value is
    older than ``missing_after``: skip, ok or failure. Durations as text ("5m") or seconds; kept in normal form.
    """

    above: float | None = None
    below: float | None = None
    clear: float | None = None
    for_: str | int | float = "0s"
    missing: str = "skip"
    missing_after: str | int | float = "10m"

    def __post_init__(self) -> None:
        for field in ("above", "below", "clear"):
            value = getattr(self, field)
            if value is not None and not isfinite(value):
                raise FieldError(field, "not a finite number")
        if (self.above is None) == (self.below is None):
            raise FieldError("above", "a threshold needs exactly one of above and below")
        if self.clear is not None and self.is_beyond(self.clear):
            side, limit = ("above", self.above) if self.below is None else ("below", self.below)
            raise FieldError(
                "clear", f"{self.clear:.10g} lies {side} the limit {limit:.10g}, where nothing is right again"
            )
        if self.missing not in _MISSING:
            raise FieldError("missing", f"{self.missing!r} is not one of {', '.join(_MISSING)}")
        for field, encoded, least_ms in (("for_", "for", 0), ("missing_after", "missing_after", SECOND_MS)):
            normal = normal_duration(encoded, getattr(self, field), least_ms)
            msgspec.structs.force_setattr(self, field, normal)

    @property
    def for_ms(self) -> int:
        return parse_duration_ms(self.for_)

    @property
    def missing_after_ms(self) -> int:
        return parse_duration_ms(self.missing_after)

    def is_beyond(self, value: float) -> bool:
        """Tell whether a value is on the wrong side of the limit."""
        if self.above is not None:
            return value > self.above
        return self.below is not None and value < self.below

    def is_clear(self, value: float) -> bool:
        """Tell whether a value is far enough on the right side to end a failure."""
        if self.clear is None:
            return not self.is_beyond(value)
        return value <= self.clear if self.above is not None else value >= self.clear


class ThresholdKind:
    """Judged from the newest value, and from since when it is beyond the limit.

    A value counts until the next one comes, but for no longer than ``missing_after``.
    """

    name = "threshold"
    config_type = ThresholdConfig
    default_schedule_ms = 30_000

    @property
    def inline(self) -> Literal[True]:
        return True

    def take(
        self, config: ThresholdConfig, last_signal: int, known: SignalState, signal: Signal
    ) -> tuple[int, SignalState]:
        """``last_signal`` is the newest value's instant; an older one, or another of that instant, changes nothing."""
        value, at = signal.value, signal.at
        if value is None:
            raise InvalidInput("the monitor is of kind threshold, which takes values only", "$.value")
        if at <= last_signal:
            return last_signal, known
        since, missing_at = known.beyond_since, last_signal + config.missing_after_ms
        # what a look between the two values would have said
        breached = known.breached or _has_lasted(config, since, min(at - 1, missing_at))
        if not breached and at > missing_at:
            since = 0  # the values in between are not known
        if config.is_beyond(value):
            since = since or at
        elif not breached or config.is_clear(value):
            since, breached = 0, False
        counted_from = known.counted_from if at < known.counted_from else 0
        return at, SignalState(value=value, beyond_since=since, breached=breached, counted_from=counted_from)

    def judge(self, config: ThresholdConfig, view: InlineView, at: int) -> Outcome:
        """A failure when the value is beyond the limit for long enough, and until it is back at ``clear``.

        A worker that has just taken over may not have read the newest values yet: for ``missing_after``, but at most a
        minute, it does not say that they are missing (the tick is skipped and says so).
        """
        known, after_ms = view.signals, config.missing_after_ms
        if known.value is None or at > view.last_signal + after_ms:
            return _without_value(config, view, at)
        value = f"{known.value:.10g}"
        if not known.beyond_since:
            return Outcome(Status.SUCCESS, f"the value is {value}")
        side = f"above {config.above:.10g}" if config.above is not None else f"below {config.below:.10g}"
        since = f"since {instant_text(known.beyond_since)}"
        if not known.breached and not _has_lasted(config, known.beyond_since, at):
            lasting = describe_duration(config.for_ms)
            return Outcome(Status.SUCCESS, f"{value} is {side} {since}, a failure when it has lasted for {lasting}")
        if config.is_beyond(known.value):
            return Outcome(Status.FAILURE, f"{value} is {side} {since}")
        return Outcome(Status.FAILURE, f"{value} is not back at {config.clear:.10g} yet, {side} was it {since}")


def _has_lasted(config: ThresholdConfig, since: int, at: int) -> bool:
    # the sender's clock may be a little ahead of ours
    return since > 0 and max(0, at - since) >= config.for_ms


def _without_value(config: ThresholdConfig, view: InlineView, at: int) -> Outcome:
    after_ms = config.missing_after_ms
    if at <= quiet_since(view) + after_ms:
        return _NOTHING_YET
    if is_taking_over(view, at, after_ms):
        return _TAKING_OVER
    reason = f"no value {silence_text(view, at)} (one counts for {describe_duration(after_ms)})"
    if config.missing == "skip":
        return Outcome(Status.SKIPPED, f"not judged: {reason}")
    return Outcome(Status.SUCCESS if config.missing == "ok" else Status.FAILURE, reason)

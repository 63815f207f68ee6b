"""The kind ``heartbeat``: a user's own job reports as often as expected, or is late; it may say how its runs went."""

import math
from typing import Literal

import msgspec

from everwatch.core.errors import InvalidInput
from everwatch.kinds.protocol import FieldError, InlineView
from everwatch.kinds.shared import job_runs
from everwatch.kinds.shared.duration_fields import normal_duration
from everwatch.kinds.shared.expected_times import MOST_WEEKS, Within, after_window_time, expected_times
from everwatch.kinds.shared.signal_silence import is_taking_over, quiet_since, silence_text, to_the_second
from everwatch.model import Align, Every, Outcome, Schedule, Signal, SignalState, SignalType, Status
from everwatch.schedule.cron import read_expression, zone_named
from everwatch.schedule.duration import MINUTE_MS, SECOND_MS, describe_duration, parse_duration_ms
from everwatch.schedule.instant import instant_text

_ALIVE = Outcome(Status.SUCCESS)
_TAKING_OVER = Outcome(
    Status.SKIPPED, "not judged: its worker has just taken over, and heartbeats may still be on their way"
)
_LOOKS_MS = 30 * SECOND_MS
# which divide a minute, so that looks fall on the minutes of a cron expression
_ALIGNED_LOOKS_MS = tuple(each * SECOND_MS for each in (30, 20, 15, 12, 10, 6, 5))


class HeartbeatConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Durations as text ("5m") or seconds; kept in normal form. ``grace`` is how much later than expected is fine.

    Expected either once a ``period``, which passes only ``within`` windows if there are any, or at each time of the
    expression ``cron`` by the clock of ``timezone``.
    ``max_duration`` and ``min_duration``: how long a run may and must take that said when it began, or says how long
    it took; None for as long, or as short, as it likes.
    """

    period: str | int | float | None = None
    grace: str | int | float = "10s"
    max_duration: str | int | float | None = None
    min_duration: str | int | float | None = None
    cron: str | None = None
    timezone: str = "UTC"
    within: Within | None = None

    def __post_init__(self) -> None:
        for field, least_ms in (("period", SECOND_MS), ("grace", 0), ("max_duration", SECOND_MS), ("min_duration", 1)):
            value = getattr(self, field)
            if value is not None:
                msgspec.structs.force_setattr(self, field, normal_duration(field, value, least_ms))
        if (self.period is None) == (self.cron is None):
            raise FieldError("period", "a heartbeat needs exactly one of period and cron")
        if 0 < self.max_duration_ms < self.min_duration_ms:
            raise FieldError("min_duration", "it is longer than max_duration")
        if self.cron is not None:
            self._check_cron(self.cron)
        elif self.timezone != "UTC":
            raise FieldError("timezone", "a timezone goes with cron, or into within")
        if self.within is not None and self.period_ms + self.grace_ms > MOST_WEEKS * self.within.weekly_ms:
            raise FieldError("within", f"period and grace are longer than the windows of {MOST_WEEKS} weeks")

    def _check_cron(self, cron: str) -> None:
        if self.within is not None:
            raise FieldError("within", "windows go with period; a cron expression says by itself when")
        for field, check, value in (("cron", read_expression, cron), ("timezone", zone_named, self.timezone)):
            try:
                read = check(value)
            except ValueError as error:
                raise FieldError(field, str(error)) from None
            if field == "cron":
                msgspec.structs.force_setattr(self, field, read)

    @property
    def period_ms(self) -> int:
        """0 where it is expected by a cron expression."""
        return 0 if self.period is None else parse_duration_ms(self.period)

    @property
    def grace_ms(self) -> int:
        return parse_duration_ms(self.grace)

    @property
    def max_duration_ms(self) -> int:
        """0 for as long as it likes."""
        return 0 if self.max_duration is None else parse_duration_ms(self.max_duration)

    @property
    def min_duration_ms(self) -> int:
        """0 for as short as it likes."""
        return 0 if self.min_duration is None else parse_duration_ms(self.min_duration)


class HeartbeatKind:
    """Judged from the newest success, the newest failure, and the runs under way."""

    name = "heartbeat"
    config_type = HeartbeatConfig
    default_schedule_ms = _LOOKS_MS

    @property
    def inline(self) -> Literal[True]:
        return True

    def default_schedule(self, config: HeartbeatConfig) -> Schedule:
        """Looks every 30 s; with a cron expression such that one falls on the end of the grace, where that can be."""
        if config.cron is not None:
            step_ms = math.gcd(MINUTE_MS, config.grace_ms)
            for interval_ms in _ALIGNED_LOOKS_MS:
                if step_ms % interval_ms == 0:
                    return Every(interval_ms, Align.EPOCH)
        return Every(_LOOKS_MS)

    def take(
        self,
        config: HeartbeatConfig,  # noqa: ARG002  (the names are the protocol's)
        last_signal: int,
        known: SignalState,
        signal: Signal,
    ) -> tuple[int, SignalState]:
        """``last_signal`` is the newest success. Signals give the same value in whichever order they come.

        All but how long the last run took, if it has no id: that is measured when its end comes, from the start that
        is known by then. A start at the same millisecond as an end belongs to it, and a failure weighs more than a
        success. A start without an id is over with any later end.
        """
        if signal.value is not None:
            raise InvalidInput("the monitor is of kind heartbeat, which takes no values", "$.value")
        at, newest_end = signal.at, max(last_signal, known.failed_at)
        began = known.started_at
        if signal.run:
            runs, run = job_runs.with_run(known.runs, signal)
            if runs != known.runs:
                known = msgspec.structs.replace(known, runs=runs)
            began = run.started_at
            if signal.type is SignalType.START:
                if run.ended_at == newest_end > 0 and at <= newest_end and known.duration_ms is None:
                    # the start of the run that ended last comes after its end
                    known = msgspec.structs.replace(known, duration_ms=float(newest_end - at))
                return last_signal, known
        elif signal.type is SignalType.START:
            if at <= max(newest_end, known.started_at):
                return last_signal, known
            return last_signal, msgspec.structs.replace(known, started_at=at)
        ended = SignalState(
            started_at=known.started_at if known.started_at > at else 0,
            duration_ms=_duration_ms(began, signal),
            runs=known.runs,
            counted_from=known.counted_from if at < known.counted_from else 0,
        )
        if signal.type is SignalType.SUCCESS:
            if at <= last_signal:
                return last_signal, known
            return at, known if at <= known.failed_at else ended
        if at <= known.failed_at or at < last_signal:
            return last_signal, known
        return last_signal, msgspec.structs.replace(
            ended, failed_at=at, exit_code=signal.exit_code, counted_from=known.counted_from
        )

    def judge(self, config: HeartbeatConfig, view: InlineView, at: int) -> Outcome:
        """Judge failed from when the job reports a failure until it reports a success.

        Also when its last run took shorter or longer than it may, and when a run is under way for longer, until one
        goes well. Late when nothing was heard for longer than expected: that a run has begun is no sign that it ends.

        A worker that has just taken over may not have read the newest signals yet: for the length of the grace, but
        at most a minute, it does not judge a job that looks late (the tick is skipped and says so).
        """
        known = view.signals
        failure = _failure(known) if known.failed_at else _misfit(config, view)
        if failure:
            return Outcome(Status.FAILURE, failure, _timings(known))
        overdue = _overdue(config, view, at)
        reason = overdue or _silent(config, view, at)
        if not reason:
            return _ALIVE if known.duration_ms is None else Outcome(Status.SUCCESS, "", _timings(known))
        if is_taking_over(view, at, config.grace_ms):
            return _TAKING_OVER
        return Outcome(Status.FAILURE if overdue else Status.LATE, reason)


def _duration_ms(began: int, signal: Signal) -> float | None:
    """Return the duration of the run that ``signal`` ends: as it says, else since its beginning, if that is known."""
    if signal.duration_ms is not None:
        return signal.duration_ms
    return float(signal.at - began) if 0 < began <= signal.at else None


def _timings(known: SignalState) -> dict[str, float]:
    return {} if known.duration_ms is None else {"duration": known.duration_ms}


def _failure(known: SignalState) -> str:
    how = "" if known.exit_code is None else f" with exit code {known.exit_code}"
    after = "" if known.duration_ms is None else f" after {describe_duration(round(known.duration_ms))}"
    return f"the {_run_text(known, known.failed_at, 'job')} failed{how}{after}, at {instant_text(known.failed_at)}"


def _misfit(config: HeartbeatConfig, view: InlineView) -> str:
    """Return the reason why the duration of the last, successful run is out of bounds."""
    took_ms = view.signals.duration_ms
    if took_ms is None:
        return ""
    least_ms, most_ms = config.min_duration_ms, config.max_duration_ms
    run = f"the {_run_text(view.signals, view.last_signal, 'run')} took {describe_duration(round(took_ms))}"
    ended = f", until {instant_text(view.last_signal)}"
    if took_ms < least_ms:
        return f"{run}{ended}: at least {describe_duration(least_ms)} is expected"
    return f"{run}{ended}: at most {describe_duration(most_ms)} is allowed" if 0 < most_ms < took_ms else ""


def _run_text(known: SignalState, ended_at: int, without: str) -> str:
    run = job_runs.ended_at(known.runs, ended_at)
    return f"run {run!r}" if run else without


def _overdue(config: HeartbeatConfig, view: InlineView, at: int) -> str:
    """Return a run that takes longer than it may, with its beginning; a run followed by a success does not count."""
    most_ms = config.max_duration_ms
    if not most_ms:
        return ""
    known = view.signals
    begun = [(run.started_at, f"run {run.run!r} has been ") for run in known.runs if job_runs.is_open(run)]
    if known.started_at:
        begun.append((known.started_at, ""))
    for began, prefix in sorted(begun):
        if view.last_signal <= began + most_ms < at:
            lasting = to_the_second(at - began)
            since = instant_text(began)
            return f"{prefix}running since {since}, for {lasting} (at most {describe_duration(most_ms)})"
    return ""


def _silent(config: HeartbeatConfig, view: InlineView, at: int) -> str:
    """For how long there was no heartbeat, if that is too long."""
    heard, grace_ms = quiet_since(view), config.grace_ms
    if config.cron is not None:
        missed = expected_times(config.cron, config.timezone, grace_ms).missed(heard, at)
        if not missed:
            return ""
        expected = f"by {config.cron!r} {config.timezone}, grace {describe_duration(grace_ms)}"
        return f"no heartbeat {silence_text(view, at)}: one was expected at {instant_text(missed)} ({expected})"
    period_ms = config.period_ms
    if at <= heard + period_ms + grace_ms:
        return ""
    where = ""
    if config.within is not None:
        if at <= after_window_time(config.within, heard, period_ms + grace_ms):
            return ""
        where = f" within {config.within.text}"
    expected = f"(expected every {describe_duration(period_ms)}{where}, grace {describe_duration(grace_ms)})"
    return f"no heartbeat {silence_text(view, at)} {expected}"

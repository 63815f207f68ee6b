"""The one builder of results, for executed and for inline kinds: limits of texts, skipped ticks, encoding."""

import logging
from typing import NamedTuple, Protocol, Self

import msgspec

from everwatch.core.clock import Clock
from everwatch.core.output_format import OutputFormat
from everwatch.encoding import codec
from everwatch.model import Monitor, Outcome, Result, Status
from everwatch.observability.log_throttle import LogThrottle
from everwatch.observability.logs import labelled
from everwatch.tracing.ids import Attempted, span_id_of, trace_id_of

logger = logging.getLogger(__name__)
LONGEST_REASON = 1_000
LONGEST_DETAIL = 40_000


class Run(Attempted, Protocol):
    """The run that a result is about; a tick is one."""

    @property
    def kind(self) -> str: ...
    @property
    def version(self) -> int: ...
    @property
    def manual(self) -> bool: ...


class RunIdentity(NamedTuple):
    """The run that a result is about, without its tick: of an inline kind, or of a tick that is not run."""

    user_id: str
    monitor_id: str
    scheduled_at: int
    kind: str
    version: int
    attempt: int = 1
    manual: bool = False

    @classmethod
    def of(cls, monitor: Monitor, scheduled_at: int, attempt: int = 1, *, manual: bool = False) -> Self:
        """Return the run of a monitor for an instant."""
        spec = monitor.spec
        return cls(monitor.user_id, monitor.monitor_id, scheduled_at, spec.kind, monitor.version, attempt, manual)


class RunTimes(NamedTuple):
    """When a run began, or was skipped, and how long it took, ms."""

    started_at: int
    duration_ms: float = 0.0


class ResultBuilder:
    """Builds and encodes results. ``executor``: the name of the process that they carry; ``region``: that of it."""

    def __init__(self, executor: str, output_format: OutputFormat, clock: Clock, region: str = "") -> None:
        self._executor = executor
        self._region = region
        self._format = output_format
        self._throttle = LogThrottle(clock)

    def build(
        self,
        run: Run,
        outcome: Outcome,
        times: RunTimes,
        skipped: tuple[int, int] | None = None,
        unreached: int = 0,
        region: str = "",
    ) -> Result:
        """Return the result of a run. ``unreached``: the percentage of targets that are out of reach, see ``Result``.

        ``region``: that of a tick which was never run, if it was sent to one. ``skipped``: the last instant and the
        number of ticks that a skipped result is for; by default the run alone.
        """
        if outcome.status is not Status.SKIPPED:
            until, count = 0, 0
        else:
            until, count = skipped or (run.scheduled_at, 1)
        return Result(
            user_id=run.user_id,
            monitor_id=run.monitor_id,
            scheduled_at=run.scheduled_at,
            kind=run.kind,
            version=run.version,
            status=outcome.status,
            reason=outcome.reason[:LONGEST_REASON],
            started_at=times.started_at,
            duration_ms=times.duration_ms,
            attempt=run.attempt,
            timings=outcome.timings,
            executor=self._executor,
            skipped_until=until,
            skipped_count=count,
            manual=run.manual,
            detail=str(outcome.detail)[:LONGEST_DETAIL],
            unreached=unreached,
            region=region or self._region,
        )

    def encode(self, result: Result) -> bytes:
        """Encode a result. One that cannot be sent becomes a failure, and then counts as a run and not as skipped."""
        try:
            data = codec.encode_result(result, self._format)
            if len(data) > codec.LARGEST_RESULT_BYTES:
                raise ValueError(
                    f"the outcome takes {len(data)} bytes, and at most {codec.LARGEST_RESULT_BYTES} are sent"
                )
            return data
        except Exception as error:  # e.g. timings of a kind of another package that are not numbers
            self.report_fault(result, error)
            plain = msgspec.structs.replace(
                result,
                status=Status.FAILURE,
                reason=f"the kind {result.kind!r} failed: its outcome cannot be sent",
                timings={},
                detail="",
                skipped_until=0,
                skipped_count=0,
            )
            return codec.encode_result(plain, self._format)

    def report_fault(self, run: Run, error: BaseException) -> None:
        """Log, with its traceback, an error that a kind should have handled; once a minute for each kind and class."""
        if self._throttle.may_log((run.kind, type(error))):
            about = labelled(
                user=run.user_id,
                monitor=run.monitor_id,
                tick=run.scheduled_at,
                kind=run.kind,
                trace_id=f"{trace_id_of(run):032x}",
                span_id=f"{span_id_of(run):016x}",
            )
            logger.error(
                "the kind '%s' failed unexpectedly (logged once a minute)", run.kind, exc_info=error, extra=about
            )

"""The executor's results on their way to the broker."""

import logging
from collections.abc import Sequence

import msgspec

from everwatch.core.clock import Clock
from everwatch.core.config import Settings
from everwatch.encoding import codec
from everwatch.kafka.outbox import OnDelivered, Outbox
from everwatch.kafka.topics import Topics
from everwatch.kinds.execution.kind_runner import LONGEST_DETAIL, LONGEST_REASON
from everwatch.model import Outcome, Result, Status, Tick
from everwatch.observability.log_throttle import LogThrottle
from everwatch.observability.logs import labelled

log = logging.getLogger(__name__)


class ResultSender:
    """Builds results and sends them to the partition of their tick."""

    def __init__(self, settings: Settings, outbox: Outbox, clock: Clock, executor_id: str) -> None:
        self._format = settings.output_format
        self._topic = Topics.of(settings).results
        self._outbox = outbox
        self._clock = clock
        self._executor_id = executor_id
        self._quiet = LogThrottle(clock)

    def report(
        self,
        tick: Tick,
        outcome: Outcome,
        started_at: int,
        duration_ms: float,
        on_delivered: OnDelivered,
        unreached: int = 0,
    ) -> None:
        """Send what came of a run. ``unreached``: the percentage of targets that are out of reach, see ``Result``."""
        if outcome.status is Status.SKIPPED:
            self._send(self._result(tick, outcome, started_at, duration_ms, [tick]), tick.partition, on_delivered)
        else:
            result = self._result(tick, outcome, started_at, duration_ms, unreached=unreached)
            self._send(result, tick.partition, on_delivered)

    def skip(self, ticks: Sequence[Tick], reason: str, on_delivered: OnDelivered) -> None:
        """Send one result for a stretch of a monitor's ticks that are not run, in the order of their instants."""
        outcome = Outcome(Status.SKIPPED, reason)
        result = self._result(ticks[0], outcome, self._clock.now_ms(), 0.0, ticks)
        self._send(result, ticks[0].partition, on_delivered)

    def complain(self, run: Tick | Result, error: BaseException) -> None:
        """Log what a kind should not have let through."""
        if self._quiet.may_say((run.kind, type(error))):
            about = labelled(user=run.user_id, monitor=run.monitor_id, tick=run.scheduled_at, kind=run.kind)
            log.error("the kind '%s' failed unexpectedly (said once a minute)", run.kind, exc_info=error, extra=about)

    def _result(
        self,
        tick: Tick,
        outcome: Outcome,
        started_at: int,
        duration_ms: float,
        skipped: Sequence[Tick] = (),
        unreached: int = 0,
    ) -> Result:
        return Result(
            user_id=tick.user_id,
            monitor_id=tick.monitor_id,
            scheduled_at=tick.scheduled_at,
            kind=tick.kind,
            version=tick.version,
            status=outcome.status,
            reason=outcome.reason[:LONGEST_REASON],
            started_at=started_at,
            duration_ms=duration_ms,
            attempt=tick.attempt,
            timings=outcome.timings,
            executor=self._executor_id,
            skipped_until=skipped[-1].scheduled_at if skipped else 0,
            skipped_count=len(skipped),
            manual=tick.manual,
            detail=str(outcome.detail)[:LONGEST_DETAIL],
            unreached=unreached,
        )

    def _send(self, result: Result, partition: int, on_delivered: OnDelivered) -> None:
        self._outbox.send(
            self._topic,
            partition=partition,
            key=codec.user_key(result.user_id),
            value=self._encoded(result),
            on_delivered=on_delivered,
        )

    def _encoded(self, result: Result) -> bytes:
        try:
            data = codec.encode_result(result, self._format)
            if len(data) > codec.LARGEST_RESULT_BYTES:
                raise ValueError(
                    f"the outcome takes {len(data)} bytes, and at most {codec.LARGEST_RESULT_BYTES} are sent"
                )
            return data
        except Exception as error:  # e.g. timings of another's kind that are not numbers
            self.complain(result, error)
            reason = "internal error: the outcome cannot be encoded"
            plain = msgspec.structs.replace(result, status=Status.FAILURE, reason=reason, timings={}, detail="")
            return codec.encode_result(plain, self._format)

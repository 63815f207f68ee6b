"""Sender of the executor's results."""

from collections.abc import Sequence

from everwatch.core.clock import Clock
from everwatch.core.config import Settings
from everwatch.encoding import codec
from everwatch.executor.check_spans import record_check
from everwatch.kafka.outbox import Headers, OnDelivered, Outbox
from everwatch.kafka.topics import Topics
from everwatch.kinds.execution.result_builder import ResultBuilder, RunTimes
from everwatch.model import Outcome, Result, Status, Tick
from everwatch.tracing.tracer import Tracer


class ResultSender:
    """Sends results to the partition of their tick."""

    def __init__(
        self, settings: Settings, outbox: Outbox, clock: Clock, executor_id: str, tracer: Tracer | None = None
    ) -> None:
        self._topic = Topics.of(settings).results
        self._outbox = outbox
        self._clock = clock
        self._tracer = tracer
        self._results = ResultBuilder(executor_id, settings.output_format, clock, settings.region)

    def report(
        self,
        tick: Tick,
        outcome: Outcome,
        started_at: int,
        duration_ms: float,
        on_delivered: OnDelivered,
        unreached: int = 0,
    ) -> None:
        """Send the result of a run. ``unreached``: the percentage of targets that are out of reach, see ``Result``."""
        result = self._results.build(tick, outcome, RunTimes(started_at, duration_ms), unreached=unreached)
        traced = None
        if self._tracer is not None and outcome.status is not Status.SKIPPED:
            traced = record_check(self._tracer, tick, outcome, started_at, duration_ms)
        self._send(result, tick.partition, on_delivered, traced)

    def skip(self, ticks: Sequence[Tick], reason: str, on_delivered: OnDelivered) -> None:
        """Send one result for a stretch of a monitor's ticks that are not run, in the order of their instants."""
        outcome = Outcome(Status.SKIPPED, reason)
        stretch = (ticks[-1].scheduled_at, len(ticks))
        result = self._results.build(ticks[0], outcome, RunTimes(self._clock.now_ms()), skipped=stretch)
        self._send(result, ticks[0].partition, on_delivered)

    def report_fault(self, tick: Tick, error: BaseException) -> None:
        """Log an error that a kind should have handled."""
        self._results.report_fault(tick, error)

    def _send(self, result: Result, partition: int, on_delivered: OnDelivered, headers: Headers | None = None) -> None:
        self._outbox.send(
            self._topic,
            partition=partition,
            key=codec.user_key(result.user_id),
            value=self._results.encode(result),
            on_delivered=on_delivered,
            headers=headers,
        )

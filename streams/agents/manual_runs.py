"""Runs of monitors beside their schedules, by command."""

from collections.abc import Callable
from functools import partial
from zlib import crc32

from everwatch.core.bounds import BROKER_AHEAD_MS
from everwatch.encoding import codec, table_records
from everwatch.kafka.consumed_record import Record
from everwatch.kafka.outbox import Outbox, Substitute
from everwatch.kafka.topics import Topics
from everwatch.kinds import registry
from everwatch.kinds.execution.result_builder import RunIdentity
from everwatch.model import Command, Monitor, Signup
from everwatch.schedule.every import PHASE_STEP_MS
from streams.outputs.worker_results import WorkerResults
from streams.state.owned_partition import OwnedPartition

EvaluateNow = Callable[[OwnedPartition, Monitor, int, int], None]
"""Judges an inline monitor: its partition, it, the instant it is judged for, and now."""


class ManualRuns:
    """Lets a monitor run once, now: an executed kind by a tick, an inline one at once.

    A tick that its topic refuses becomes a skipped result, as the emitter's do.
    """

    def __init__(
        self,
        outbox: Outbox,
        topics: Topics,
        produced_at: Callable[[Record], int],
        results: WorkerResults,
        evaluate_now: EvaluateNow,
    ) -> None:
        self._outbox = outbox
        self._topics = topics
        self._produced_at = produced_at
        self._results = results
        self._evaluate_now = evaluate_now

    def run(
        self, partition: OwnedPartition, source: Record, wanted: Signup | Command, monitor: Monitor, now: int
    ) -> None:
        """Let a monitor run once beside its schedule.

        The tick has the instant of the command, so that the command read again gives the same tick; it is no whole
        step, as scheduled ones are.
        """
        name = wanted.command_id.encode() if isinstance(wanted, Command) else b""
        number = crc32(name) if name else source.offset
        # one that only begins later runs now anyway, beside its state; the broker takes no tick from far ahead
        begun = monitor.since if monitor.since < now + BROKER_AHEAD_MS // 2 else 0
        instant = min(max(self._produced_at(source), begun + PHASE_STEP_MS), now + BROKER_AHEAD_MS // 2)
        scheduled_at = instant - instant % PHASE_STEP_MS + 1 + number % (PHASE_STEP_MS - 1)
        if registry.is_inline(monitor.spec.kind):
            self._evaluate_now(partition, monitor, scheduled_at, now)
            return
        value = table_records.tick_value(monitor, manual=True)
        for region in monitor.spec.policy.regions or ("",):
            ticks = self._topics.ticks_in(region)
            if ticks is None:  # the setting has lost it: a region without executors
                continue
            topic = ticks.of(monitor.spec.policy.priority)
            self._outbox.send(
                topic,
                partition=partition.number,
                key=codec.user_key(monitor.user_id),
                value=value,
                timestamp_ms=scheduled_at,
                instead=partial(self._skipped, RunIdentity.of(monitor, scheduled_at, manual=True), topic, now, region),
            )

    def _skipped(self, run: RunIdentity, topic: str, now: int, region: str, reason: str) -> Substitute:
        return self._results.skipped_instead(run, f"the topic {topic} refused the tick: {reason}", now, region)

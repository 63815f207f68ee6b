"""Measures of sweeps: ticks sent and skipped, how late they were, and for how long no result has come."""

import logging

from prometheus_client import Gauge

from everwatch.core.clock import Clock
from everwatch.observability.logs import labelled
from everwatch.timetable import Destination
from streams.metrics import LATENESS, SKIPPED, TICKS, gauges_of
from streams.state.owned_partition import OwnedPartition, Sweep

logger = logging.getLogger(__name__)
# longer than any one check takes, as a rule
UNANSWERED_MS = 120_000


class SweepMeasures:
    """Counts what sweeps have emitted, and warns of partitions whose ticks no executor answers."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        topics = set(Destination) - {Destination.INLINE}
        self._sent = {destination: TICKS.labels(destination.value) for destination in topics}
        self._skipped, self._unsendable = SKIPPED.labels("misfire"), SKIPPED.labels("refused")
        self._said_unanswered: dict[int, int] = {}

    def count(self, partition: OwnedPartition, sweep: Sweep, *, is_owned: bool) -> None:
        """Count a sweep that the broker has acknowledged; set the gauges of its partition unless it is given up."""
        for (destination, _), sent in sweep.sent.items():
            self._sent[destination].inc(sent)
        if sweep.sent:
            LATENESS.observe(max(0, self._clock.now_ms() - sweep.upto) / 1000)
        if sweep.skipped:
            self._skipped.inc(sum(firing.chunk.count * len(firing.skipped) for firing in sweep.skipped))
        if sweep.unsendable:
            self._unsendable.inc(sum(chunk.count for _, chunk, _, _ in sweep.unsendable))
        if not is_owned:
            return
        emitted_to, monitors, unanswered = gauges_of(partition.number)
        if sweep.sent:
            self._count_unanswered(partition, sweep.upto, unanswered)
        emitted_to.set(sweep.upto / 1000)
        monitors.set(len(partition.timetable))

    def _count_unanswered(self, partition: OwnedPartition, upto: int, gauge: Gauge) -> None:
        """Set the time without results, and warn once: without executors no state changes, and no alert is sent."""
        since = partition.unanswered_since = partition.unanswered_since or upto
        gauge.set((upto - since) / 1000)
        if upto - since >= UNANSWERED_MS and self._said_unanswered.get(partition.number) != since:
            self._said_unanswered[partition.number] = since
            logger.warning(
                "ticks of partition %d have gone out for %d s and no result has come: is an executor running?",
                partition.number,
                (upto - since) // 1000,
                extra=labelled(partition=partition.number),
            )

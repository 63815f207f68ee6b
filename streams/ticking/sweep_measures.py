"""Measures of sweeps: ticks sent and skipped, how late they were, and for how long no result has come."""

from everwatch.core.clock import Clock
from everwatch.timetable import Destination
from streams.metrics import LATENESS, SKIPPED, TICKS, gauges_of
from streams.state.owned_partition import OwnedPartition, Sweep
from streams.ticking.executor_silence import ExecutorSilence


class SweepMeasures:
    """Counts what sweeps have emitted, and notes for how long executors are silent."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        topics = set(Destination) - {Destination.INLINE}
        self._sent = {destination: TICKS.labels(destination.value) for destination in topics}
        self._skipped, self._unsendable = SKIPPED.labels("misfire"), SKIPPED.labels("refused")
        self._silence = ExecutorSilence()

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
        emitted_to, monitors = gauges_of(partition.number)
        self._silence.note(partition, {region for _, region in sweep.sent}, sweep.upto)
        emitted_to.set(sweep.upto / 1000)
        monitors.set(len(partition.timetable))

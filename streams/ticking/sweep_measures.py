"""Measures of sweeps: ticks sent and skipped, how late, what a slow sweep waited for, how long no result has come."""

import logging

from everwatch.core.clock import Clock
from everwatch.observability.log_throttle import LogThrottle
from everwatch.observability.logs import labelled
from everwatch.timetable import Destination
from streams.metrics import LATENESS, SKIPPED, TICKS, gauges_of
from streams.state.owned_partition import OwnedPartition, Sweep
from streams.ticking.executor_silence import ExecutorSilence

logger = logging.getLogger(__name__)
SLOW_S = 1.0


class SweepMeasures:
    """Counts what sweeps have emitted, and notes for how long executors are silent."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        topics = set(Destination) - {Destination.INLINE}
        self._sent = {destination: TICKS.labels(destination.value) for destination in topics}
        self._skipped, self._unsendable = SKIPPED.labels("misfire"), SKIPPED.labels("refused")
        self._silence = ExecutorSilence()
        self._log_throttle = LogThrottle(clock)

    def log_if_slow(self, number: int, began_s: float, free_s: float, loaded_s: float) -> None:
        """Log what an acknowledged sweep of a partition waited for if it took ``SLOW_S``, once a minute.

        Instants, s: it began; no unit of work held the partition any more; what was due was loaded.
        """
        now_s = self._clock.monotonic_s()
        if now_s - began_s >= SLOW_S and self._log_throttle.may_log(number):
            logger.warning(
                "a sweep of partition %d took %.1f s (logged once a minute): %.1f s for units of work, %.1f s for what"
                " is due, %.1f s for the broker",
                number,
                now_s - began_s,
                free_s - began_s,
                loaded_s - free_s,
                now_s - loaded_s,
                extra=labelled(partition=number),
            )

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

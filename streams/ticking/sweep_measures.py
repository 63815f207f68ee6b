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


class SweepWaits:
    """What one sweep has waited for, part by part; the last one logs it if all took ``SLOW_S``, once a minute."""

    def __init__(self, number: int, clock: Clock, log_throttle: LogThrottle) -> None:
        self._number = number
        self._clock = clock
        self._log_throttle = log_throttle
        self._instants_s = [clock.monotonic_s()]

    def for_units_of_work(self) -> None:
        """Note that no unit of work holds the partition any more."""
        self._instants_s.append(self._clock.monotonic_s())

    def for_the_index(self) -> None:
        """Note that the timetable has all that is due."""
        self._instants_s.append(self._clock.monotonic_s())

    def for_the_broker(self) -> None:
        """Note that the broker has acknowledged everything."""
        began, free, loaded = self._instants_s
        now = self._clock.monotonic_s()
        if now - began >= SLOW_S and self._log_throttle.may_log(self._number):
            logger.warning(
                "a sweep of partition %d took %.1f s (logged once a minute): %.1f s for units of work, %.1f s for what"
                " is due, %.1f s for the broker",
                self._number,
                now - began,
                free - began,
                loaded - free,
                now - loaded,
                extra=labelled(partition=self._number),
            )


class SweepMeasures:
    """Counts what sweeps have emitted, and notes for how long executors are silent."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        topics = set(Destination) - {Destination.INLINE}
        self._sent = {destination: TICKS.labels(destination.value) for destination in topics}
        self._skipped, self._unsendable = SKIPPED.labels("misfire"), SKIPPED.labels("refused")
        self._silence = ExecutorSilence()
        self._log_throttle = LogThrottle(clock)

    def waits_of(self, number: int) -> SweepWaits:
        """Begin to measure what a sweep of this partition waits for."""
        return SweepWaits(number, self._clock, self._log_throttle)

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

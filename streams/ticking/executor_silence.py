"""Silence of executors: how long the ticks of a partition have gone to those of a region and no result has come.

Without executors no state changes, and no alert is sent. Those of one region may be gone while others send results.
"""

import logging
from collections.abc import Collection

from everwatch.observability.logs import labelled
from streams.metrics import remove_unanswered_gauge_of, unanswered_gauge_of
from streams.state.owned_partition import OwnedPartition, UnansweredTicks

logger = logging.getLogger(__name__)

# longer than any one check takes, as a rule
UNANSWERED_MS = 120_000
# a region that has got no tick for so long owes no result: no monitor names it any more
UNASKED_MS = 2 * 3_600_000


class ExecutorSilence:
    """Sets the time without results after each sweep, and warns once of each silence."""

    def __init__(self) -> None:
        self._warned: dict[tuple[int, str], int] = {}

    def note(self, partition: OwnedPartition, regions: Collection[str], upto: int) -> None:
        """Note a sweep up to ``upto`` that has sent ticks to ``regions`` ("": executors without one)."""
        for region in regions:
            known = partition.unanswered.get(region)
            ticks = UnansweredTicks(known.first if known else upto, upto)
            partition.unanswered[region] = ticks
            unanswered_gauge_of(partition.number, region).set((upto - ticks.first) / 1000)
            if upto > ticks.first:
                partition.silent.add(region)
            self._warn(partition.number, region, ticks)
        if partition.silent:
            _clear_silence(partition)
        if partition.unanswered:
            _forget_unasked(partition, upto)

    def _warn(self, number: int, region: str, ticks: UnansweredTicks) -> None:
        silent_ms = ticks.last - ticks.first
        if silent_ms < UNANSWERED_MS or self._warned.get((number, region)) == ticks.first:
            return
        self._warned[number, region] = ticks.first
        if region:
            logger.warning(
                "ticks of partition %d for region %s have gone out for %d s and no result has come: is an executor of"
                " that region running?",
                number,
                region,
                silent_ms // 1000,
                extra=labelled(partition=number),
            )
            return
        logger.warning(
            "ticks of partition %d have gone out for %d s and no result has come: is an executor running?",
            number,
            silent_ms // 1000,
            extra=labelled(partition=number),
        )


def _clear_silence(partition: OwnedPartition) -> None:
    """Set the gauges to 0 where a result has come since: the next tick may be an hour away."""
    for region in partition.silent - partition.unanswered.keys():
        partition.silent.remove(region)
        unanswered_gauge_of(partition.number, region).set(0)


def _forget_unasked(partition: OwnedPartition, upto: int) -> None:
    for region, ticks in [*partition.unanswered.items()]:
        if upto - ticks.last >= UNASKED_MS:
            del partition.unanswered[region]
            partition.silent.discard(region)
            remove_unanswered_gauge_of(partition.number, region)

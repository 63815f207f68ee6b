"""Skipped ticks: those that a misfire rule leaves out or that their topic refuses are reported as results."""

import asyncio
from collections.abc import Iterable, Sequence

from everwatch.kinds.execution.result_builder import RunIdentity
from everwatch.model import Outcome, Status
from everwatch.timetable import Chunk, Firing, Packing
from streams.outputs.worker_results import WorkerResults
from streams.state.owned_partition import OwnedPartition, Unsendable
from streams.ticking.chunk_ticks import records_of, ticks_of


class SkippedTicks:
    """Sends one result for each monitor's stretch of skipped ticks."""

    def __init__(self, results: WorkerResults, packing: Packing) -> None:
        self._results = results
        self._packing = packing

    async def report_skipped(self, partition: OwnedPartition, firings: Iterable[Firing], now: int) -> None:
        """Report the skipped instants of all monitors."""
        for batch_key, chunk, _, skipped in firings:
            reason = f"{len(skipped)} due times passed unserved; skipped under the misfire rule {batch_key.misfire}"
            await self._report(partition, chunk, skipped, reason, now)

    async def report_unsendable(self, partition: OwnedPartition, ticks: Iterable[Unsendable], now: int) -> None:
        """Report ticks that their topic refuses as skipped, with the reason."""
        for (_, region), chunk, instant, reason in ticks:
            await self._report(partition, chunk, [instant], reason, now, region)

    async def _report(
        self, partition: OwnedPartition, chunk: Chunk, skipped: Sequence[int], reason: str, now: int, region: str = ""
    ) -> None:
        outcome = Outcome(Status.SKIPPED, reason)
        for entries in records_of(chunk, self._packing):
            for delta, tick in ticks_of(entries, partition.number):
                self._results.send(
                    partition.number,
                    RunIdentity(
                        tick.user_id, tick.monitor_id, skipped[0] + delta, tick.kind, tick.version, tick.attempt
                    ),
                    outcome,
                    now,
                    skipped=(skipped[-1] + delta, len(skipped)),
                    region=region,
                )
            await self._results.room()
            await asyncio.sleep(0)

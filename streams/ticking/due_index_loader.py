"""Loader of due items from the index, up to a look-ahead horizon: one-shot tasks, beginnings, endings and retries.

An item further ahead is in RocksDB's index only.
"""

import asyncio

from everwatch.model import At
from everwatch.schedule.at import due_instant
from everwatch.timetable import LAST_KEY, TimetableEntry
from streams.state.entry_store import EntryStore
from streams.state.owned_partition import OwnedPartition
from streams.state.owned_partitions import OwnedPartitions
from streams.state.timetable_planner import TimetablePlanner

HORIZON_MS = 3_600_000
FORGOTTEN_EVERY_MS = 60_000
PAUSE_S = 1.0


class DueIndexLoader:
    """Loads items that are due within HORIZON_MS, at most ``most`` of each partition, ``at_once`` without a pause."""

    def __init__(
        self,
        partitions: OwnedPartitions,
        planner: TimetablePlanner,
        store: EntryStore,
        most: int = 100_000,
        at_once: int = 500,
    ) -> None:
        self._most = most
        self._at_once = at_once
        self._partitions = partitions
        self._planner = planner
        self._store = store
        self._forgotten: dict[int, int] = {}

    async def load(self, partition: OwnedPartition, upto: int) -> None:
        """Load every item due up to ``upto`` into the timetable."""
        # up to the last key: a crowd that is due at this very instant may be loaded in part
        while partition.timetable.loaded_to < (upto, LAST_KEY):
            self._load_some(partition, upto)
            await asyncio.sleep(0)

    async def load_ahead(self) -> None:
        """Load the items of all partitions up to the horizon."""
        for partition in self._partitions:
            horizon = self._planner.now_ms() + HORIZON_MS
            while (
                partition.timetable.loaded_to < (horizon, LAST_KEY)
                and partition.timetable.loaded_count < self._most
                and self._partitions.get(partition.number) is partition
            ):
                self._load_some(partition, horizon)
                await asyncio.sleep(0)
            self._forget(partition)

    def _load_some(self, partition: OwnedPartition, upto: int) -> None:
        """Load the next items of the index, without a pause: a monitor put meanwhile would count as loaded."""
        store, timetable = self._store, partition.timetable
        found = store.due(partition.number, timetable.loaded_to, upto, self._at_once)
        values = store.read_many(partition.number, [key for _, key in found])
        dated = []
        for (due, key), value in zip(found, values, strict=True):
            try:
                planned = self._planner.entry_of_encoded(key, value) if value is not None else None
            except Exception as error:
                store.undecodable.note(partition.number, key, error)
                continue
            # an index entry may be stale: the monitor was cancelled or its instant changed
            if planned is not None and due in _dates(planned):
                dated.append((due, planned))
        timetable.load(dated, found[-1] if len(found) == self._at_once else (upto, LAST_KEY))

    def _forget(self, partition: OwnedPartition) -> None:
        if self._partitions.get(partition.number) is not partition:
            return
        # the noted progress may be older, and a new owner goes on from there
        upto = partition.emitted_to - FORGOTTEN_EVERY_MS
        if upto - self._forgotten.get(partition.number, 0) >= FORGOTTEN_EVERY_MS:
            self._forgotten[partition.number] = upto
            self._store.forget_due(partition.number, upto)


def _dates(planned: TimetableEntry) -> tuple[int, ...]:
    schedule, retry = planned.schedule, planned.retry
    begin = due_instant(schedule, planned.since) if isinstance(schedule, At) else planned.since
    return begin, planned.until, retry.due if retry is not None else 0

"""The partitions this worker owns: opened with their timetables after a rebalance, closed when they go.

A timetable is restored from the snapshot that this worker saved, or rebuilt from the table.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping

from everwatch.core.bounds import MOST_AHEAD_MS
from everwatch.kafka.progress import EntryCounts
from everwatch.observability.logs import labelled
from streams.metrics import remove_gauges_of
from streams.state.entry_store import EntryStore
from streams.state.owned_partition import OwnedPartition
from streams.state.snapshot_mark import SnapshotMark
from streams.state.timetable_planner import TimetablePlanner
from streams.state.timetable_rebuild import TimetableRebuild

logger = logging.getLogger(__name__)
YIELD_EVERY = 2_000
# while sweeps are later than this, units of work wait for up to SWEEPS_PATIENCE_S
BEHIND_MS = 400
SWEEPS_PATIENCE_S, LOOK_S = 2.0, 0.02
# a worker is not ready while a partition of its own has emitted nothing for longer
UNREADY_MS = 10_000
NAMED_AT_MOST = 5


class OwnedPartitions:
    """Opens and closes partitions as Faust's assignment says."""

    def __init__(
        self,
        planner: TimetablePlanner,
        store: EntryStore,
    ) -> None:
        self._planner = planner
        self._store = store
        self._open: dict[int, OwnedPartition] = {}
        # counts what made an opening out of date: one that is under way compares it
        self._openings = 0
        self._opening_lock = asyncio.Lock()

    def __iter__(self) -> Iterator[OwnedPartition]:
        return iter(list(self._open.values()))

    @property
    def owned(self) -> set[int]:
        """Numbers of the partitions that are open."""
        return set(self._open)

    def __getitem__(self, number: int) -> OwnedPartition:
        return self._open[number]

    def get(self, number: int) -> OwnedPartition | None:
        """The partition, if it is open."""
        return self._open.get(number)

    async def open(self, numbers: set[int], progress: Mapping[int, int]) -> bool:
        """Own exactly these partitions, with a timetable each; False if they were revoked meanwhile.

        ``progress``: ``emitted_to`` of those that are not open yet, ms; 0 or missing where it is lost.
        """
        openings = self._openings
        async with self._opening_lock:
            opened = {number: partition for number, partition in self._open.items() if number in numbers}
            missing = sorted(numbers - opened.keys())
            for number in missing:
                # the topic may have been lost
                emitted_to = self._sane(number, progress.get(number, 0) or self._store.emitted_to(number))
                timetable = self._planner.new_timetable(emitted_to)
                partition = OwnedPartition(number, timetable, self._planner.now_ms())
                if not self.restore_timetable(partition):
                    await self.rebuild(partition, openings)
                if openings != self._openings:
                    # the entries that were met and cannot be decoded are another owner's to count
                    for each in missing:
                        remove_gauges_of(each)
                    return False
                opened[number] = partition
            self._own(opened)
        if numbers:
            monitors = sum(len(partition.timetable) for partition in opened.values())
            logger.info("watching %d monitors on partitions %s", monitors, sorted(numbers))
        return True

    def _sane(self, number: int, emitted_to: int) -> int:
        """Return the noted progress, or now if a clock that was ahead wrote it: no tick would be due until then."""
        now = self._planner.now_ms()
        if emitted_to <= now + MOST_AHEAD_MS:
            return emitted_to
        logger.warning(
            "partition %d claims to be %d ms ahead of the clock; going on from now",
            number,
            emitted_to - now,
            extra=labelled(partition=number),
        )
        return now

    def lag_ms(self) -> int:
        """Return the lag of the slowest partition's sweeps, ms."""
        now = self._planner.now_ms()
        limits = ((partition.ceiling or now, partition.emitted_to) for partition in self._open.values())
        return max((min(now, limit) - emitted_to for limit, emitted_to in limits), default=0)

    def why_behind(self) -> str:
        """Return a sentence with the partitions that have emitted nothing for a while; "" if there are none."""
        now = self._planner.now_ms()
        late = {each.number: now - each.emitted_to for each in self if now - each.emitted_to > UNREADY_MS}
        if not late:
            return ""
        named = ", ".join(f"{number} ({ms // 1000} s)" for number, ms in sorted(late.items())[:NAMED_AT_MOST])
        return f"{len(late)} partitions are behind: {named}"

    async def wait_until_sweeps_are_on_time(self) -> None:
        """Wait until sweeps are on time, or for SWEEPS_PATIENCE_S at most."""
        for _ in range(int(SWEEPS_PATIENCE_S / LOOK_S)):
            if self.lag_ms() < BEHIND_MS:
                return
            await asyncio.sleep(LOOK_S)

    def stop_opening(self) -> None:
        """Have ``open``, if it is under way, give up."""
        self._openings += 1

    async def close(self, numbers: Iterable[int], closed: Callable[[int, int], Awaitable[None]]) -> None:
        """Give up these partitions; when this returns, no sweep and no change of theirs is under way.

        ``closed`` is called for each with its ``emitted_to`` after the sweep that was under way. A partition whose
        sweep takes long does not delay the others.
        """
        closing = [self._open[number] for number in numbers]
        self.abandon(numbers)

        async def close(partition: OwnedPartition) -> None:
            async with partition.sweep_lock:
                self._save_timetable(partition)
            await closed(partition.number, partition.emitted_to)

        await asyncio.gather(*map(close, closing))

    def abandon(self, numbers: Iterable[int] | None = None) -> None:
        """Give up these partitions, or all; work that is under way finds that its partition is lost."""
        self.stop_opening()
        gone = self.owned if numbers is None else set(numbers)
        self._own({number: partition for number, partition in self._open.items() if number not in gone})

    def _own(self, opened: dict[int, OwnedPartition]) -> None:
        for number in self._open.keys() - opened.keys():
            remove_gauges_of(number)
        self._open = opened

    def restore_timetable(self, partition: OwnedPartition) -> bool:
        """Restore the timetable from the snapshot that this worker saved; False if there is none that fits."""
        saved = self._store.restore_snapshot(partition.number)
        if saved is None:
            return False
        mark, shelves = saved
        # a monitor that began, or went, after the progress that is noted: the snapshot is ahead of it
        if mark.form != self._planner.form or max(mark.newest_since, mark.newest_gone) > partition.emitted_to:
            return False
        try:
            partition.timetable.restore(shelves)
        except Exception as error:
            # it is derived: everything is in the table
            logger.warning(
                "the saved timetable of partition %d cannot be restored: %r",
                partition.number,
                error,
                extra=labelled(partition=partition.number),
            )
            partition.timetable = self._planner.new_timetable(partition.emitted_to)
            return False
        partition.timetable.newest_since = mark.newest_since
        partition.timetable.newest_gone = mark.newest_gone
        self._planner.fit(partition.timetable)
        partition.entries = EntryCounts(*mark.entries) if mark.entries else None
        return True

    def _save_timetable(self, partition: OwnedPartition) -> None:
        timetable = partition.timetable
        # a monitor that is durable and not yet in the timetable would stay out of it, and the next owner would not
        # count the entries that were passed over
        is_whole = not self._store.undecodable.count(partition.number)
        if timetable.can_be_saved and partition.ceiling is None and is_whole:
            since, gone = timetable.newest_since, timetable.newest_gone
            mark = SnapshotMark(self._planner.form, since, gone, entries=partition.entries)
            self._store.save_snapshot(partition.number, timetable.save(), mark)

    async def rebuild(self, partition: OwnedPartition, openings: int) -> None:
        """Rebuild the timetable from the store; of each entry only what it needs is read."""
        number, undecodable = partition.number, self._store.undecodable
        undecodable.begin(number)
        rebuild = TimetableRebuild(partition.timetable, number, self._planner, undecodable)
        for some in self._store.all_entries(number, YIELD_EVERY):
            rebuild.take(some)
            await asyncio.sleep(0)
            if openings != self._openings:
                return
        partition.entries = rebuild.finish()

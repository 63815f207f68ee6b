"""Recurring index: monitors in timing wheels and wall-clock groups, and shortly before they are due, in buckets."""

from collections.abc import Iterable, Iterator, Sequence

from everwatch.model import Align, At, Every
from everwatch.schedule.due import due_in
from everwatch.schedule.every import due_between
from everwatch.timetable.buckets import Buckets
from everwatch.timetable.chunk import Chunk, ChunkLimits, Packing
from everwatch.timetable.destination import BatchKey
from everwatch.timetable.firings import all_of
from everwatch.timetable.snapshot import read, saved
from everwatch.timetable.timetable_entry import Firing, TimetableEntry
from everwatch.timetable.timing_wheel import FINE_UP_TO_MS, TimingWheels
from everwatch.timetable.wall_clock_group import WallClockGroups, spread_ms_of

AHEAD_MS = 20_000
"""Time before the due instant at which monitors of long intervals, or with a spread, get a bucket, ms."""
# to look up a member of an enum takes longer than the rest of the decision, and a million monitors are added
MIDNIGHT = Align.MIDNIGHT


class RecurringIndex:
    """Every indexed monitor fires at each instant of its schedule after ``emitted_to``; none is put in again."""

    def __init__(self, packing: Packing, limits: ChunkLimits, emitted_to: int) -> None:
        self._packing = packing
        self._limits = limits
        self._emitted_to = emitted_to
        self.wheels = TimingWheels(packing, limits, emitted_to)
        self.groups = WallClockGroups(packing, limits, emitted_to)
        self.ahead = Buckets(packing, limits)
        self._ahead_to = emitted_to

    def add(self, entry: TimetableEntry) -> Chunk | None:
        """Add a monitor; gives the changed chunk, None if it is not added, as it would be due before it begins."""
        schedule = entry.schedule
        if isinstance(schedule, Every) and schedule.align is not MIDNIGHT:
            chunk = self.wheels.add(entry, schedule)
            is_spread_out = schedule.interval_ms > FINE_UP_TO_MS
        else:
            assert not isinstance(schedule, At)
            chunk = self.groups.add(entry, schedule)
            is_spread_out = spread_ms_of(schedule) > 0
        if is_spread_out and chunk is not None:
            for due in self._ahead_of(entry):
                self.ahead.add(due, due, entry.batch_key, entry.record)
        return chunk

    def add_many(
        self, schedule: Every, batch_key: BatchKey, since: int, phases: Sequence[int], records: Sequence[bytes]
    ) -> Iterator[Chunk]:
        """Add monitors of one interval, none of which must wait; yields the chunks that were changed."""
        interval_ms = schedule.interval_ms
        yield from self.wheels.add_many(interval_ms, batch_key, phases, records)
        begin = max(since, self._emitted_to)
        if interval_ms > FINE_UP_TO_MS and self._ahead_to > begin:
            following, soon = begin + 1, self._ahead_to - begin - 1
            for phase, record in zip(phases, records, strict=True):
                if (phase - following) % interval_ms <= soon:
                    for due in due_between(schedule, phase, begin, self._ahead_to):
                        self.ahead.add(due, due, batch_key, record)

    def remove(self, entry: TimetableEntry) -> Chunk | None:
        """Take a monitor out; gives the chunk that was changed, None if it was not there."""
        schedule = entry.schedule
        if isinstance(schedule, Every) and schedule.align is not MIDNIGHT:
            chunk = self.wheels.remove(entry, schedule)
            is_spread_out = schedule.interval_ms > FINE_UP_TO_MS
        else:
            assert not isinstance(schedule, At)
            chunk = self.groups.remove(entry, schedule)
            is_spread_out = spread_ms_of(schedule) > 0
        if is_spread_out:
            for due in self._ahead_of(entry):
                self.ahead.discard(due, due, entry.batch_key, entry.record)
        return chunk

    def due(self, upto: int) -> Iterator[Firing]:
        """Yield the firings after ``emitted_to`` and up to ``upto``, a whole step not far from it."""
        after = self._emitted_to
        self.look_ahead(upto)
        yield from self.wheels.due(after, upto)
        yield from self.groups.due(after, upto)
        for base, batch_key, shelf in self.ahead.between(after, upto):
            yield from all_of(batch_key, shelf, [base])

    def backlog(self, upto: int, now: int) -> Iterator[Firing]:
        """Yield the missed firings after ``emitted_to`` and up to ``upto``, divided by the misfire rules at ``now``."""
        yield from self.wheels.backlog(self._emitted_to, upto, now)
        yield from self.groups.backlog(self._emitted_to, upto, now)

    def mark_emitted(self, upto: int) -> None:
        """Note that everything up to ``upto`` is emitted, for good."""
        after, self._emitted_to = self._emitted_to, upto
        self.ahead.drop(after, upto)
        self._ahead_to = max(self._ahead_to, upto)
        self.wheels.emitted_to = upto
        self.groups.mark_emitted(upto)

    def look_ahead(self, upto: int) -> None:
        """Put monitors of long intervals, or with a spread, into buckets up to a bit more than ``upto``."""
        if upto < self._ahead_to:
            return
        begin, self._ahead_to = self._ahead_to, upto + AHEAD_MS
        for where in (self.wheels, self.groups):
            for due, batch_key, record in where.ahead(begin, self._ahead_to):
                self.ahead.add(due, due, batch_key, record)

    def save(self) -> Iterator[bytes]:
        """Yield all monitors, for ``restore``."""
        for interval_ms, batch_key, slot, shelf in self.wheels.shelves():
            yield saved(batch_key, slot, shelf, self._packing, interval_ms=interval_ms)
        for schedule, batch_key, slot, shelf in self.groups.shelves():
            yield saved(batch_key, slot, shelf, self._packing, schedule=schedule)

    def restore(self, shelves: Iterable[bytes]) -> int:
        """Restore an index that was saved with the same packing; gives the number of its monitors."""
        count = 0
        for found, shelf in read(shelves):
            if found.schedule is not None:
                self.groups.group(found.schedule, found.batch_key).slots[found.slot] = shelf
            else:
                self.wheels.wheel(found.interval_ms, found.batch_key).slots[found.slot] = shelf
            count += sum(chunk.count for chunk in shelf.chunks)
        return count

    def fit(self) -> None:
        """Split chunks that are larger than the limits."""
        for *_, shelf in (*self.wheels.shelves(), *self.groups.shelves()):
            shelf.fit(self._packing, self._limits)
        self.ahead.fit()

    def _ahead_of(self, entry: TimetableEntry) -> Sequence[int]:
        """Return when a monitor is due in the span that is spread out into buckets."""
        return due_in(entry.schedule, entry.key, entry.since, self._emitted_to, self._ahead_to)

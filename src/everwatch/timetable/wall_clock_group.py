"""Schedules that follow a wall clock: a group for each, whose members share the computation of due instants."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence

from everwatch.model import Cron, Every
from everwatch.schedule.duration import HOUR_MS, MINUTE_MS, SECOND_MS
from everwatch.schedule.misfire import divide
from everwatch.schedule.spread import spread_of
from everwatch.schedule.wall_times import wall_times
from everwatch.timetable.chunk import Chunk, ChunkLimits, Packing, Shelf, chunks_of, discard_from
from everwatch.timetable.destination import BatchKey
from everwatch.timetable.firings import all_of, by_misfire_rule
from everwatch.timetable.record_framing import FramedRecord
from everwatch.timetable.timetable_entry import NEVER, Firing, TimetableEntry


class WallClockGroup:
    """Monitors that share all of a schedule.

    Without a spread all of them stand on one shelf. With one, each is due some time after the shared instants, its
    offset: slots by offset, only those in use.
    """

    __slots__ = ("next", "slots", "spread_ms", "times", "width_ms")

    def __init__(self, schedule: Cron | Every, emitted_to: int) -> None:
        self.times = wall_times(schedule)
        self.spread_ms = spread_ms_of(schedule)
        self.width_ms = 10 * SECOND_MS if self.spread_ms <= HOUR_MS else MINUTE_MS
        self.slots: dict[int, Shelf] = {}
        self.next = NEVER
        self.advance(emitted_to)

    def advance(self, emitted_to: int) -> None:
        """Find the next shared instant; a group with a spread needs none."""
        if not self.spread_ms:
            following = self.times.next_after(emitted_to)
            self.next = NEVER if following is None else following

    def instants(self, after: int, upto: int) -> list[int]:
        """Return the shared instants at which monitors may be due in after < t <= upto."""
        return self.times.between(after - self.spread_ms, upto)

    def passed(self, instants: Sequence[int], after: int, upto: int) -> Iterator[tuple[int, Shelf]]:
        """Yield the slots with monitors that may be due in after < t <= upto: the offset where each starts."""
        width = self.width_ms
        seen: set[int] = set()
        for instant in instants:
            first, last = max(after + 1 - instant, 0) // width, (upto - instant) // width
            if last - first >= len(self.slots):
                seen.update(slot for slot in self.slots if first <= slot <= last)
            else:
                seen.update(slot for slot in range(first, last + 1) if slot in self.slots)
            if len(seen) == len(self.slots):
                break
        for slot in sorted(seen):
            yield slot * width, self.slots[slot]


class WallClockGroups:
    """The groups of a timetable. ``emitted_to``: everything due up to then is done with."""

    def __init__(self, packing: Packing, limits: ChunkLimits, emitted_to: int) -> None:
        self.emitted_to = emitted_to
        self._packing = packing
        self._limits = limits
        self.groups: dict[tuple[Cron | Every, BatchKey], WallClockGroup] = {}
        self._next = NEVER

    def add(self, entry: TimetableEntry, schedule: Cron | Every) -> Chunk | None:
        """Add a monitor; gives the changed chunk, None if it is not added, as it would be due before it begins."""
        offset = offset_of(entry.key, schedule)
        if entry.since > self.emitted_to:
            following = wall_times(schedule).next_after(self.emitted_to - offset)
            if following is not None and following + offset <= entry.since:
                return None
        group = self.group(schedule, entry.batch_key)
        slot, delta = divmod(offset, group.width_ms)
        shelf = group.slots.get(slot)
        if shelf is None:
            shelf = group.slots[slot] = Shelf()
        return shelf.add(FramedRecord(delta, entry.record), self._packing, self._limits)

    def remove(self, entry: TimetableEntry, schedule: Cron | Every) -> Chunk | None:
        """Take a monitor out; gives the chunk that was changed, None if it was not there."""
        name = schedule, entry.batch_key
        group = self.groups.get(name)
        if group is None:
            return None
        slot, delta = divmod(offset_of(entry.key, schedule), group.width_ms)
        chunk = discard_from(group.slots, slot, FramedRecord(delta, entry.record), self._packing)
        if not group.slots:
            del self.groups[name]
        return chunk

    def ahead(self, after: int, upto: int) -> Iterator[tuple[int, BatchKey, bytes]]:
        """Yield the monitors with a spread that are due in after < t <= upto: instant, batch key and record."""
        for (_, batch_key), group in self.groups.items():
            instants = group.instants(after, upto) if group.spread_ms else []
            for start, shelf in group.passed(instants, after, upto):
                for delta, record in shelf.entries(self._packing):
                    offset = start + delta
                    for instant in _between(instants, after - offset, upto - offset):
                        yield instant + offset, batch_key, record

    def due(self, after: int, upto: int) -> Iterator[Firing]:
        """Yield the firings without a spread in after < t <= upto."""
        if self._next <= upto:
            for (_, batch_key), group in self.groups.items():
                if group.next <= upto:
                    instants = group.instants(after, upto)
                    for shelf in group.slots.values():
                        yield from all_of(batch_key, shelf, instants)

    def backlog(self, after: int, upto: int, now: int) -> Iterator[Firing]:
        """Yield the missed firings in after < t <= upto, divided under the misfire rules at ``now``."""
        for (_, batch_key), group in self.groups.items():
            if group.spread_ms:
                yield from self._spread_backlog(batch_key, group, after, upto, now)
            elif group.next <= upto:
                instants = group.instants(after, upto)
                for shelf in group.slots.values():
                    yield from by_misfire_rule(batch_key, shelf, instants, now)

    def mark_emitted(self, emitted_to: int) -> None:
        """Everything up to ``emitted_to`` is done with."""
        self.emitted_to = emitted_to
        if self._next <= emitted_to:
            for group in self.groups.values():
                if group.next <= emitted_to:
                    group.advance(emitted_to)
            self._next = min((group.next for group in self.groups.values()), default=NEVER)

    def shelves(self) -> Iterator[tuple[Cron | Every, BatchKey, int, Shelf]]:
        """All shelves: schedule, batch key and number of the slot of each."""
        for (schedule, batch_key), group in self.groups.items():
            for slot, shelf in group.slots.items():
                yield schedule, batch_key, slot, shelf

    def group(self, schedule: Cron | Every, batch_key: BatchKey) -> WallClockGroup:
        """The group of a schedule, made if there is none."""
        group = self.groups.get((schedule, batch_key))
        if group is None:
            group = self.groups[schedule, batch_key] = WallClockGroup(schedule, self.emitted_to)
            self._next = min(self._next, group.next)
        return group

    def _spread_backlog(
        self, batch_key: BatchKey, group: WallClockGroup, after: int, upto: int, now: int
    ) -> Iterator[Firing]:
        instants = group.instants(after, upto)
        # monitors that missed the same shared instants, and as many of them by more than the grace, share a firing
        alike: dict[tuple[int, int, int], list[FramedRecord]] = {}
        for start, shelf in group.passed(instants, after, upto):
            for delta, record in shelf.entries(self._packing):
                offset = start + delta
                first, last = bisect_right(instants, after - offset), bisect_right(instants, upto - offset)
                if first < last:
                    late = bisect_left(instants, now - offset - batch_key.misfire_grace_ms, first, last)
                    alike.setdefault((first, late, last), []).append(FramedRecord(offset, record))
        for (first, _, last), entries in alike.items():
            missed = instants[first:last]
            fire, skipped = divide(missed, now - entries[0].delta, batch_key.misfire, batch_key.misfire_grace_ms)
            for chunk in chunks_of(entries, self._packing, self._limits):
                yield Firing(batch_key, chunk, fire, skipped)


def _between(instants: Sequence[int], after: int, upto: int) -> Sequence[int]:
    return instants[bisect_right(instants, after) : bisect_right(instants, upto)]


def spread_ms_of(schedule: Cron | Every) -> int:
    """Return how much later than their group's instants its members are due, at most."""
    return schedule.spread_ms if isinstance(schedule, Cron) else 0


def offset_of(key: bytes, schedule: Cron | Every) -> int:
    """Return how much later that is for the member with this key."""
    spread_ms = spread_ms_of(schedule)
    return spread_of(key, spread_ms) if spread_ms else 0

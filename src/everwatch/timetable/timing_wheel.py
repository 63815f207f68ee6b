"""Timing wheels: one for each interval that is counted from the epoch, divided into slots.

A monitor in a slot is due each time the hand passes it.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence

from everwatch.model import Every
from everwatch.schedule.duration import HOUR_MS, MINUTE_MS, SECOND_MS
from everwatch.schedule.every import PHASE_STEP_MS, due_between, phase_of
from everwatch.timetable.chunk import Chunk, ChunkLimits, Packing, Shelf, discard_from
from everwatch.timetable.destination import BatchKey
from everwatch.timetable.firings import Gathering, all_of, by_misfire_rule
from everwatch.timetable.record_framing import FramedRecord
from everwatch.timetable.timetable_entry import Firing, TimetableEntry

FINE_UP_TO_MS = 10 * MINUTE_MS


def width_of(interval_ms: int) -> int:
    """Return how much of an interval one slot covers, ms.

    Slots of a step each can be sent as they are, and there are many of them: short intervals have those. Slots of long
    intervals are wide, so that enough monitors share one to be packed well; they are spread out shortly before.
    """
    if interval_ms <= FINE_UP_TO_MS:
        return PHASE_STEP_MS
    return 10 * SECOND_MS if interval_ms <= HOUR_MS else MINUTE_MS


class TimingWheel:
    """Slots by number, only those in use. Firing reads a slot and changes nothing: monitors stay where they are."""

    __slots__ = ("interval_ms", "size", "slots", "width_ms")

    def __init__(self, interval_ms: int) -> None:
        self.interval_ms = interval_ms
        self.width_ms = width_of(interval_ms)
        self.size = -(-interval_ms // self.width_ms)
        self.slots: dict[int, Shelf] = {}

    def passed(self, after: int, upto: int) -> Iterator[tuple[int, Shelf]]:
        """Yield the slots with monitors that may be due in after < t <= upto: the offset where each starts, ms."""
        width = self.width_ms
        if upto - after >= self.interval_ms - width:
            for slot, shelf in list(self.slots.items()):
                yield slot * width, shelf
            return
        first = (after + 1) % self.interval_ms // width
        last = upto % self.interval_ms // width
        slots = range(first, last + 1) if first <= last else [*range(first, self.size), *range(last + 1)]
        for slot in slots:
            if slot in self.slots:
                yield slot * width, self.slots[slot]


class TimingWheels:
    """The wheels of a timetable: *fine* ones, whose slots are sent as they are, and *coarse* ones.

    ``emitted_to``: everything due up to then is done with.
    """

    def __init__(self, packing: Packing, limits: ChunkLimits, emitted_to: int) -> None:
        self.emitted_to = emitted_to
        self._packing = packing
        self._limits = limits
        self.fine: dict[tuple[int, BatchKey], TimingWheel] = {}
        self.coarse: dict[tuple[int, BatchKey], TimingWheel] = {}

    def add(self, entry: TimetableEntry, schedule: Every) -> Chunk | None:
        """Add a monitor; gives the changed chunk, None if it is not added, as it would be due before it begins."""
        interval_ms, phase = schedule.interval_ms, phase_of(entry.key, schedule)
        following, since = self.emitted_to + 1, entry.since
        if since >= following and since >= following + (phase - following) % interval_ms:
            return None
        wheel = self.wheel(interval_ms, entry.batch_key)
        slot, delta = divmod(phase, wheel.width_ms)
        shelf = wheel.slots.get(slot)
        if shelf is None:
            shelf = wheel.slots[slot] = Shelf()
        return shelf.add(FramedRecord(delta, entry.record), self._packing, self._limits)

    def due_before(self, since: int, interval_ms: int, phases: Sequence[int]) -> list[int]:
        """Return which of the monitors with these phases would be due before they begin at ``since``: they must wait.

        They are named by their places in ``phases``.
        """
        following = self.emitted_to + 1
        wait = since - following
        if wait < 0:
            return []
        return [place for place, phase in enumerate(phases) if (phase - following) % interval_ms <= wait]

    def add_many(
        self, interval_ms: int, batch_key: BatchKey, phases: Sequence[int], records: Sequence[bytes]
    ) -> Iterator[Chunk]:
        """Add monitors of one interval, none of which must wait; yields the chunks that were changed."""
        wheel = self.wheel(interval_ms, batch_key)
        width, slots = wheel.width_ms, wheel.slots
        by_slot: defaultdict[int, list[FramedRecord]] = defaultdict(list)
        for phase, record in zip(phases, records, strict=True):
            by_slot[phase // width].append(FramedRecord(phase % width, record))
        for slot, some in by_slot.items():
            shelf = slots.get(slot)
            if shelf is None:
                shelf = slots[slot] = Shelf()
            if len(some) == 1:
                yield shelf.add(some[0], self._packing, self._limits)
            else:
                yield from shelf.add_all(some, self._packing, self._limits)

    def remove(self, entry: TimetableEntry, schedule: Every) -> Chunk | None:
        """Take a monitor out; gives the chunk that was changed, None if it was not there."""
        name = schedule.interval_ms, entry.batch_key
        wheels = self.fine if schedule.interval_ms <= FINE_UP_TO_MS else self.coarse
        wheel = wheels.get(name)
        if wheel is None:
            return None
        slot, delta = divmod(phase_of(entry.key, schedule), wheel.width_ms)
        chunk = discard_from(wheel.slots, slot, FramedRecord(delta, entry.record), self._packing)
        if not wheel.slots:
            del wheels[name]
        return chunk

    def ahead(self, after: int, upto: int) -> Iterator[tuple[int, BatchKey, bytes]]:
        """Yield the monitors in coarse wheels that are due in after < t <= upto: instant, batch key and record."""
        for (interval_ms, batch_key), wheel in self.coarse.items():
            every = Every(interval_ms)
            for start, shelf in wheel.passed(after, upto):
                for delta, record in shelf.entries(self._packing):
                    for due in due_between(every, start + delta, after, upto):
                        yield due, batch_key, record

    def due(self, after: int, upto: int) -> Iterator[Firing]:
        """Yield the firings of fine wheels in after < t <= upto (both whole steps), step by step."""
        for step in range(after // PHASE_STEP_MS + 1, upto // PHASE_STEP_MS + 1):
            for (_, batch_key), wheel in self.fine.items():
                shelf = wheel.slots.get(step % wheel.size)
                if shelf is not None:
                    yield from all_of(batch_key, shelf, [step * PHASE_STEP_MS])

    def backlog(self, after: int, upto: int, now: int) -> Iterator[Firing]:
        """Yield the missed firings in after < t <= upto, divided under the misfire rules at ``now``."""
        for (interval_ms, batch_key), wheel in self.fine.items():
            every = Every(interval_ms)
            for phase, shelf in wheel.passed(after, upto):
                yield from by_misfire_rule(batch_key, shelf, due_between(every, phase, after, upto), now)
        for (interval_ms, batch_key), wheel in self.coarse.items():
            every, missed = Every(interval_ms), Gathering(batch_key)
            for start, shelf in wheel.passed(after, upto):
                for delta, record in shelf.entries(self._packing):
                    due = due_between(every, start + delta, after, upto)
                    if due:
                        missed.add_by_misfire_rule(record, due, now)
            yield from missed.firings(self._packing, self._limits)

    def shelves(self) -> Iterator[tuple[int, BatchKey, int, Shelf]]:
        """All shelves: interval, batch key and number of the slot of each."""
        for wheels in (self.fine, self.coarse):
            for (interval_ms, batch_key), wheel in wheels.items():
                for slot, shelf in wheel.slots.items():
                    yield interval_ms, batch_key, slot, shelf

    def wheel(self, interval_ms: int, batch_key: BatchKey) -> TimingWheel:
        """The wheel of an interval, made if there is none."""
        wheels = self.fine if interval_ms <= FINE_UP_TO_MS else self.coarse
        wheel = wheels.get((interval_ms, batch_key))
        if wheel is None:
            wheel = wheels[interval_ms, batch_key] = TimingWheel(interval_ms)
        return wheel

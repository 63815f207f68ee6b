"""Firings that happen once, by the step of time in which they are due."""

from collections.abc import Iterable, Iterator

from everwatch.schedule.every import PHASE_STEP_MS
from everwatch.timetable.chunk import Chunk, ChunkLimits, Packing, Shelf
from everwatch.timetable.destination import BatchKey
from everwatch.timetable.record_framing import FramedRecord


class Buckets:
    """A bucket holds the monitors that are due in base < t <= base + PHASE_STEP_MS.

    Its records carry how long after the base they are ``stamped``: when they are due, or (a retry) long before.
    """

    def __init__(self, packing: Packing, limits: ChunkLimits) -> None:
        self._packing = packing
        self._limits = limits
        self.shelves: dict[int, dict[BatchKey, Shelf]] = {}
        self.count = 0

    def add(self, due: int, stamped: int, batch_key: BatchKey, record: bytes) -> Chunk:
        """Add one firing; gives the chunk that was changed."""
        number = _number(due)
        lines = self.shelves.setdefault(number, {})
        shelf = lines.get(batch_key)
        if shelf is None:
            shelf = lines[batch_key] = Shelf()
        self.count += 1
        return shelf.add(FramedRecord(stamped - number * PHASE_STEP_MS, record), self._packing, self._limits)

    def discard(self, due: int, stamped: int, batch_key: BatchKey, record: bytes) -> Chunk | None:
        """Take a firing out; gives the chunk that was changed, None if it was not there."""
        number = _number(due)
        shelf = self.shelves.get(number, {}).get(batch_key)
        entry = FramedRecord(stamped - number * PHASE_STEP_MS, record)
        chunk = shelf.discard(entry, self._packing) if shelf else None
        if chunk is not None:
            self.count -= 1
        return chunk

    def between(self, after: int, upto: int) -> Iterator[tuple[int, BatchKey, Shelf]]:
        """All buckets in after < t <= upto (both whole steps): base, batch key and shelf, in the order of time."""
        for number in self._numbers(after, upto):
            for batch_key, shelf in self.shelves[number].items():
                yield number * PHASE_STEP_MS, batch_key, shelf

    def drop(self, after: int, upto: int) -> None:
        """Drop the firings in after < t <= upto."""
        for number in self._numbers(after, upto):
            self.count -= sum(chunk.count for shelf in self.shelves.pop(number).values() for chunk in shelf.chunks)

    def fit(self) -> None:
        """Split chunks that are larger than the limits."""
        for lines in self.shelves.values():
            for shelf in lines.values():
                shelf.fit(self._packing, self._limits)

    def _numbers(self, after: int, upto: int) -> Iterable[int]:
        if not self.shelves:
            return ()
        numbers = range(after // PHASE_STEP_MS, upto // PHASE_STEP_MS)
        if len(numbers) > len(self.shelves):
            return sorted(number for number in self.shelves if number in numbers)
        return [number for number in numbers if number in self.shelves]


def _number(due: int) -> int:
    return (due - 1) // PHASE_STEP_MS

"""A chunk: some hundred records that are sent as one batch, kept compressed while they do not change."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Protocol, Self
from zlib import crc32

from everwatch.timetable import record_framing
from everwatch.timetable.record_framing import FramedRecord


class Packing(Protocol):
    """Compression of a batch's records on their topic."""

    @property
    def code(self) -> int:
        """The compression's number in a batch's attributes (0: none)."""
        ...

    def pack(self, data: bytes) -> bytes:
        """``data`` compressed."""
        ...

    def unpack(self, data: bytes) -> bytes:
        """Return the packed bytes."""
        ...


@dataclass(slots=True)
class ChunkLimits:
    """The largest a chunk may be; ``size`` in bytes before compression. One object for all chunks of a timetable."""

    count: int = 4_000
    size: int = 480 * 1024


class Chunk:
    """Records of one batch, either loose (a byte array that can be changed) or packed.

    ``reach``: max timestamp delta: no record is later than the base timestamp by more than this, ms (may be negative).
    """

    __slots__ = ("_loose", "_packed", "code", "count", "reach", "touched")

    def __init__(self) -> None:
        self.count = 0
        self.reach = 0
        self.code = 0
        self.touched = 0
        self._loose: bytearray | None = bytearray()
        self._packed = b""

    @classmethod
    def of(cls, packed: bytes, count: int, code: int, reach: int) -> Self:
        """The chunk that was packed so."""
        chunk = cls()
        chunk._loose, chunk._packed = None, packed
        chunk.count, chunk.code, chunk.reach = count, code, reach
        return chunk

    @property
    def is_loose(self) -> bool:
        """Tell whether it takes the memory of uncompressed records."""
        return self._loose is not None

    def loosened(self, packing: Packing) -> bytearray:
        """Its records, ready to be changed."""
        if self._loose is None:
            self._loose = bytearray(self._unpacked(packing))
            self._packed = b""
        return self._loose

    def packed(self, packing: Packing) -> bytes:
        """Its records as they go out, with ``code`` saying how; from now on only this is kept."""
        if self._loose is not None:
            plain = bytes(self._loose)
            packed = packing.pack(plain) if packing.code else plain
            # a few records hardly ever get smaller
            self.code, self._packed = (packing.code, packed) if len(packed) < len(plain) else (0, plain)
            self._loose = None
        return self._packed

    def add(self, entry: FramedRecord, packing: Packing) -> None:
        """Add a record."""
        delta, record = entry
        record_framing.append(self.loosened(packing), self.count, delta, record)
        # all deltas may be negative
        if delta > self.reach or not self.count:
            self.reach = delta
        self.count += 1

    def add_all(self, entries: Sequence[FramedRecord], packing: Packing) -> None:
        """Add records."""
        record_framing.append_all(self.loosened(packing), self.count, entries)
        reach = max([delta for delta, _ in entries])
        self.reach = max(self.reach, reach) if self.count else reach
        self.count += len(entries)

    def has_room(self, entries: Sequence[FramedRecord], packing: Packing, limits: ChunkLimits) -> bool:
        """Tell whether it stays within the limits with these records."""
        if self.count + len(entries) > limits.count:
            return False
        size = sum([len(record) for _, record in entries]) + record_framing.MOST_BEFORE * len(entries)
        return size <= limits.size - self.size_in(packing)

    def discard(self, entry: FramedRecord, packing: Packing) -> bool:
        """Take a record out; whether it was there."""
        if not record_framing.discard(self.loosened(packing), self.count, entry.delta, entry.framed):
            return False
        self.count -= 1
        return True

    def entries(self, packing: Packing) -> Iterator[FramedRecord]:
        """Its records."""
        return record_framing.walk(bytes(self._loose) if self._loose is not None else self._unpacked(packing))

    def size_in(self, packing: Packing) -> int:
        """Bytes of its records before compression."""
        return len(self._loose if self._loose is not None else self._unpacked(packing))

    def _unpacked(self, packing: Packing) -> bytes:
        return packing.unpack(self._packed) if self.code else self._packed


class Shelf:
    """Chunks of monitors that are due together. A record's checksum says which chunk it is in; full chunks split."""

    __slots__ = ("_bounds", "chunks")

    def __init__(self) -> None:
        self.chunks = [Chunk()]
        # chunk i holds checksums from bounds[i] (bounds[0] is 0, and not kept) to below bounds[i + 1]
        self._bounds: list[int] | None = None

    @classmethod
    def of(cls, bounds: list[int] | None, chunks: list[Chunk]) -> Self:
        """The shelf whose contents are these."""
        shelf = cls()
        shelf._bounds, shelf.chunks = bounds, chunks
        return shelf

    def contents(self) -> tuple[list[int] | None, list[Chunk]]:
        """The checksums at which one chunk ends and the next begins, and the chunks."""
        return self._bounds, self.chunks

    def __bool__(self) -> bool:
        return any(chunk.count for chunk in self.chunks)

    def entries(self, packing: Packing) -> Iterator[FramedRecord]:
        """The records of all its chunks."""
        return chain.from_iterable(chunk.entries(packing) for chunk in self.chunks)

    def add(self, entry: FramedRecord, packing: Packing, limits: ChunkLimits) -> Chunk:
        """Add a record; gives the chunk that was changed."""
        place = self._place(entry) if self._bounds else 0
        chunk = self.chunks[place]
        chunk.add(entry, packing)
        # a large record may stand among many small ones: one split may not be enough
        while _is_over(chunk, packing, limits) and self._split(place, packing):
            place = self._place(entry)
            chunk = self.chunks[place]
        return chunk

    def add_all(self, entries: Sequence[FramedRecord], packing: Packing, limits: ChunkLimits) -> Iterator[Chunk]:
        """Add records; yields the chunks that were changed."""
        if not self._bounds and self.chunks[0].has_room(entries, packing, limits):
            self.chunks[0].add_all(entries, packing)
            yield self.chunks[0]
            return
        by_place: dict[int, list[FramedRecord]] = {}
        for entry in entries:
            by_place.setdefault(self._place(entry), []).append(entry)
        # a chunk that is split moves those behind it to other places
        for chunk, some in [(self.chunks[place], some) for place, some in by_place.items()]:
            if chunk.has_room(some, packing, limits):
                chunk.add_all(some, packing)
                yield chunk
            else:
                for entry in some:
                    yield self.add(entry, packing, limits)

    def discard(self, entry: FramedRecord, packing: Packing) -> Chunk | None:
        """Take a record out; gives the chunk that was changed, None if the record was not there."""
        place = self._place(entry)
        chunk = self.chunks[place]
        if not chunk.discard(entry, packing):
            return None
        if not chunk.count and self._bounds:
            del self.chunks[place]
            del self._bounds[max(place - 1, 0)]
        return chunk

    def fit(self, packing: Packing, limits: ChunkLimits) -> None:
        """Split chunks that are larger than the limits (which were lowered)."""
        place = 0
        while place < len(self.chunks):
            if not (_is_over(self.chunks[place], packing, limits) and self._split(place, packing)):
                place += 1

    def _place(self, entry: FramedRecord) -> int:
        return bisect_right(self._bounds, crc32(entry.framed)) if self._bounds else 0

    def _split(self, place: int, packing: Packing) -> bool:
        marked = sorted((crc32(entry.framed), entry) for entry in self.chunks[place].entries(packing))
        bound = next((mark for mark, _ in marked[len(marked) // 2 :] if mark > marked[0][0]), None)
        if bound is None:
            return False  # all of one checksum: they stay together
        halves = [entry for mark, entry in marked if mark < bound], [entry for mark, entry in marked if mark >= bound]
        self.chunks[place : place + 1] = [chunk_of(half, packing) for half in halves]
        if self._bounds is None:
            self._bounds = []
        self._bounds.insert(place, bound)
        return True


def _is_over(chunk: Chunk, packing: Packing, limits: ChunkLimits) -> bool:
    return chunk.count > 1 and (chunk.count > limits.count or chunk.size_in(packing) > limits.size)


def chunk_of(entries: Iterable[FramedRecord], packing: Packing) -> Chunk:
    """A packed chunk of these records."""
    chunk = Chunk()
    for entry in entries:
        chunk.add(entry, packing)
    chunk.packed(packing)
    return chunk


def chunks_of(entries: Iterable[FramedRecord], packing: Packing, limits: ChunkLimits) -> Iterator[Chunk]:
    """Packed chunks of these records, filled one after the other."""
    some: list[FramedRecord] = []
    size = 0
    for entry in entries:
        taken = len(entry.framed) + record_framing.MOST_BEFORE
        if some and (len(some) >= limits.count or size + taken > limits.size):
            yield chunk_of(some, packing)
            some, size = [], 0
        some.append(entry)
        size += taken
    if some:
        yield chunk_of(some, packing)


def discard_from(slots: dict[int, Shelf], slot: int, record: FramedRecord, packing: Packing) -> Chunk | None:
    """Take a record out of a slot, which goes when it is empty; gives the changed chunk, None if it was not there."""
    shelf = slots.get(slot)
    chunk = shelf.discard(record, packing) if shelf else None
    if chunk is not None and not shelf:
        del slots[slot]
    return chunk

"""Snapshot of a timetable as bytes: packed records stay packed, so saving and restoring it is cheap."""

from collections.abc import Iterable, Iterator

import msgspec

from everwatch.model import Cron, Every, Misfire
from everwatch.timetable.chunk import Chunk, Packing, Shelf
from everwatch.timetable.destination import BatchKey, Destination

# of what stands in a snapshot; a timetable is rebuilt from the table where this has changed
FORMAT = 3


class _Chunk(msgspec.Struct, array_like=True, gc=False):
    count: int
    reach: int
    code: int
    packed: bytes


class SavedShelf(msgspec.Struct, array_like=True, gc=False):
    """One shelf: a slot of a wheel (``interval_ms``) or of the group of ``schedule``."""

    destination: Destination
    misfire: Misfire
    misfire_grace_ms: int
    regions: tuple[str, ...]
    interval_ms: int
    slot: int
    schedule: Cron | Every | None
    bounds: list[int] | None
    chunks: list[_Chunk]

    @property
    def batch_key(self) -> BatchKey:
        """The batch key of its records."""
        return BatchKey(self.destination, self.misfire, self.misfire_grace_ms, self.regions)


_decode = msgspec.msgpack.Decoder(SavedShelf).decode
_encode = msgspec.msgpack.Encoder().encode


def saved(
    batch_key: BatchKey,
    slot: int,
    shelf: Shelf,
    packing: Packing,
    *,
    interval_ms: int = 0,
    schedule: Cron | Every | None = None,
) -> bytes:
    """A shelf as bytes."""
    bounds, chunks = shelf.contents()
    packed = [_packed(chunk, packing) for chunk in chunks]
    return _encode(SavedShelf(*batch_key, interval_ms, slot, schedule, bounds, packed))


def read(shelves: Iterable[bytes]) -> Iterator[tuple[SavedShelf, Shelf]]:
    """The shelves that were saved."""
    for data in shelves:
        found = _decode(data)
        chunks = [Chunk.of(each.packed, each.count, each.code, each.reach) for each in found.chunks]
        yield found, Shelf.of(found.bounds, chunks)


def _packed(chunk: Chunk, packing: Packing) -> _Chunk:
    # before ``code``: packing decides it
    records = chunk.packed(packing)
    return _Chunk(chunk.count, chunk.reach, chunk.code, records)

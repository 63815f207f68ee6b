"""Firings of whole shelves, and of single records that have due instants of their own."""

from collections.abc import Iterator, Sequence

from everwatch.schedule.duration import MINUTE_MS
from everwatch.schedule.misfire import divide
from everwatch.timetable.chunk import ChunkLimits, Packing, Shelf, chunks_of
from everwatch.timetable.destination import BatchKey
from everwatch.timetable.record_framing import FramedRecord
from everwatch.timetable.timetable_entry import NONE, Firing


def all_of(batch_key: BatchKey, shelf: Shelf, instants: Sequence[int]) -> Iterator[Firing]:
    """Yield the firings of a shelf whose records are all due at these instants."""
    for chunk in shelf.chunks:
        if chunk.count:
            yield Firing(batch_key, chunk, instants)


def by_misfire_rule(batch_key: BatchKey, shelf: Shelf, due: Sequence[int], now: int) -> Iterator[Firing]:
    """Yield the firings of a shelf whose records were all due, as their misfire rule divides the instants."""
    if due:
        fire, skipped = divide(due, now, batch_key.misfire, batch_key.misfire_grace_ms)
        for chunk in shelf.chunks:
            if chunk.count:
                yield Firing(batch_key, chunk, fire, skipped)


class Gathering:
    """Records of one batch key with due instants of their own; records with the same instants share a chunk."""

    __slots__ = ("_alike", "_batch_key")

    def __init__(self, batch_key: BatchKey) -> None:
        self._batch_key = batch_key
        self._alike: dict[tuple[Sequence[int], Sequence[int]], list[FramedRecord]] = {}

    def add(self, record: bytes, due: Sequence[int]) -> None:
        """Add a record that is due at these instants."""
        self._add(record, due, NONE)

    def add_by_misfire_rule(self, record: bytes, due: Sequence[int], now: int) -> None:
        """Add a record that was due at these instants, which the misfire rule divides."""
        self._add(record, *divide(due, now, self._batch_key.misfire, self._batch_key.misfire_grace_ms))

    def firings(self, packing: Packing, limits: ChunkLimits) -> Iterator[Firing]:
        """Yield the firings of all records, in chunks."""
        for (fire, skipped), entries in self._alike.items():
            for chunk in chunks_of(entries, packing, limits):
                yield Firing(self._batch_key, chunk, fire, skipped)

    def _add(self, record: bytes, fire: Sequence[int], skipped: Sequence[int]) -> None:
        if len(fire) == 1 and not skipped:
            # near enough to share a chunk, each with its own timestamp
            base = fire[0] - fire[0] % MINUTE_MS
            self._alike.setdefault(((base,), NONE), []).append(FramedRecord(fire[0] - base, record))
        elif fire or skipped:
            self._alike.setdefault((_key(fire), _key(skipped)), []).append(FramedRecord(0, record))


def _key(instants: Sequence[int]) -> Sequence[int]:
    # a list is no key
    return instants if isinstance(instants, range) else tuple(instants)

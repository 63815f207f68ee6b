"""Ticks of a chunk of the timetable, decoded a few at a time."""

from collections.abc import Iterable, Iterator
from itertools import islice

from everwatch.encoding import codec
from everwatch.model import Tick
from everwatch.timetable import Chunk, Packing, unframed

AT_ONCE = 200


def records_of(chunk: Chunk, packing: Packing) -> Iterator[list[tuple[int, bytes]]]:
    """Yield the framed records of a chunk and how many ms each is later than the chunk's instant, AT_ONCE."""
    entries = chunk.entries(packing)
    while some := [(entry.delta, entry.framed) for entry in islice(entries, AT_ONCE)]:
        yield some


def ticks_of(records: Iterable[tuple[int, bytes]], number: int) -> Iterator[tuple[int, Tick]]:
    """Yield the ticks of such records with their deltas."""
    for delta, record in records:
        yield delta, codec.decode_tick(*unframed(record), 0, number)

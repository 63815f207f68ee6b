"""Chunks that were changed a short while ago, and so take the memory of uncompressed records."""

from itertools import islice

from everwatch.timetable.chunk import Chunk, Packing

TIDY_AT_ONCE = 32
TIDY_EVERY_SWEEPS = 5
TIDY_AFTER_SWEEPS = 100


class Repacker:
    """Packs chunks that have not changed for some sweeps, a few at a time."""

    def __init__(self, packing: Packing) -> None:
        self._packing = packing
        self._chunks: dict[Chunk, None] = {}
        self._sweeps = 0

    def touch(self, chunk: Chunk) -> None:
        """A chunk was changed."""
        chunk.touched = self._sweeps
        self._chunks[chunk] = None

    def tidy(self) -> None:
        """A sweep is over."""
        self._sweeps += 1
        if self._sweeps % TIDY_EVERY_SWEEPS:
            return
        for chunk in list(islice(self._chunks, TIDY_AT_ONCE)):
            del self._chunks[chunk]
            if chunk.is_loose and chunk.count:
                if self._sweeps - chunk.touched < TIDY_AFTER_SWEEPS:
                    self._chunks[chunk] = None
                else:
                    chunk.packed(self._packing)

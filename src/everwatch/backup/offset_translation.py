"""ReaderOffsets of old topics as offsets of the new ones. Pure.

A reader that stood at an offset has handled every record before it. In the new topic it stands behind as many of the
records that were restored. So nothing is handled twice that was handled, and nothing is passed over: an old offset in
a new topic, which begins at 0, would pass over whatever lies before it.
"""

from bisect import bisect_left

from everwatch.backup.manifest import ReaderOffsets


class Place:
    """The records of one partition, by their old offsets; new ones are counted from ``base`` on."""

    def __init__(self, base: int) -> None:
        self._base = base
        self._count = 0
        # runs of old offsets without a gap: the first, and how many records lie before it
        self._firsts: list[int] = []
        self._before: list[int] = []
        self._next = -1

    def add(self, offset: int) -> None:
        """Take the next record that is written."""
        if offset != self._next:
            self._firsts.append(offset)
            self._before.append(self._count)
        self._count += 1
        self._next = offset + 1

    def new_offset(self, old: int) -> int:
        """Return the offset behind all records that lay before ``old``."""
        run = bisect_left(self._firsts, old) - 1
        if run < 0:
            return self._base
        behind = self._before[run + 1] if run + 1 < len(self._before) else self._count
        return self._base + min(self._before[run] + old - self._firsts[run], behind)


class Translation:
    """The places of all partitions, by topic (without prefix)."""

    def __init__(self) -> None:
        self._places: dict[tuple[str, int], Place] = {}

    def of(self, topic: str, partition: int, base: int) -> Place:
        """Begin a partition."""
        place = self._places[topic, partition] = Place(base)
        return place

    def apply(self, offsets: ReaderOffsets) -> ReaderOffsets:
        """Return a reader's offsets in the new topics."""
        return ReaderOffsets(
            offsets.reader,
            {
                topic: {
                    number: self._places[topic, number].new_offset(offset)
                    for number, offset in by_partition.items()
                    if (topic, number) in self._places
                }
                for topic, by_partition in offsets.offsets.items()
            },
        )

"""Low watermark of a partition whose records finish out of order: the offset that may be committed (pure)."""

from collections import deque


class Watermark:
    """Tracks one partition. ``begin`` a taken offset, ``finish`` a handled one; ``low`` may be committed.

    Offsets have gaps (transaction markers, compaction), so nothing is concluded from their distance.
    Cost: constant time per record on average; memory for what is begun and not yet below ``low``.
    """

    def __init__(self) -> None:
        self._begun: deque[int] = deque()
        self._open: set[int] = set()
        self._last = -1
        self._low: int | None = None

    def begin(self, offset: int) -> bool:
        """Note that ``offset`` was taken; False if it, or a later one, was taken before (it is not to be run again)."""
        if offset <= self._last:
            return False
        self._last = offset
        self._begun.append(offset)
        self._open.add(offset)
        return True

    def finish(self, offset: int) -> bool:
        """Note that ``offset`` is done for good; False if it was not open. Finishing twice is finishing once."""
        if offset not in self._open:
            return False
        self._open.remove(offset)
        while self._begun and self._begun[0] not in self._open:
            self._low = self._begun.popleft() + 1
        return True

    @property
    def low(self) -> int | None:
        """The offset to commit: all that was begun below it is finished. None while there is nothing to commit."""
        return self._low

    @property
    def outstanding(self) -> int:
        """Return the number of offsets that are begun and not finished."""
        return len(self._open)

    @property
    def span(self) -> int:
        """Return the number of begun offsets at or above ``low``: another owner would begin them again."""
        return len(self._begun)

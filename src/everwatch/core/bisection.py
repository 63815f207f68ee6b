"""Finding the records of a batch that make its handling fail. Pure: the caller handles one part after another."""

from collections.abc import Sequence
from typing import Generic, TypeVar

T = TypeVar("T")
ATTEMPTS = 3
"""How often a record is handled alone before it is given up."""


class Bisection(Generic[T]):
    """Work left in a batch, in order, in parts that become smaller where they fail.

    The caller handles ``part`` until it is empty, and reports each outcome: ``done()`` drops the part, ``failed()``
    halves it. A record that fails alone ``attempts`` times is poison: ``failed()`` returns True, and the caller drops
    it with ``done()`` once it has put it aside. A failure that no record causes is not reported: the part stays.

    Of a batch of n records at most 2n - 1 + (attempts - 1) n parts are handled, and with k poisonous ones at most
    n.bit_length() * 2k + attempts * k + 1; what is done is not handled again.
    """

    def __init__(self, items: Sequence[T], attempts: int = ATTEMPTS) -> None:
        self._items = items
        self._attempts = attempts
        self._failures = 0
        # begins and ends of the parts, the next one last
        self._parts = [(0, len(items))] if items else []

    @property
    def part(self) -> Sequence[T]:
        """The records to handle next; empty when nothing is left."""
        if not self._parts:
            return ()
        begin, end = self._parts[-1]
        return self._items if end - begin == len(self._items) else self._items[begin:end]

    def done(self) -> None:
        """Drop the part: it is handled, or put aside."""
        self._parts.pop()
        self._failures = 0

    def failed(self) -> bool:
        """Go on with the part's first half; of a single record return whether it is to be given up."""
        begin, end = self._parts[-1]
        if end - begin == 1:
            self._failures += 1
            return self._failures >= self._attempts
        middle = (begin + end) // 2
        self._parts[-1:] = [(middle, end), (begin, middle)]
        return False

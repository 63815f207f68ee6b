"""Due instants that can only be listed one after the other, with the next few cached. Pure."""

import math
from bisect import bisect_right
from collections.abc import Callable, Iterator
from itertools import islice, takewhile

from everwatch.schedule.duration import DAY_MS, HOUR_MS

MOST_AHEAD = 64
WIDER = 8


class Ahead:
    """The instants, in ms, that ``due_after`` lists in order from whatever instant it is given.

    It remembers the next few, so that asking again and again, each time for a later one, is cheap.
    """

    def __init__(self, due_after: Callable[[int], Iterator[int]]) -> None:
        self._due_after = due_after
        # (after, upto, due): all that is due in after < t <= upto. Replaced as a whole and never changed, so that
        # threads may share it
        self._ahead: tuple[int, float, list[int]] = (0, 0, [])

    def next_after(self, instant_ms: int) -> int | None:
        """The first due instant after ``instant_ms``; None if it is never due again."""
        after, upto, due = self._ahead
        if not after <= instant_ms < upto:
            after, upto, due = self._ahead = self._look_ahead(instant_ms)
        i = bisect_right(due, instant_ms)
        return due[i] if i < len(due) else None

    def between(self, after: int, upto: int) -> list[int]:
        """All due instants t with after < t <= upto, in order."""
        found: list[int] = []
        following = self.next_after(after)
        while following is not None and following <= upto:
            found.append(following)
            following = self.next_after(following)
        return found

    def last_between(self, after: int, upto: int) -> int | None:
        """The last due instant t with after < t <= upto; None if there is none.

        It looks back in windows that grow, and lists a few hundred instants at most, however many there are. Remembered
        instants stay: another caller asks for the next ones.
        """
        end, length_ms = upto, HOUR_MS
        while after < end:
            begin = max(after, end - length_ms)
            if self._few_between(begin, end):
                return self._last_of(begin, end)
            end, length_ms = begin, length_ms * WIDER
        return None

    def _last_of(self, begin: int, end: int) -> int:
        """The last one in a window that is known to have one: the window is halved until few are left in it."""
        while True:
            few = self._few_between(begin, end)
            if len(few) < MOST_AHEAD:
                return few[-1]
            # not the last one's own instant: it must stay in the window
            begin = few[-1] - 1
            middle = (begin + end + 1) // 2
            if self._few_between(middle, end, most=1):
                begin = middle
            else:
                end = middle

    def _few_between(self, after: int, upto: int, most: int = MOST_AHEAD) -> list[int]:
        return list(islice(takewhile(lambda t: t <= upto, self._due_after(after)), most))

    def _look_ahead(self, after: int) -> tuple[int, float, list[int]]:
        due: list[int] = []
        for instant in self._due_after(after):
            due.append(instant)
            if len(due) == MOST_AHEAD or instant > after + DAY_MS:
                return after, instant, due
        return after, math.inf, due

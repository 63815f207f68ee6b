"""Monitors that wait for an instant of their own: to begin, or to end."""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterable, Iterator

from everwatch.schedule.duration import SECOND_MS
from everwatch.timetable.timetable_entry import TimetableEntry


class Pending:
    """Monitors by the second of their instant; seconds that are still to come are not looked at."""

    __slots__ = ("_instant_of", "count", "order", "seconds")

    def __init__(self, instant_of: Callable[[TimetableEntry], int]) -> None:
        self._instant_of = instant_of
        # bucket n has those of n seconds < t <= n + 1 seconds
        self.seconds: dict[int, dict[bytes, TimetableEntry]] = {}
        self.order: list[int] = []
        self.count = 0

    def __contains__(self, entry: TimetableEntry) -> bool:
        return entry.key in self.seconds.get(_second(self._instant_of(entry)), ())

    def add(self, entry: TimetableEntry) -> None:
        """Let a monitor wait; once, if it does already."""
        number = _second(self._instant_of(entry))
        bucket = self.seconds.get(number)
        if bucket is None:
            bucket = self.seconds[number] = {}
            insort(self.order, number)
        self.count += entry.key not in bucket
        bucket[entry.key] = entry

    def discard(self, entry: TimetableEntry) -> bool:
        """Take a monitor out; False if it was not there."""
        number = _second(self._instant_of(entry))
        bucket = self.seconds.get(number)
        if bucket is None or bucket.pop(entry.key, None) is None:
            return False
        self.count -= 1
        if not bucket:
            del self.seconds[number]
            del self.order[bisect_left(self.order, number)]
        return True

    def upto(self, instant: int) -> Iterable[TimetableEntry]:
        """Return the monitors whose instant has come by then."""
        last = _second(instant)
        return self._upto(instant, last) if self.order and self.order[0] <= last else ()

    def take(self, instant: int) -> list[TimetableEntry]:
        """The same; they do not wait any more."""
        taken = list(self.upto(instant))
        for entry in taken:
            self.discard(entry)
        return taken

    def _upto(self, instant: int, last: int) -> Iterator[TimetableEntry]:
        for number in self.order[: bisect_right(self.order, last)]:
            for entry in self.seconds[number].values():
                if number < last or self._instant_of(entry) <= instant:
                    yield entry


def _second(instant: int) -> int:
    return (instant - 1) // SECOND_MS

"""One turn of one interval, divided into slots: who stands in a slot is due each time the hand passes it."""

from collections.abc import Iterator

from everwatch.schedule.duration import HOUR_MS, MINUTE_MS, SECOND_MS
from everwatch.schedule.every import PHASE_STEP_MS
from everwatch.timetable.chunk import Shelf

FINE_UP_TO_MS = 10 * MINUTE_MS


def width_of(interval_ms: int) -> int:
    """How much of an interval one slot covers, ms.

    Slots of a step each can be sent as they are, and there are many of them: short intervals have those. Slots of long
    intervals are wide, so that enough monitors share one to be packed well; they are spread out shortly before.
    """
    if interval_ms <= FINE_UP_TO_MS:
        return PHASE_STEP_MS
    return 10 * SECOND_MS if interval_ms <= HOUR_MS else MINUTE_MS


class Ring:
    """Slots by number, only those in use. Firing reads a slot and changes nothing: nothing is ever put in again."""

    __slots__ = ("interval_ms", "size", "slots", "width_ms")

    def __init__(self, interval_ms: int) -> None:
        self.interval_ms = interval_ms
        self.width_ms = width_of(interval_ms)
        self.size = -(-interval_ms // self.width_ms)
        self.slots: dict[int, Shelf] = {}

    @property
    def is_fine(self) -> bool:
        """Whether all who share a slot are due at the same instant."""
        return self.width_ms == PHASE_STEP_MS

    def shelf(self, slot: int) -> Shelf:
        """The shelf of a slot, made if there is none."""
        found = self.slots.get(slot)
        if found is None:
            found = self.slots[slot] = Shelf()
        return found

    def passed(self, after: int, upto: int) -> Iterator[tuple[int, Shelf]]:
        """The slots that hold somebody who may be due in after < t <= upto: where each starts in its turn, ms."""
        width = self.width_ms
        if upto - after >= self.interval_ms - width:
            for slot, shelf in list(self.slots.items()):
                yield slot * width, shelf
            return
        first = (after + 1) % self.interval_ms // width
        last = upto % self.interval_ms // width
        slots = range(first, last + 1) if first <= last else [*range(first, self.size), *range(last + 1)]
        for slot in slots:
            if slot in self.slots:
                yield slot * width, self.slots[slot]

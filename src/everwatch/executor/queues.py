"""Which of the waiting ticks starts next: priority with fairness (pure).

Two rules. The less urgent may not hold all slots, so that a slot for what is urgent is free or soon free however long
the others run. And when a slot is free, those that wait take turns by weight, so that nobody starves: smooth weighted
round robin, as nginx chooses its upstream servers.
"""

from collections import deque
from typing import Generic, TypeVar

from everwatch.model import Priority

MOST_URGENT_FIRST = (Priority.HIGH, Priority.NORMAL, Priority.LOW)
WEIGHTS = {Priority.HIGH: 8, Priority.NORMAL: 4, Priority.LOW: 1}
"""Of thirteen starts with all three waiting: so many each."""

Item = TypeVar("Item")


def limits_of(slots: int) -> dict[Priority, int]:
    """How many of ``slots`` (at least 1) a priority and all less urgent ones may hold together.

    Low 80 %, low and normal 90 %, and one slot less than the next more urgent one as long as that leaves any.
    """
    normal = max(1, min(slots * 9 // 10, slots - 1))
    low = max(1, min(slots * 8 // 10, normal - 1))
    return {Priority.HIGH: slots, Priority.NORMAL: normal, Priority.LOW: low}


class Shares:
    """Whose turn it is among priorities that share something by weight: smooth weighted round robin."""

    def __init__(self) -> None:
        self._credit = dict.fromkeys(MOST_URGENT_FIRST, 0)

    def next_of(self, ready: list[Priority]) -> Priority:
        """Who of ``ready`` (the most urgent first, at least one) is next."""
        # of equals the first, who is the most urgent
        return max(ready, key=lambda priority: self._credit[priority] + WEIGHTS[priority])

    def spend(self, chosen: Priority, ready: list[Priority]) -> None:
        """Note that ``chosen``, one of ``ready``, had its turn."""
        for priority in ready:
            self._credit[priority] += WEIGHTS[priority]
        self._credit[chosen] -= sum(WEIGHTS[priority] for priority in ready)


class Queues(Generic[Item]):
    """What waits, first in first out within a priority, and how many slots are held. Constant time for each item."""

    def __init__(self, slots: int) -> None:
        self._limits = limits_of(slots)
        self._ahead: dict[Priority, deque[Item]] = {priority: deque() for priority in MOST_URGENT_FIRST}
        self._waiting: dict[Priority, deque[Item]] = {priority: deque() for priority in MOST_URGENT_FIRST}
        self._held = dict.fromkeys(MOST_URGENT_FIRST, 0)
        self._shares = Shares()

    def put(self, priority: Priority, item: Item) -> None:
        """Let ``item`` wait for its turn."""
        self._waiting[priority].append(item)

    def put_ahead(self, priority: Priority, item: Item) -> None:
        """Let ``item`` wait before all of its priority that was ``put``, behind what was put ahead before it."""
        self._ahead[priority].append(item)

    def take(self) -> tuple[Priority, Item] | None:
        """Who is next, and holds a slot from now on; None while nobody waits who may have one."""
        ready = self._ready()
        if not ready:
            return None
        chosen = self._shares.next_of(ready)
        self._shares.spend(chosen, ready)
        self._held[chosen] += 1
        return chosen, (self._ahead[chosen] or self._waiting[chosen]).popleft()

    def release(self, priority: Priority) -> None:
        """A slot that was taken for ``priority`` is free again."""
        self._held[priority] -= 1

    def clear(self) -> None:
        """Forget all that waits; slots stay held."""
        for queue in (*self._ahead.values(), *self._waiting.values()):
            queue.clear()

    def _ready(self) -> list[Priority]:
        """Who waits and may have a slot: it counts towards the limit of its own priority and of each above it."""
        ready = []
        together = sum(self._held.values())
        for priority in MOST_URGENT_FIRST:
            if together >= self._limits[priority]:
                break
            if self._ahead[priority] or self._waiting[priority]:
                ready.append(priority)
            together -= self._held[priority]
        return ready

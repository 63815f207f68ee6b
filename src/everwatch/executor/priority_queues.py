"""Priority queues with fairness: the choice of the tick that starts next (pure).

Three rules. The less urgent may not hold all slots, so that a slot for what is urgent is free or soon free however
long the others run. When a slot is free, the priorities that wait take turns by weight, so that none starves: smooth
weighted round robin, as nginx chooses its upstream servers. Within a priority users share by ``FairQueue``, and the
last tenth of its slots is for users who hold none and whose checks are quick: slow checks that all began at once, and
end at once, do not hold every slot meanwhile.
"""

from collections.abc import Hashable
from typing import Generic, NamedTuple, TypeVar

from everwatch.executor.fair_queue import FairQueue, Grant
from everwatch.model import Priority

MOST_URGENT_FIRST = (Priority.HIGH, Priority.NORMAL, Priority.LOW)
WEIGHTS = {Priority.HIGH: 8, Priority.NORMAL: 4, Priority.LOW: 1}
"""Starts of each priority out of thirteen while all three wait."""

Item = TypeVar("Item")


def limits_of(slots: int) -> dict[Priority, int]:
    """Return the number of ``slots`` (at least 1) that a priority and all less urgent ones may hold together.

    Low 80 %, low and normal 90 %, and one slot less than the next more urgent one as long as that leaves any.
    """
    normal = max(1, min(slots * 9 // 10, slots - 1))
    low = max(1, min(slots * 8 // 10, normal - 1))
    return {Priority.HIGH: slots, Priority.NORMAL: normal, Priority.LOW: low}


class Shares:
    """Smooth weighted round robin among priorities."""

    def __init__(self) -> None:
        self._credit = dict.fromkeys(MOST_URGENT_FIRST, 0)

    def next_of(self, ready: list[Priority]) -> Priority:
        """Choose the next of ``ready`` (the most urgent first, at least one)."""
        # of equals the first, which is the most urgent
        return max(ready, key=lambda priority: self._credit[priority] + WEIGHTS[priority])

    def spend(self, chosen: Priority, ready: list[Priority]) -> None:
        """Note that ``chosen``, one of ``ready``, had its turn."""
        for priority in ready:
            self._credit[priority] += WEIGHTS[priority]
        self._credit[chosen] -= sum(WEIGHTS[priority] for priority in ready)


class Slot(NamedTuple, Generic[Item]):
    """A slot that ``item`` holds, until ``Queues.release``."""

    priority: Priority
    item: Item
    grant: Grant[Item]


class Queues(Generic[Item]):
    """Waiting items and held slots. The cost of an item is the logarithm of the number of waiting users."""

    def __init__(self, slots: int) -> None:
        self._limits = limits_of(slots)
        self._open_to_all = {priority: limit - limit // 10 for priority, limit in self._limits.items()}
        self._waiting: dict[Priority, FairQueue[Item]] = {priority: FairQueue() for priority in MOST_URGENT_FIRST}
        self._held = dict.fromkeys(MOST_URGENT_FIRST, 0)
        self._held_together = 0
        self._shares = Shares()

    def put(self, priority: Priority, user: Hashable, item: Item, weight: int = 1, *, ahead: bool = False) -> None:
        """Let ``item`` of ``user`` wait for its turn; ``ahead`` of what else that user has waiting."""
        self._waiting[priority].put(user, item, weight, ahead=ahead)

    def take(self) -> Slot[Item] | None:
        """Grant a slot to the next item; None while nothing waits that may have one."""
        ready = self._ready()
        if not ready:
            return None
        priorities = list(ready)
        chosen = priorities[0]
        if len(priorities) > 1:  # a turn of what waits alone changes no credit
            chosen = self._shares.next_of(priorities)
            self._shares.spend(chosen, priorities)
        self._held[chosen] += 1
        self._held_together += 1
        grant = self._waiting[chosen].take(quick_only=ready[chosen])
        return Slot(chosen, grant.item, grant)

    def release(self, slot: Slot[Item], held_s: float | None = None) -> None:
        """Note that a slot is free again after a run of ``held_s`` seconds; None if no run began."""
        self._held[slot.priority] -= 1
        self._held_together -= 1
        self._waiting[slot.priority].release(slot.grant, held_s)

    def clear(self) -> None:
        """Forget all that waits; slots stay held."""
        for queue in self._waiting.values():
            queue.clear()

    def _ready(self) -> dict[Priority, bool]:
        """Return the priorities with an item that may have a slot, and whether only those of quick users may.

        A slot counts towards the limit of its own priority and of each above it.
        """
        ready: dict[Priority, bool] = {}
        together = self._held_together
        for priority in MOST_URGENT_FIRST:
            if together >= self._limits[priority]:
                break
            queue = self._waiting[priority]
            if queue.waiting:
                quick_only = together >= self._open_to_all[priority]
                if queue.is_ready(quick_only=quick_only):
                    ready[priority] = quick_only
            together -= self._held[priority]
        return ready

"""Fair queue of users who share slots: start-time fair queuing by used slot time (pure).

Each user has a start tag, the slot seconds that it has used divided by its weight; the user with the smallest tag is
next (Goyal, Vin, Cheng: Start-time Fair Queuing, 1996). How long a run holds its slot is known when it ends: until then
the length of the user's last run is charged. So users whose checks take 10 ms do not wait behind users whose checks
take 10 s, however many those are.

Cost: the logarithm of the number of waiting users per item. Memory: what waits, users who hold slots, and up to
``MOST_IN_DEBT`` users who have used more than their share recently.
"""

import heapq
from collections.abc import Hashable
from dataclasses import dataclass
from itertools import count
from typing import Generic, NamedTuple, TypeVar

Item = TypeVar("Item")

FIRST_COST_S = 0.1
"""Charged for a run of a user without a known run, until it ends."""
QUICK_S = 1.0
"""A user who holds no slot, and whose last run took no longer, is taken for quick."""
FREE_DEBT_S = 1.0
"""A user who neither waits nor runs is forgotten when it is no further ahead of the others than that, s."""
MOST_IN_DEBT = 10_000


@dataclass(slots=True, eq=False)
class QueueUser(Generic[Item]):
    """One user: what waits, how many slots it holds, and its start tag. ``entry``: its valid heap entry, 0 for none.

    ``items`` is a list, because most users have one: a deque takes 600 bytes, and a list of thousands is shifted in
    microseconds.
    """

    name: Hashable
    tag: float
    items: list[Item]
    ahead: int = 0
    weight: int = 1
    cost_s: float = FIRST_COST_S
    held: int = 0
    entry: int = 0


class Grant(NamedTuple, Generic[Item]):
    """A slot for an item of a user, and the slot time that is charged for it until it ends, s."""

    item: Item
    user: QueueUser[Item]
    charged_s: float


_Entry = tuple[float, int, QueueUser[Item]]


class FairQueue(Generic[Item]):
    """Items that wait, by user; within a user first in first out."""

    def __init__(self, most_in_debt: int = MOST_IN_DEBT) -> None:
        self._most_in_debt = most_in_debt
        self._users: dict[Hashable, QueueUser[Item]] = {}
        self._in_debt: dict[Hashable, QueueUser[Item]] = {}
        # users who hold no slot and whose last run was quick, and others
        self._quick: list[_Entry[Item]] = []
        self._others: list[_Entry[Item]] = []
        self._numbers = count(1)
        self._virtual_s = 0.0
        self.waiting = 0
        """How many users wait."""

    @property
    def users(self) -> int:
        """Return the number of known users: they wait, hold slots or are in debt."""
        return len(self._users)

    @property
    def entries(self) -> int:
        """Return the number of entries of its heaps, void ones included."""
        return len(self._quick) + len(self._others)

    def put(self, name: Hashable, item: Item, weight: int = 1, *, ahead: bool = False) -> None:
        """Let ``item`` wait; ``ahead`` of what else the user has waiting."""
        user = self._users.get(name)
        if user is None:
            user = self._users[name] = QueueUser(name, self._virtual_s, [])
        elif self._in_debt:
            self._in_debt.pop(name, None)
        user.weight = weight
        if ahead:
            user.items.insert(user.ahead, item)
            user.ahead += 1
        else:
            user.items.append(item)
        if not user.entry:
            # an absence earns nothing
            user.tag = max(user.tag, self._virtual_s)
            self.waiting += 1
            self._enter(user)

    def is_ready(self, *, quick_only: bool = False) -> bool:
        """Tell whether anything waits; with ``quick_only``, of users who hold no slot and are quick."""
        return bool(self._head(self._quick) or (not quick_only and self._head(self._others)))

    def take(self, *, quick_only: bool = False) -> Grant[Item]:
        """Grant a slot to the next user; something has to be ready, see ``is_ready``. ``release`` has to follow."""
        entry = self._head(self._quick)
        if not quick_only:
            other = self._head(self._others)
            if entry is None or (other is not None and other[:2] < entry[:2]):
                entry = other
        assert entry is not None
        user = entry[2]
        self._virtual_s = max(self._virtual_s, user.tag)
        user.held += 1
        charged_s = user.cost_s
        user.tag += charged_s / user.weight
        item = user.items.pop(0)
        if user.ahead:
            user.ahead -= 1
        if user.items:
            self._enter(user)
        else:
            user.entry = 0
            self.waiting -= 1
        return Grant(item, user, charged_s)

    def release(self, grant: Grant[Item], held_s: float | None) -> None:
        """Note that a granted slot is free again after a run of ``held_s`` seconds; None if no run began.

        Without a run the charge is returned, and the length of the user's last run stays known.
        """
        user = grant.user
        user.held -= 1
        user.tag += ((held_s or 0.0) - grant.charged_s) / user.weight
        if held_s is not None:
            user.cost_s = held_s
        if user.entry:
            self._enter(user)
        elif not user.held:
            self._rest(user)

    def clear(self) -> None:
        """Forget all that waits; slots stay held."""
        self._quick.clear()
        self._others.clear()
        for user in self._users.values():
            user.items.clear()
            user.ahead = 0
            user.entry = 0
        self._users = {name: user for name, user in self._users.items() if user.held}
        self._in_debt.clear()
        self.waiting = 0

    def _enter(self, user: QueueUser[Item]) -> None:
        """Give a user its place by its tag; the place it had is void."""
        user.entry = next(self._numbers)
        heap = self._quick if not user.held and user.cost_s <= QUICK_S else self._others
        heapq.heappush(heap, (user.tag, user.entry, user))
        if len(heap) > 4 * len(self._users) + 64:
            heap[:] = [entry for entry in heap if entry[1] == entry[2].entry]
            heapq.heapify(heap)

    def _head(self, heap: list[_Entry[Item]]) -> _Entry[Item] | None:
        while heap and heap[0][1] != heap[0][2].entry:
            heapq.heappop(heap)
        return heap[0] if heap else None

    def _rest(self, user: QueueUser[Item]) -> None:
        if user.tag - self._virtual_s <= FREE_DEBT_S:
            del self._users[user.name]
            return
        self._in_debt[user.name] = user
        if len(self._in_debt) > self._most_in_debt:
            longest = next(iter(self._in_debt))
            del self._in_debt[longest], self._users[longest]

"""The fair queue beside a naive model that looks at all users each time, and what sharing by it comes to."""

import heapq
from collections import Counter
from itertools import count

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from everwatch.executor.fair_queue import FIRST_COST_S, FREE_DEBT_S, QUICK_S, FairQueue, Grant
from everwatch.executor.priority_queues import Queues, Slot
from everwatch.model import Priority

USERS = ("a", "b", "c", "d")


class Naive:
    """Of each user its tag, what waits and what is held; the next one is found by looking at all."""

    def __init__(self) -> None:
        self.now = 0.0
        self.numbers = count(1)
        self.tags: dict[str, float] = {}
        self.costs: dict[str, float] = {}
        self.entered: dict[str, int] = {}
        self.weights: dict[str, int] = {}
        self.waiting: dict[str, list[int]] = {user: [] for user in USERS}
        self.held: Counter[str] = Counter()

    def put(self, user: str, item: int, weight: int) -> None:
        self.weights[user] = weight
        self.tags.setdefault(user, self.now)
        if not self.waiting[user]:
            self.tags[user] = max(self.tags[user], self.now)
            self.entered[user] = next(self.numbers)
        self.waiting[user].append(item)

    def is_quick(self, user: str) -> bool:
        return not self.held[user] and self.costs.get(user, FIRST_COST_S) <= QUICK_S

    def next_of(self, quick_only: bool) -> str | None:
        ready = [user for user in USERS if self.waiting[user] and not (quick_only and not self.is_quick(user))]
        return min(ready, key=lambda user: (self.tags[user], self.entered[user]), default=None)

    def take(self, user: str) -> tuple[int, float]:
        self.now = max(self.now, self.tags[user])
        charged = self.costs.get(user, FIRST_COST_S)
        self.tags[user] += charged / self.weights[user]
        self.held[user] += 1
        item = self.waiting[user].pop(0)
        self.entered[user] = next(self.numbers) if self.waiting[user] else 0
        return item, charged

    def release(self, user: str, charged: float, held_s: float | None) -> None:
        self.held[user] -= 1
        self.tags[user] += ((held_s or 0.0) - charged) / self.weights[user]
        if held_s is not None:
            self.costs[user] = held_s
        if self.waiting[user]:
            self.entered[user] = next(self.numbers)
        elif not self.held[user] and self.tags[user] - self.now <= FREE_DEBT_S:
            del self.tags[user]
            self.costs.pop(user, None)


class FairMachine(RuleBasedStateMachine):
    """Puts, takes and releases in any order, beside the model."""

    def __init__(self) -> None:
        super().__init__()
        self.queue: FairQueue[int] = FairQueue()
        self.model = Naive()
        self.grants: list[tuple[str, float, Grant[int]]] = []
        self.number = 0

    @rule(user=st.sampled_from(USERS), times=st.integers(1, 5), weight=st.sampled_from([1, 1, 4]))
    def put(self, user: str, times: int, weight: int) -> None:
        for _ in range(times):
            self.number += 1
            self.queue.put(user, self.number, weight)
            self.model.put(user, self.number, weight)

    @rule(quick_only=st.booleans())
    def take(self, quick_only: bool) -> None:
        user = self.model.next_of(quick_only)
        assert self.queue.is_ready(quick_only=quick_only) is (user is not None)
        if user is not None:
            grant = self.queue.take(quick_only=quick_only)
            item, charged = self.model.take(user)
            assert (grant.user.name, grant.item, grant.charged_s) == (user, item, charged)
            self.grants.append((user, charged, grant))

    @precondition(lambda self: self.grants)
    @rule(data=st.data(), held_s=st.sampled_from([None, 0.0, 0.01, 0.5, 10.0]))
    def release(self, data: st.DataObject, held_s: float | None) -> None:
        user, charged, grant = self.grants.pop(data.draw(st.integers(0, len(self.grants) - 1)))
        self.queue.release(grant, held_s)
        self.model.release(user, charged, held_s)

    @invariant()
    def only_users_who_wait_hold_slots_or_are_in_debt_are_known(self) -> None:
        assert self.queue.users == len(self.model.tags)


TestFairQueue = FairMachine.TestCase
TestFairQueue.settings = settings(max_examples=300, stateful_step_count=60, deadline=None)


def shared(slots: int, users: dict[str, tuple[float, float, int]], until_s: float) -> dict[str, list[float]]:
    """Return the waits of each user's ticks for one of ``slots``; users by name: interval, length of a run, weight."""
    queues: Queues[tuple[str, float]] = Queues(slots)
    events: list[tuple[float, int, str, Slot[tuple[str, float]] | None, float]] = []
    numbers = count()
    for place, (name, (interval_s, _, _)) in enumerate(users.items()):
        heapq.heappush(events, (interval_s * place / len(users), next(numbers), name, None, 0.0))
    waits: dict[str, list[float]] = {name: [] for name in users}
    while events:
        now_s, _, name, ended, began_s = heapq.heappop(events)
        if now_s > until_s:
            break
        if ended is None:
            queues.put(Priority.HIGH, name, (name, now_s), users[name][2])
            heapq.heappush(events, (now_s + users[name][0], next(numbers), name, None, 0.0))
        else:
            queues.release(ended, now_s - began_s)
        while (slot := queues.take()) is not None:
            user, due_s = slot.item
            waits[user].append(now_s - due_s)
            heapq.heappush(events, (now_s + users[user][1], next(numbers), user, slot, now_s))
    return waits


def test_users_with_quick_checks_do_not_wait_behind_many_with_slow_ones() -> None:
    """There are more slow users than slots, and they want four times what there is."""
    slow = {f"slow {number}": (3.0, 10.0, 1) for number in range(120)}
    healthy = {f"healthy {number}": (10.0, 0.01, 1) for number in range(500)}
    waits = shared(100, healthy | slow, 300.0)
    # once the lengths of their checks are known: after a run of each
    late = sorted(wait for name in healthy for wait in waits[name][3:])
    assert late[len(late) * 99 // 100] < 1.0
    assert late[-1] < 3.0
    assert min(len(waits[name]) for name in healthy) >= 29
    # what the healthy leave is shared evenly by the others
    counts = [len(waits[name]) for name in slow]
    assert max(counts) - min(counts) <= 3


def test_slot_time_is_shared_by_weight() -> None:
    waits = shared(4, {"gold": (0.1, 1.0, 3), "plain": (0.1, 1.0, 1)}, 400.0)
    assert len(waits["gold"]) / len(waits["plain"]) == pytest.approx(3, rel=0.1)


def test_a_slot_in_which_no_run_began_makes_no_slow_user_quick() -> None:
    queue: FairQueue[str] = FairQueue()
    queue.put("slow", "a run")
    queue.put("slow", "one that has to wait for its host")
    queue.put("slow", "the next run")
    queue.release(queue.take(), 10.0)
    queue.release(queue.take(), None)
    assert not queue.is_ready(quick_only=True)
    assert queue.take().charged_s == 10.0


def test_memory_is_bounded_by_who_waits_runs_or_is_in_debt() -> None:
    queue: FairQueue[int] = FairQueue(most_in_debt=50)
    for number in range(1_000):
        queue.put(f"user {number}", number)
        queue.release(queue.take(), 60.0)
    assert queue.users <= 51
    queue = FairQueue()
    for number in range(5_000):  # heaps keep no more void entries than there is reason for
        queue.put("a", number)
        queue.put("b", number)
        queue.release(queue.take(), 10.0)
        queue.release(queue.take(), 0.0)
    assert queue.entries < 500

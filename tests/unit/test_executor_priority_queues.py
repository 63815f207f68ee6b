"""Priority with fairness, against what it promises: limits, turns, order."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from everwatch.executor.priority_queues import MOST_URGENT_FIRST, WEIGHTS, Queues, Slot, limits_of
from everwatch.model import Priority

HIGH, NORMAL, LOW = MOST_URGENT_FIRST
MOST_OVERTAKEN = {HIGH: 2, NORMAL: 4, LOW: 16}
"""So many others at most start before one that waits at the head of its queue and may have a slot."""


def taken(queues: Queues[str]) -> tuple[Priority, str] | None:
    slot = queues.take()
    return None if slot is None else (slot.priority, slot.item)


@pytest.mark.parametrize(
    ("slots", "normal", "low"),
    [(1, 1, 1), (2, 1, 1), (3, 2, 1), (4, 3, 2), (5, 4, 3), (10, 9, 8), (11, 9, 8), (100, 90, 80), (500, 450, 400)],
)
def test_the_less_urgent_may_hold_so_many_slots(slots: int, normal: int, low: int) -> None:
    assert limits_of(slots) == {HIGH: slots, NORMAL: normal, LOW: low}


@given(st.integers(3, 100_000))
def test_a_slot_at_least_is_kept_for_each_more_urgent_priority(slots: int) -> None:
    limits = limits_of(slots)
    assert 1 <= limits[LOW] < limits[NORMAL] < limits[HIGH] == slots
    assert limits[LOW] <= 0.8 * slots
    assert limits[NORMAL] <= 0.9 * slots


@pytest.mark.parametrize("priority", MOST_URGENT_FIRST)
@pytest.mark.parametrize("slots", [1, 2, 3])
def test_every_priority_gets_through_the_narrowest_executor(slots: int, priority: Priority) -> None:
    queues: Queues[str] = Queues(slots)
    queues.put(priority, "u", "only")
    assert taken(queues) == (priority, "only")


def test_with_all_waiting_turns_are_taken_by_weight_and_spread_out() -> None:
    queues: Queues[int] = Queues(100)
    for number in range(1_300):
        for priority in MOST_URGENT_FIRST:
            queues.put(priority, "u", number)
    order = []
    for _ in range(1_300):
        slot = queues.take() or pytest.fail("nothing is ready")
        order.append(slot.priority)
        queues.release(slot)
    for begin in range(0, 1_300, 13):
        assert Counter(order[begin : begin + 13]) == WEIGHTS
    assert "".join(priority[0] for priority in order[:13]) == "hnhhnhlhnhhnh"


def test_a_backlog_of_low_ticks_leaves_slots_that_high_and_normal_ones_get_at_once() -> None:
    queues: Queues[str] = Queues(10)
    for number in range(100):
        queues.put(LOW, "u", f"low {number}")
    for _ in range(8):
        assert queues.take()
    assert queues.take() is None
    queues.put(NORMAL, "u", "normal 1")
    queues.put(NORMAL, "u", "normal 2")
    assert taken(queues) == (NORMAL, "normal 1")
    assert queues.take() is None
    queues.put(HIGH, "u", "high")
    assert taken(queues) == (HIGH, "high")
    assert queues.take() is None


def test_what_is_put_ahead_comes_before_what_waits_and_in_its_own_order() -> None:
    queues: Queues[str] = Queues(10)
    for item in ("a", "b"):
        queues.put(Priority.NORMAL, "u", item)
        queues.put(Priority.NORMAL, "u", f"ahead {item}", ahead=True)
    assert [taken(queues) for _ in range(4)] == [(Priority.NORMAL, item) for item in ("ahead a", "ahead b", "a", "b")]


def test_what_is_cleared_is_forgotten_and_slots_stay_held() -> None:
    queues: Queues[str] = Queues(1)
    queues.put(HIGH, "u", "runs")
    queues.put(HIGH, "u", "waits")
    held = queues.take()
    assert held is not None
    queues.clear()
    queues.put(HIGH, "u", "new")
    assert queues.take() is None
    queues.release(held)
    assert taken(queues) == (HIGH, "new")


def test_the_last_tenth_of_the_slots_is_for_quick_users_who_hold_none() -> None:
    queues: Queues[str] = Queues(100)
    for number in range(200):
        queues.put(HIGH, "greedy", f"greedy {number}")
    held = [queues.take() for _ in range(90)]
    assert all(held)
    assert queues.take() is None
    for number in range(10):
        queues.put(HIGH, f"other {number}", f"other {number}")
    assert [taken(queues) for _ in range(10)] == [(HIGH, f"other {number}") for number in range(10)]
    assert queues.take() is None


class QueuesMachine(RuleBasedStateMachine):
    """Puts, takes and releases in any order, beside plain lists."""

    def __init__(self) -> None:
        super().__init__()
        self.slots = 1
        self.queues: Queues[int] = Queues(1)
        self.waiting: dict[Priority, list[int]] = {priority: [] for priority in MOST_URGENT_FIRST}
        self.held: list[Slot[int]] = []
        self.overtaken: Counter[Priority] = Counter()
        self.number = 0

    @initialize(slots=st.integers(1, 12))
    def have_slots(self, slots: int) -> None:
        self.slots = slots
        self.queues = Queues(slots)

    @rule(priority=st.sampled_from(MOST_URGENT_FIRST), count=st.integers(1, 10))
    def put(self, priority: Priority, count: int) -> None:
        for _ in range(count):
            self.number += 1
            # users of their own come in the order of their arrival
            self.queues.put(priority, self.number, self.number)
            self.waiting[priority].append(self.number)

    @rule()
    def take(self) -> None:
        ready = [priority for priority in MOST_URGENT_FIRST if self.waiting[priority] and self.has_room(priority)]
        taken = self.queues.take()
        if not ready:
            assert taken is None
            return
        assert taken is not None
        chosen = taken.priority
        assert chosen in ready
        assert taken.item == self.waiting[chosen].pop(0)
        self.held.append(taken)
        for priority in ready:
            self.overtaken[priority] += 1
        for priority in set(MOST_URGENT_FIRST) - set(ready) | {chosen}:
            self.overtaken[priority] = 0

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        index = data.draw(st.integers(0, len(self.held) - 1))
        self.queues.release(self.held.pop(index))

    @invariant()
    def nobody_is_overtaken_more_often_than_promised(self) -> None:
        for priority, most in MOST_OVERTAKEN.items():
            assert self.overtaken[priority] <= most

    @invariant()
    def no_priority_holds_more_than_its_limit_with_those_below_it(self) -> None:
        limits = limits_of(self.slots)
        assert all(self.held_below(priority) <= limits[priority] for priority in MOST_URGENT_FIRST)

    def held_below(self, priority: Priority) -> int:
        """Slots held by a priority and all less urgent ones."""
        below = MOST_URGENT_FIRST[MOST_URGENT_FIRST.index(priority) :]
        return sum(slot.priority in below for slot in self.held)

    def has_room(self, priority: Priority) -> bool:
        """Tell whether one more would break none of the limits."""
        limits = limits_of(self.slots)
        above = MOST_URGENT_FIRST[: MOST_URGENT_FIRST.index(priority) + 1]
        return all(self.held_below(each) < limits[each] for each in above)


TestQueues = QueuesMachine.TestCase
TestQueues.settings = settings(max_examples=200, stateful_step_count=60, deadline=None)


@given(st.lists(st.sets(st.sampled_from(MOST_URGENT_FIRST), min_size=1), max_size=200))
def test_whoever_goes_on_waiting_gets_a_turn_whoever_else_comes_and_goes(rounds: list[set[Priority]]) -> None:
    queues: Queues[None] = Queues(100)
    overtaken: Counter[Priority] = Counter()
    for ready in rounds:
        queues.clear()
        for priority in ready:
            queues.put(priority, "u", None)
        slot = queues.take() or pytest.fail("nothing is ready")
        queues.release(slot)
        overtaken = Counter({each: overtaken[each] + 1 for each in ready if each is not slot.priority})
        assert all(overtaken[each] <= MOST_OVERTAKEN[each] for each in ready)

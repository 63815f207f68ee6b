"""The manners towards one host, step by step."""

import pytest

from everwatch.executor.host_rate_limiter import HostRateLimiter
from everwatch.model import Priority

HOST = "a.example"


class Door:
    """Manners, and what waits behind them; turns are taken as they come."""

    def __init__(self, in_flight: int, per_s: int, own_limit: int = 0) -> None:
        self.turns: list[Priority] = []
        self.manners: HostRateLimiter[str] = HostRateLimiter(
            in_flight,
            per_s,
            lambda priority, *_: self.turns.append(priority),
            (lambda _: own_limit) if own_limit else None,
        )
        self.began: list[str] = []

    def come(self, *items: str, priority: Priority = Priority.NORMAL, now_s: float = 0.0) -> None:
        for item in items:
            if self.manners.admits(HOST, now_s):
                self.manners.start(HOST, now_s)
                self.began.append(item)
            else:
                self.manners.park(HOST, priority, item, now_s)

    def let_in(self, now_s: float = 0.0) -> None:
        while self.turns:
            item = self.manners.take(HOST, self.turns.pop(0), now_s)
            if item is not None:
                self.manners.start(HOST, now_s)
                self.began.append(item)

    def end(self, now_s: float = 0.0) -> None:
        self.manners.end(HOST, now_s)
        self.let_in(now_s)


def test_so_many_run_at_once_and_each_end_lets_the_next_one_in() -> None:
    door = Door(in_flight=2, per_s=0)
    door.come("1", "2", "3", "4")
    assert (door.began, door.turns, door.manners.wakes_at_s) == (["1", "2"], [], None)
    door.end()
    assert door.began == ["1", "2", "3"]
    door.end()
    assert door.began == ["1", "2", "3", "4"]


def test_starts_are_spaced_after_a_first_burst() -> None:
    door = Door(in_flight=0, per_s=20)  # two at once, then one each 50 ms
    door.come("1", "2", "3", "4", "5")
    assert door.began == ["1", "2"]
    began_at = []
    while door.manners.wakes_at_s is not None:
        now_s = door.manners.wakes_at_s
        door.manners.wake(now_s)
        door.let_in(now_s)
        began_at.append(round(now_s, 6))
    assert (door.began, began_at) == (["1", "2", "3", "4", "5"], [0.05, 0.1, 0.15])


def test_a_newcomer_does_not_overtake_those_that_wait() -> None:
    door = Door(in_flight=1, per_s=0)
    door.come("1", "2")
    door.manners.end(HOST, 0.0)  # it is the turn of 2, which waits for a slot
    door.come("3")
    door.let_in()
    door.end()
    assert door.began == ["1", "2", "3"]


def test_the_urgent_go_first_and_the_others_still_get_their_share() -> None:
    door = Door(in_flight=1, per_s=0)
    door.come("first")
    door.come(*["low"] * 20, priority=Priority.LOW)
    door.come(*["normal"] * 20)
    door.come(*["high"] * 20, priority=Priority.HIGH)
    for _ in range(13):
        door.end()
    assert door.began[1] == "high"
    assert [door.began[1:].count(item) for item in ("high", "normal", "low")] == [8, 4, 1]


def test_an_urgent_one_need_not_wait_for_the_slot_of_a_less_urgent_one() -> None:
    door = Door(in_flight=1, per_s=0)
    door.come("first", "normal")
    door.manners.end(HOST, 0.0)
    assert door.turns == [Priority.NORMAL]
    door.come("high", priority=Priority.HIGH)
    assert door.turns == [Priority.NORMAL, Priority.HIGH]


def test_hosts_that_are_left_alone_are_forgotten() -> None:
    door = Door(in_flight=2, per_s=10)
    for number in range(1_000):
        door.manners.start(f"host-{number}", number)
        door.manners.end(f"host-{number}", number)
    assert len(door.manners) <= 2


@pytest.mark.parametrize(("in_flight", "per_s", "limits"), [(0, 0, False), (1, 0, True), (0, 1, True)])
def test_0_is_no_limit(in_flight: int, per_s: int, limits: bool) -> None:
    assert Door(in_flight, per_s).manners.limits_hosts is limits


def test_nothing_is_called_after_all_that_waited_was_forgotten() -> None:
    door = Door(in_flight=1, per_s=1)
    door.come("1", "2", "3")
    door.manners.clear()
    door.manners.end(HOST, 5.0)
    assert (door.turns, door.manners.wakes_at_s) == ([], None)


def test_what_is_no_host_has_a_limit_of_its_own_and_no_rate() -> None:
    door = Door(in_flight=5, per_s=1, own_limit=2)
    door.come("1", "2", "3", "4")
    assert door.began == ["1", "2"]
    door.end()
    door.end()
    assert door.began == ["1", "2", "3", "4"]
    without_limits_of_hosts = Door(0, 0, own_limit=2)
    without_limits_of_hosts.come("1", "2", "3")
    assert without_limits_of_hosts.began == ["1", "2"]
    assert not without_limits_of_hosts.manners.limits_hosts

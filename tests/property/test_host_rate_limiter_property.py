"""Tests of how many checks a host gets, and how fast, against a list of all that ever began."""

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from everwatch.executor.host_rate_limiter import HostRateLimiter, burst_of
from everwatch.model import Priority

HOSTS = ("a.example", "b.example")


class MannersMachine(RuleBasedStateMachine):
    """Ticks come, run and end; a turn is taken at once, or after a while, as when all slots are held."""

    IN_FLIGHT, PER_S = 3, 20

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 1_000.0
        self.turns: list[tuple[Priority, str]] = []
        self.manners: HostRateLimiter[int] = HostRateLimiter(
            self.IN_FLIGHT, self.PER_S, lambda priority, host, _: self.turns.append((priority, host))
        )
        self.running = dict.fromkeys(HOSTS, 0)
        self.waiting: dict[tuple[Priority, str], list[int]] = {(p, h): [] for p in Priority for h in HOSTS}
        self.starts: dict[str, list[float]] = {host: [] for host in HOSTS}
        self.count = 0

    def start(self, host: str) -> None:
        self.manners.start(host, self.now_s)
        self.running[host] += 1
        self.starts[host].append(self.now_s)

    @rule(host=st.sampled_from(HOSTS), priority=st.sampled_from(list(Priority)), times=st.integers(1, 8))
    def arrive(self, host: str, priority: Priority, times: int) -> None:
        for _ in range(times):
            self.count += 1
            if self.manners.admits(host, self.now_s):
                self.start(host)
            else:
                self.manners.park(host, priority, self.count, self.now_s)
                self.waiting[priority, host].append(self.count)

    @precondition(lambda self: self.turns)
    @rule(data=st.data(), wanted=st.integers(0, 5))
    def take(self, data: st.DataObject, wanted: int) -> None:
        priority, host = self.turns.pop(data.draw(st.integers(0, len(self.turns) - 1)))
        item = self.manners.take(host, priority, self.now_s)
        if item is None:
            return
        assert item == self.waiting[priority, host].pop(0)
        if wanted:
            self.start(host)
        else:
            self.manners.yield_turn(host, self.now_s)

    @precondition(lambda self: any(self.running.values()))
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        host = data.draw(st.sampled_from([host for host in HOSTS if self.running[host]]))
        self.running[host] -= 1
        self.manners.end(host, self.now_s)

    @rule(passed_s=st.floats(0, 0.3))
    def time_passes(self, passed_s: float) -> None:
        self.now_s += passed_s
        self.manners.wake(self.now_s)

    @invariant()
    def never_more_at_once_than_allowed(self) -> None:
        assert all(running <= self.IN_FLIGHT for running in self.running.values())

    @invariant()
    def never_more_in_any_second_than_allowed_and_one_burst(self) -> None:
        for starts in self.starts.values():
            for index, first in enumerate(starts):
                within = sum(1 for at in starts[index:] if at < first + 1)
                assert within <= self.PER_S + burst_of(self.PER_S)

    def teardown(self) -> None:
        """Whatever happened: as checks end and time passes all that waits is run, and then nothing is remembered."""
        for _ in range(10_000):
            while self.turns:
                priority, host = self.turns.pop(0)
                item = self.manners.take(host, priority, self.now_s)
                if item is not None:
                    self.waiting[priority, host].remove(item)
                    self.start(host)
                    self.never_more_at_once_than_allowed()
            for host in HOSTS:
                if self.running[host]:
                    self.running[host] -= 1
                    self.manners.end(host, self.now_s)
            if not self.turns and not any(self.running.values()):
                if not any(self.waiting.values()):
                    break
                wakes_at_s = self.manners.wakes_at_s
                assert wakes_at_s is not None, "something waits, and nothing would ever wake it"
                self.now_s = max(self.now_s, wakes_at_s)
                self.manners.wake(self.now_s)
        assert not any(self.waiting.values())
        self.never_more_in_any_second_than_allowed_and_one_burst()
        self.now_s += 60
        self.manners.wake(self.now_s)
        self.manners.start("c.example", self.now_s)
        assert len(self.manners) == 1


MannersMachine.TestCase.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
TestManners = MannersMachine.TestCase


@given(per_s=st.integers(1, 2_000), in_flight=st.integers(0, 5))
@settings(max_examples=30, deadline=None)
def test_a_host_with_enough_to_do_gets_all_that_it_may_have(per_s: int, in_flight: int) -> None:
    """Checks that end at once, with a timer that is never late: neither too slow nor too fast."""
    turns: list[str] = []
    manners: HostRateLimiter[int] = HostRateLimiter(in_flight, per_s, lambda _, host, __: turns.append(host))
    for number in range(200):
        manners.park("a.example", Priority.NORMAL, number, 0.0)
    now_s, begun = 0.0, []
    while len(begun) < 200:
        while turns:
            item = manners.take(turns.pop(), Priority.NORMAL, now_s)
            if item is not None:
                begun.append(item)
                manners.start("a.example", now_s)
                manners.end("a.example", now_s)
        if manners.wakes_at_s is not None:
            now_s = max(now_s, manners.wakes_at_s)
            manners.wake(now_s)
    assert begun == list(range(200))
    expected_s = (200 - burst_of(per_s)) / per_s
    assert abs(now_s - max(expected_s, 0)) <= 1.01 / per_s + 1e-6

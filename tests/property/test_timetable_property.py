"""The timetable against a naive scan of all monitors, with the arithmetic written down anew."""

from collections import Counter
from collections.abc import Iterable
from hashlib import blake2b

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from everwatch.model import Every, Misfire
from everwatch.schedule.every import due_between, phase_of
from everwatch.schedule.misfire import settle
from everwatch.timetable import Planned, Timetable

START = 1_800_000_000_000
HOUR_MS = 3_600_000

# a few intervals that many monitors share, and any other
intervals = st.sampled_from([1_000, 1_100, 5_000, 60_000, HOUR_MS]) | st.integers(10, HOUR_MS // 100).map(
    lambda steps: steps * 100
)
few_keys = st.integers(0, 11).map(lambda number: f"u{number % 4}\0m{number}".encode())


def naive_due(key: bytes, interval_ms: int, after: int, upto: int) -> list[int]:
    """Due instants in (after, upto], found by looking at every step of 100 ms there is."""
    number = 0
    for byte in blake2b(key, digest_size=8).digest():
        number = number * 256 + byte
    phase = (number % (interval_ms // 100)) * 100
    first_step = after // 100 + 1
    return [step * 100 for step in range(first_step, upto // 100 + 1) if (step * 100 - phase) % interval_ms == 0]


def naive_settle(due: Iterable[int], now: int, rule: Misfire, grace_ms: int) -> tuple[list[int], list[int]]:
    """Instants to fire and to skip, as the rules are told in words."""
    fresh = [t for t in due if t >= now - grace_ms]
    late = [t for t in due if t < now - grace_ms]
    if rule is Misfire.FIRE_ALL:
        return late + fresh, []
    if rule is Misfire.FIRE_LAST and late and not fresh:
        return late[-1:], late[:-1]
    return fresh, late


class TimetableMachine(RuleBasedStateMachine):
    """Monitors come, change and go while sweeps advance."""

    def __init__(self) -> None:
        super().__init__()
        self.timetable: Timetable[int] = Timetable()
        self.monitors: dict[bytes, Planned[int]] = {}
        self.emitted_to = START
        self.put_so_far = 0

    @initialize(start=st.integers(0, HOUR_MS).map(lambda ms: START + ms))
    def start(self, start: int) -> None:
        self.emitted_to = start

    @rule(
        key=few_keys,
        interval_ms=intervals,
        ahead_ms=st.integers(-10_000, 10_000),
        misfire=st.sampled_from(Misfire),
        grace_ms=st.integers(5_000, 600_000),
    )
    def put(self, key: bytes, interval_ms: int, ahead_ms: int, misfire: Misfire, grace_ms: int) -> None:
        self.put_so_far += 1
        since = self.emitted_to + ahead_ms
        planned = Planned(key, Every(interval_ms), since, misfire, grace_ms, payload=self.put_so_far)
        self.timetable.put(planned)
        self.monitors[key] = planned

    @rule(key=few_keys, interval_ms=st.sampled_from([1_000, 1_100, 5_000]), grace_ms=st.integers(5_000, 600_000))
    def put_at_the_very_instant_of_a_tick_to_come(self, key: bytes, interval_ms: int, grace_ms: int) -> None:
        since = naive_due(key, interval_ms, self.emitted_to, self.emitted_to + interval_ms)[0]
        self.put(key, interval_ms, since - self.emitted_to, Misfire.FIRE_LAST, grace_ms)

    @precondition(lambda self: self.monitors)
    @rule(data=st.data(), interval_ms=intervals)
    def change_as_of_the_last_sweep(self, data: st.DataObject, interval_ms: int) -> None:
        key = data.draw(st.sampled_from(sorted(self.monitors)))
        old = self.monitors[key]
        self.put_so_far += 1
        changed = Planned(
            key, Every(interval_ms), self.emitted_to, old.misfire, old.misfire_grace_ms, payload=self.put_so_far
        )
        self.timetable.put(changed)
        self.monitors[key] = changed

    @rule(key=few_keys)
    def remove(self, key: bytes) -> None:
        self.timetable.remove(key)
        self.monitors.pop(key, None)

    @rule(step_ms=st.integers(1, 50).map(lambda steps: steps * 100) | st.integers(100, 5_000))
    def sweep(self, step_ms: int) -> None:
        after, upto = self.emitted_to, self.emitted_to + step_ms
        fired = list(self.timetable.due(after, upto))
        assert [instant for instant, _ in fired] == sorted({instant for instant, _ in fired})
        assert Counter((instant, p.payload) for instant, members in fired for p in members) == Counter(
            (instant, p.payload)
            for p in self.monitors.values()
            for instant in naive_due(p.key, p.schedule.interval_ms, max(after, p.since), upto)
        )
        self.emitted_to = upto

    @rule(gap_ms=st.integers(0, 120_000), behind_ms=st.integers(0, 60_000))
    def catch_up_after_an_outage(self, gap_ms: int, behind_ms: int) -> None:
        after, upto = self.emitted_to, self.emitted_to + gap_ms
        now = upto + behind_ms
        found = {
            backlog.planned.payload: (list(backlog.fire), list(backlog.skipped))
            for backlog in self.timetable.backlog(after, upto, now)
        }
        expected = {}
        for p in self.monitors.values():
            if due := naive_due(p.key, p.schedule.interval_ms, max(after, p.since), upto):
                expected[p.payload] = naive_settle(due, now, p.misfire, p.misfire_grace_ms)
        assert found == expected
        self.emitted_to = upto

    @invariant()
    def it_holds_what_was_put_and_not_removed(self) -> None:
        assert len(self.timetable) == len(self.monitors)
        for number in range(12):
            key = f"u{number % 4}\0m{number}".encode()
            assert self.timetable.get(key) is self.monitors.get(key)

    @invariant()
    def it_keeps_no_ring_for_an_interval_that_nobody_has(self) -> None:
        assert set(self.timetable._rings) == {p.schedule.interval_ms for p in self.monitors.values()}


TimetableMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestTimetable = TimetableMachine.TestCase


@given(
    st.lists(st.tuples(st.binary(min_size=1, max_size=24), intervals), max_size=30, unique_by=lambda pair: pair[0]),
    st.lists(st.integers(100, 5_000), min_size=1, max_size=12),
)
def test_however_time_is_cut_into_sweeps_the_same_ticks_fire(
    monitors: list[tuple[bytes, int]], steps_ms: list[int]
) -> None:
    timetable: Timetable[None] = Timetable()
    for key, interval_ms in monitors:
        timetable.put(Planned(key, Every(interval_ms), START, Misfire.FIRE_LAST, 60_000, None))
    fired, at = [], START
    for step_ms in steps_ms:
        fired += [(instant, p.key) for instant, members in timetable.due(at, at + step_ms) for p in members]
        at += step_ms
    once = [(instant, p.key) for instant, members in timetable.due(START, at) for p in members]
    assert Counter(fired) == Counter(once)
    assert len(set(fired)) == len(fired)
    assert set(fired) == {(t, key) for key, interval_ms in monitors for t in naive_due(key, interval_ms, START, at)}


@given(st.binary(min_size=1, max_size=40), intervals)
def test_a_monitor_is_due_once_in_every_interval(key: bytes, interval_ms: int) -> None:
    schedule = Every(interval_ms)
    phase_ms = phase_of(key, schedule)
    assert 0 <= phase_ms < interval_ms
    assert phase_ms % 100 == 0
    assert len(due_between(schedule, phase_ms, START, START + interval_ms)) == 1


@given(
    st.binary(min_size=1, max_size=40),
    intervals,
    st.integers(0, 10_000_000),
    st.integers(0, 300_000),
)
def test_due_instants_are_those_of_the_naive_scan(key: bytes, interval_ms: int, after_ms: int, length_ms: int) -> None:
    schedule, after = Every(interval_ms), START + after_ms
    found = due_between(schedule, phase_of(key, schedule), after, after + length_ms)
    assert list(found) == naive_due(key, interval_ms, after, after + length_ms)


def test_phases_never_change_or_every_monitor_would_move() -> None:
    assert phase_of(b"user-1\0http", Every(60_000)) == 18_100
    assert phase_of(b"user-1\0http", Every(HOUR_MS)) == 3_438_100


def test_phases_spread_many_monitors_evenly() -> None:
    schedule = Every(10_000)
    share = Counter(phase_of(f"user-{i}\0http".encode(), schedule) for i in range(50_000))
    assert len(share) == 100
    # 500 on average; six standard deviations
    assert min(share.values()) > 360
    assert max(share.values()) < 640


dues = st.builds(
    lambda start, interval, count: range(start, start + interval * count, interval),
    st.integers(START, START + HOUR_MS),
    intervals,
    st.integers(0, 50),
)
nows = st.integers(START, START + 2 * HOUR_MS)
graces = st.integers(5_000, HOUR_MS)


@given(dues, nows, st.sampled_from(Misfire), graces)
def test_every_due_instant_is_fired_or_skipped_never_both(due: range, now: int, rule: Misfire, grace_ms: int) -> None:
    fire, skipped = settle(due, now, rule, grace_ms)
    assert list(skipped) + list(fire) == list(due)  # nothing lost, nothing twice, the skipped ones first
    assert (list(fire), list(skipped)) == naive_settle(due, now, rule, grace_ms)


@given(dues, nows, st.sampled_from(Misfire), graces)
def test_what_is_within_the_grace_is_fired_under_every_rule(due: range, now: int, rule: Misfire, grace_ms: int) -> None:
    fire = settle(due, now, rule, grace_ms).fire
    assert set(fire) >= {t for t in due if now - t <= grace_ms}


@given(dues, nows, graces)
def test_the_rules_differ_only_in_what_is_too_late(due: range, now: int, grace_ms: int) -> None:
    late = sum(now - t > grace_ms for t in due)
    skipped = {rule: len(settle(due, now, rule, grace_ms).skipped) for rule in Misfire}
    assert skipped[Misfire.FIRE_ALL] == 0
    assert skipped[Misfire.SKIP] == late
    assert skipped[Misfire.FIRE_LAST] == (late - 1 if late == len(due) and late else late)


@given(dues.filter(len), nows, graces)
def test_fire_last_always_fires_the_newest(due: range, now: int, grace_ms: int) -> None:
    assert settle(due, now, Misfire.FIRE_LAST, grace_ms).fire[-1] == due[-1]


def test_counting_a_year_of_misses_costs_nothing() -> None:
    year = 365 * 86_400_000
    fire, skipped = settle(due_between(Every(1_000), 0, START, START + year), START + year, Misfire.FIRE_LAST, 5_000)
    assert (len(fire), len(skipped)) == (6, 365 * 86_400 - 6)

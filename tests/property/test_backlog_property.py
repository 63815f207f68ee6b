"""Ticks of a monitor that wait, beside the misfire rules as a worker has them and plain lists."""

from hypothesis import example, given, settings
from hypothesis import strategies as st

from everwatch.executor.backlog import Backlog, WaitingTick
from everwatch.model import Misfire, Priority, Tick
from everwatch.schedule.misfire import divide

NOW = 1_800_000_000_000
rules = st.sampled_from(Misfire)
graces = st.sampled_from([5_000, 60_000])


def tick(at: int, rule: Misfire = Misfire.FIRE_LAST, grace_ms: int = 60_000, **more: object) -> Tick:
    given = {"misfire": rule, "misfire_grace_ms": grace_ms} | more
    return Tick("u", "m", at, "noop", "{}", 1_000, 1, 0, **given)  # type: ignore[arg-type]


def backlog_of(ticks: list[Tick], arrived_at: int = NOW) -> Backlog[int]:
    backlog: Backlog[int] = Backlog("key", "u", Priority.NORMAL)
    for number, each in enumerate(ticks):
        assert backlog.add(WaitingTick(each, number, arrived_at)) == []
    return backlog


@settings(max_examples=300)
@given(st.sets(st.integers(1, 200), min_size=1), rules, graces, st.randoms())
def test_what_waited_too_long_is_skipped_as_a_worker_would_skip_it(ages: set[int], rule, grace_ms: int, chance) -> None:
    instants = [NOW - 1_000 * age for age in ages]
    chance.shuffle(instants)
    backlog = backlog_of([tick(instant, rule, grace_ms) for instant in instants])
    fire, skipped = divide(sorted(instants), NOW, rule, grace_ms)
    assert [each.tick.scheduled_at for each in backlog.expire(NOW)] == list(skipped)
    begun = []
    while (found := backlog.next()) is not None:
        backlog.take_out(found, is_begun=True)
        begun.append(found.tick.scheduled_at)
    # the freshest first, and then as they were due
    assert begun == [*fire[-1:], *fire[:-1]]
    assert len(backlog) == 0


@settings(max_examples=300)
@given(
    st.lists(st.sampled_from(["wait", "wait", "wait", "begin the freshest", "skipped", "by the worker"]), max_size=40),
    st.sampled_from([None, 7, 20]),
    st.booleans(),
)
@example(["wait", "wait", "wait", "skipped", "wait"], None, True)
def test_a_skipped_stretch_stands_for_consecutive_ticks_and_for_nothing_else(
    steps: list[str], standstill: int | None, quickens: bool
) -> None:
    """Each tick waits, is begun, is skipped as it comes, or never comes (once, many of an even interval)."""
    backlog: Backlog[int] = Backlog("key", "u", Priority.NORMAL)
    begun: list[int] = []
    number = away = 0
    for step in steps:
        number += 1
        if standstill and step == "by the worker" and not (away or quickens):
            number, away = number + standstill, 1  # a worker's own result stands for these
        new = tick(NOW + (40_000 * min(number, 3) + 5_000 * number if quickens else 10_000 * number), Misfire.SKIP)
        if step == "skipped":
            backlog.pass_by(new)
            continue
        assert backlog.add(WaitingTick(new, number, NOW + 10**9)) == []
        if step == "begin the freshest":
            found = backlog.next()
            assert found is not None
            backlog.take_out(found, is_begun=True)
            begun.append(found.source)
    expired = backlog.expire(NOW + 10**12)
    for stretch in backlog.stretches(expired):
        numbers = [waiting.source for waiting in stretch]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    assert [waiting for stretch in backlog.stretches(expired) for waiting in stretch] == expired


def test_a_backlog_of_one_interval_is_one_stretch() -> None:
    backlog = backlog_of([tick(NOW + 10_000 * number) for number in range(500)], arrived_at=NOW + 10**9)
    assert [len(stretch) for stretch in backlog.stretches(backlog.expire(NOW + 10**9))] == [499]


@given(st.lists(st.integers(1, 200), unique=True, min_size=2, max_size=6))
def test_with_fire_last_nothing_older_than_the_grace_runs_once_a_newer_one_was_begun(ages: list[int]) -> None:
    backlog = backlog_of([tick(NOW - 1_000 * age) for age in sorted(ages, reverse=True)])
    found = backlog.next()
    assert found is not None
    backlog.take_out(found, is_begun=True)
    expired = backlog.expire(NOW + 10**9)
    assert len(expired) == len(ages) - 1
    assert backlog.next() is None


def test_a_delayed_task_is_never_skipped_unless_its_policy_says_so() -> None:
    day_ms = 86_400_000
    for rule, left in ((Misfire.FIRE_LAST, 1), (Misfire.FIRE_ALL, 1), (Misfire.SKIP, 0)):
        backlog = backlog_of([tick(NOW - day_ms, rule)])
        backlog.expire(NOW)
        assert len(backlog) == left


def test_retries_and_what_is_asked_for_by_hand_are_not_skipped_for_their_age() -> None:
    ticks = [tick(NOW - 900_000, Misfire.SKIP, attempt=2), tick(NOW - 800_000, Misfire.SKIP, manual=True)]
    backlog = backlog_of([*ticks, tick(NOW - 700_000, Misfire.SKIP)])
    assert [each.tick.scheduled_at for each in backlog.expire(NOW)] == [NOW - 700_000]
    assert len(backlog) == 2


@given(rules, st.integers(1, 10))
def test_a_tick_that_becomes_due_while_one_waits_takes_its_place(rule, count: int) -> None:
    backlog: Backlog[int] = Backlog("key", "u", Priority.NORMAL)
    superseded = []
    for number in range(count):
        at = NOW + 1_000 * number
        superseded += [each.source for each in backlog.add(WaitingTick(tick(at, rule), number, at))]
    kept = count if rule is Misfire.FIRE_ALL else 1
    assert (len(backlog), superseded) == (kept, list(range(count - kept)))


def test_ticks_that_may_overlap_all_run_and_of_late_ones_only_the_newest_where_memory_is_short() -> None:
    backlog: Backlog[int] = Backlog("key", "u", Priority.NORMAL)
    for number in range(5):
        at = NOW + 1_000 * number
        assert backlog.add(WaitingTick(tick(at, may_overlap=True), number, at)) == []
    superseded = backlog.add(WaitingTick(tick(NOW + 9_000, may_overlap=True), 9, NOW + 9_000), is_crowded=True)
    assert [each.source for each in superseded] == list(range(5))
    every_one: Backlog[int] = Backlog("key", "u", Priority.NORMAL)
    for number in range(5):
        waiting = WaitingTick(tick(NOW + number, Misfire.FIRE_ALL), number, NOW)
        assert every_one.add(waiting, is_crowded=True) == []


def test_the_very_same_tick_waits_once_with_all_its_records() -> None:
    backlog = backlog_of([tick(NOW), tick(NOW), tick(NOW, attempt=2), tick(NOW)])
    assert len(backlog) == 2
    found = backlog.next()
    assert found is not None
    assert sorted(found.sources) in ([0, 1, 3], [2])

"""The timetable, case by case: what a user would notice, and what it costs.

All in one file: cases of one class.
"""

import sys
import tracemalloc
from collections import Counter
from collections.abc import Iterable
from operator import itemgetter

import pytest
from support.calls import calls_of

from everwatch.encoding.codec import encode_tick
from everwatch.kafka.compression import codec_named
from everwatch.model import Align, At, Cron, Every, Misfire, Schedule, Tick
from everwatch.schedule.cron import CronTimes, cron_times
from everwatch.schedule.due import due_in
from everwatch.schedule.every import phase_of
from everwatch.schedule.misfire import divide
from everwatch.timetable import (
    LAST_KEY,
    BatchKey,
    Chunk,
    Destination,
    Firing,
    FirstCheck,
    LocalStateWrong,
    Retry,
    Timetable,
    TimetableEntry,
    framed,
    unframed,
)
from everwatch.timetable.recurring_index import AHEAD_MS
from everwatch.timetable.repacker import TIDY_AFTER_SWEEPS
from everwatch.timetable.timing_wheel import TimingWheel

START = 1_800_000_000_000  # a whole minute, and a whole hour
STEP_MS, MINUTE_MS, HOUR_MS = 100, 60_000, 3_600_000
LZ4 = codec_named("lz4")
LINE = BatchKey(Destination.NORMAL, Misfire.FIRE_LAST, 60_000)


def planned(
    name: str, schedule: Schedule, since: int = START, batch_key: BatchKey = LINE, version: int = 1
) -> TimetableEntry:
    config = '{"expect_status":200,"url":"https://shop.example/health"}'
    tick = encode_tick(Tick(name, "site", 0, "http", config, 10_000, version, 0))
    return TimetableEntry(f"{name}\0site".encode(), schedule, since, batch_key, framed(name.encode(), tick))


def new_timetable(*monitors: TimetableEntry) -> Timetable:
    timetable = Timetable(LZ4, START)
    for each in monitors:
        timetable.put(each)
    return timetable


def found_at(instant: int, some: Iterable[TimetableEntry]) -> list[tuple[int, TimetableEntry]]:
    """Monitors as the index has them under one instant."""
    return [(instant, each) for each in some]


def fired(firings: Iterable[Firing]) -> list[tuple[int, str]]:
    """Return when and for whom something goes out."""
    return sorted(
        (instant + entry.delta, unframed(entry.framed)[0].decode())
        for firing in list(firings)
        for entry in firing.chunk.entries(LZ4)
        for instant in firing.fire
    )


def pass_time(timetable: Timetable, upto: int, sweep_ms: int = 1_000) -> list[tuple[int, str]]:
    """Return what goes out in sweeps up to then."""
    found: list[tuple[int, str]] = []
    while timetable.emitted_to < upto:
        following = min(timetable.emitted_to + sweep_ms, upto)
        found += fired(timetable.due(following))
        timetable.mark_emitted(following)
    return found


def chunks(timetable: Timetable) -> list[Chunk]:
    recurring = timetable.recurring
    return [chunk for *_, shelf in (*recurring.wheels.shelves(), *recurring.groups.shelves()) for chunk in shelf.chunks]


def due_once_in(name: str, schedule: Every) -> int:
    """The first instant after START."""
    return START + 1 + (phase_of(f"{name}\0site".encode(), schedule) - START - 1) % schedule.interval_ms


def test_a_monitor_is_due_once_every_interval_for_as_long_as_it_is_there() -> None:
    monitor = planned("ann", Every(30_000))
    timetable = new_timetable(monitor)
    first = due_once_in("ann", Every(30_000))
    assert pass_time(timetable, START + 5 * MINUTE_MS) == [(first + turn * 30_000, "ann") for turn in range(10)]
    timetable.remove(monitor)
    assert len(timetable) == 0
    assert pass_time(timetable, START + 6 * MINUTE_MS) == []


def test_a_monitor_that_begins_in_half_a_second_misses_what_is_due_before_and_nothing_after() -> None:
    first = due_once_in("ann", Every(1_000))
    for since, missed in ((first - 1, 0), (first, 1), (first + 999, 1), (first + 1_000, 2), (first + 1_001, 2)):
        timetable = new_timetable(planned("ann", Every(1_000), since))
        assert len(timetable) == 1
        assert pass_time(timetable, START + 10_000, 500) == [
            (first + turn * 1_000, "ann") for turn in range(missed, 10)
        ]


def test_the_sweep_that_failed_is_tried_again_with_the_same_ticks() -> None:
    timetable = new_timetable(
        *(planned(f"user-{number}", schedule) for number, schedule in enumerate(
            [Every(1_000), Every(1_000), Every(HOUR_MS), Cron("* * * * *"), At(START + 2_500), Every(11 * MINUTE_MS)]
        ))
    )  # fmt: skip
    timetable.load([], (START + HOUR_MS, LAST_KEY))
    first = fired(timetable.due(START + 5_000))
    assert len(first) >= 10
    assert fired(timetable.due(START + 5_000)) == first
    assert fired(timetable.backlog(START + 5_000, START + 5_000)) == first
    timetable.mark_emitted(START + 5_000)
    assert not set(fired(timetable.due(START + 10_000))) & set(first)


def test_between_the_old_and_the_new_spec_no_tick_is_lost_and_none_comes_twice() -> None:
    old, new = planned("ann", Every(1_000)), planned("ann", Every(1_000), version=2)
    timetable = new_timetable(old)
    before = pass_time(timetable, START + 5_300, 100)
    timetable.remove(old)
    timetable.put(new._replace(since=timetable.emitted_to))
    after = pass_time(timetable, START + 10_000, 100)
    first = due_once_in("ann", Every(1_000))
    assert before + after == [(first + turn * 1_000, "ann") for turn in range(10)]


def test_who_is_not_planned_cannot_be_taken_out_and_that_is_said() -> None:
    timetable = new_timetable(
        planned("ann", Every(30_000)), planned("ann", Cron("* * * * *")), planned("ann", Every(HOUR_MS))
    )
    timetable.load([], (START + HOUR_MS, LAST_KEY))
    for schedule in (
        Every(30_000),
        Every(40_000),
        Every(HOUR_MS),
        Every(2 * HOUR_MS),
        Cron("* * * * *"),
        At(START + 1),
    ):
        with pytest.raises(LocalStateWrong, match="bob"):
            timetable.remove(planned("bob", schedule))


# --- what it costs ----------------------------------------------------------------------------------------------------


def test_twenty_thousand_monitors_at_rest_take_little_more_than_their_compressed_records() -> None:
    count = 20_000
    monitors = [planned(f"user-{number:05}", Every(30_000)) for number in range(count)]
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        timetable = Timetable(LZ4, START)
        for each in monitors:
            timetable.put(each)
        # at rest: every slot was sent once, and so is packed
        for firing in timetable.due(START + 30_000):
            firing.chunk.packed(LZ4)
        for turn in range(1, 400):
            timetable.mark_emitted(START + 30_000 + turn * STEP_MS)
        taken = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    parts = chunks(timetable)
    assert sum(chunk.count for chunk in parts) == count
    assert not any(chunk.is_loose for chunk in parts)
    packed = sum(len(chunk.packed(LZ4)) for chunk in parts)
    plain = sum(chunk.size_in(LZ4) for chunk in parts)
    assert packed < plain / 4
    # 300 slots, each with a shelf, its list and a chunk: 67 monitors share what a slot costs
    overhead = sum(sys.getsizeof(chunk) + sys.getsizeof(chunk.packed(LZ4)) - len(chunk.packed(LZ4)) for chunk in parts)
    assert overhead / count < 5
    assert (packed + overhead) / count < 60
    assert taken / count < 60


def test_chunks_that_nobody_changes_any_more_are_packed_though_they_are_not_sent() -> None:
    timetable = new_timetable(*(planned(f"user-{number}", Every(HOUR_MS)) for number in range(20)))
    assert all(chunk.is_loose for chunk in chunks(timetable))
    for turn in range(1, TIDY_AFTER_SWEEPS + 2):
        timetable.mark_emitted(START + turn * STEP_MS)
    assert len(timetable) == 20
    assert not any(chunk.is_loose for chunk in chunks(timetable))


def test_a_change_is_packed_a_while_after_and_nothing_else_is_touched() -> None:
    monitors = [planned(f"user-{number}", Every(30_000)) for number in range(3_000)]
    timetable = new_timetable(*monitors)
    for chunk in chunks(timetable):
        chunk.packed(LZ4)
    timetable.remove(monitors[77])
    assert [chunk.is_loose for chunk in chunks(timetable)].count(True) == 1
    timetable.put(monitors[77])
    assert [chunk.is_loose for chunk in chunks(timetable)].count(True) == 1
    for turn in range(1, 4 * TIDY_AFTER_SWEEPS):
        timetable.mark_emitted(START + turn * STEP_MS)
    assert not any(chunk.is_loose for chunk in chunks(timetable))


def test_the_last_monitor_of_a_slot_leaves_nothing_behind() -> None:
    schedules = [Every(1_000), Every(HOUR_MS), Cron("*/5 * * * *")]
    monitors = [planned(f"user-{number}", schedule) for number, schedule in enumerate(schedules * 30)]
    timetable = new_timetable(*monitors)
    for number, each in enumerate(monitors):
        timetable.remove(each)
        assert len(timetable) == len(monitors) - number - 1
    recurring = timetable.recurring
    assert (recurring.wheels.fine, recurring.wheels.coarse, recurring.groups.groups) == ({}, {}, {})
    assert pass_time(timetable, START + HOUR_MS, 5_000) == []


def test_asking_who_is_due_costs_no_look_at_anybody_else() -> None:
    timetable = new_timetable(*(planned(f"user-{number}", Every(10_000)) for number in range(5_000)))
    with calls_of(Chunk.entries) as looked_at:
        firings = list(timetable.due(START + 100))
        assert looked_at == []
        firings[0].chunk.entries(timetable.packing)
        assert len(looked_at) == 1
    assert [20 < firing.chunk.count < 90 for firing in firings] == [True]  # 50 on average


def test_monitors_of_the_same_cron_schedule_go_out_together_after_one_computation() -> None:
    nine, noon = Cron("0 9 * * *", "Asia/Kolkata"), Cron("*/5 * * * *", "Asia/Kolkata")
    timetable = new_timetable(*(planned(f"user-{n}", (nine, noon)[n % 2]) for n in range(600)))
    with calls_of(CronTimes.between, itemgetter("self")) as asked:
        firings = list(timetable.due(START + 5 * MINUTE_MS))
    assert [(firing.chunk.count, list(firing.fire)) for firing in firings] == [(300, [START + 5 * MINUTE_MS])]
    assert asked == [cron_times(noon)]


def test_monitors_of_long_intervals_are_spread_out_some_time_before_they_are_due() -> None:
    names = [f"user-{number}" for number in range(3_000)]
    timetable = new_timetable(*(planned(name, Every(HOUR_MS)) for name in names))
    expected = sorted((due_once_in(name, Every(HOUR_MS)), name) for name in names)
    with calls_of(TimingWheel.passed, itemgetter("after", "upto")) as looks:
        assert pass_time(timetable, START + MINUTE_MS) == [each for each in expected if each[0] <= START + MINUTE_MS]
    # few looks, each at what lies ahead of the last one, and none at the same time twice
    assert len(looks) <= MINUTE_MS / AHEAD_MS + 1
    assert [end for _, end in looks[:-1]] == [begin for begin, _ in looks[1:]]


def test_a_long_interval_monitor_that_is_taken_out_just_before_it_is_due_is_not_due() -> None:
    ann = planned("ann", Every(HOUR_MS))
    due = due_once_in("ann", Every(HOUR_MS))
    timetable = new_timetable(ann)
    timetable.mark_emitted(due - due % STEP_MS - 1_000)
    assert fired(timetable.due(due)) == [(due, "ann")]
    timetable.remove(ann)
    assert fired(timetable.due(due)) == []
    timetable.put(ann._replace(since=timetable.emitted_to))
    assert fired(timetable.due(due)) == [(due, "ann")]


# --- delayed tasks ----------------------------------------------------------------------------------------------------


def test_a_task_is_due_once_at_its_instant_to_the_millisecond() -> None:
    timetable = new_timetable()
    timetable.load([(START + 1_234, planned("ann", At(START + 1_234)))], (START + HOUR_MS, LAST_KEY))
    assert pass_time(timetable, START + 10_000, 100) == [(START + 1_234, "ann")]
    assert len(timetable) == 0


def test_a_task_whose_instant_has_passed_is_due_right_away() -> None:
    timetable = new_timetable(planned("ann", At(START - HOUR_MS), since=START + 500))
    timetable.load([], (START + HOUR_MS, LAST_KEY))
    timetable.put(planned("bob", At(START - HOUR_MS), since=START + 500))
    assert pass_time(timetable, START + 5_000, 100) == [(START + 501, "bob")]


def test_a_task_that_is_cancelled_before_its_time_never_runs() -> None:
    kept, cancelled = planned("ann", At(START + 2_000)), planned("bob", At(START + 2_000))
    timetable = new_timetable()
    timetable.load([(START + 2_000, kept), (START + 2_000, cancelled)], (START + HOUR_MS, LAST_KEY))
    assert timetable.loaded_count == 2
    timetable.remove(cancelled)
    assert timetable.loaded_count == 1
    assert pass_time(timetable, START + 10_000, 100) == [(START + 2_000, "ann")]


def test_a_task_of_next_week_takes_no_memory_until_shortly_before() -> None:
    task = planned("ann", At(START + 7 * 24 * HOUR_MS))
    timetable = new_timetable(task)
    timetable.load([], (START + HOUR_MS, LAST_KEY))
    timetable.put(planned("bob", At(START + HOUR_MS + 1)))
    assert len(timetable) == 0
    timetable.remove(task)  # and to cancel it then is nothing to the timetable
    assert len(timetable) == 0


def test_tasks_of_one_instant_that_are_loaded_in_slices_come_once_each() -> None:
    tasks = [planned(f"user-{number}", At(START + 1_000)) for number in range(9)]
    timetable = new_timetable(*tasks)  # too early: nothing is loaded yet
    assert len(timetable) == 0
    timetable.load(found_at(START + 1_000, tasks[:4]), (START + 1_000, tasks[3].key))
    late = planned("user-55", At(START + 1_000))
    timetable.put(late)  # behind the slice in the index's order, so the index will give it
    timetable.put(planned("user-00", At(START + 1_000)))  # before it, so nobody will
    timetable.load(found_at(START + 1_000, [*tasks[4:6], late, *tasks[6:]]), (START + HOUR_MS, LAST_KEY))
    assert len(timetable) == 11
    assert Counter(name for _, name in pass_time(timetable, START + 2_000)) == Counter(
        [*(f"user-{number}" for number in range(9)), "user-00", "user-55"]
    )


# --- after an outage --------------------------------------------------------------------------------------------------


def test_after_an_outage_every_rule_has_its_way() -> None:
    names = {rule: f"user-{rule}" for rule in Misfire}
    timetable = new_timetable(
        *(
            planned(name, Every(MINUTE_MS), batch_key=BatchKey(Destination.NORMAL, rule, 90_000))
            for rule, name in names.items()
        ),
        planned("daily", Every(24 * HOUR_MS), batch_key=BatchKey(Destination.LOW, Misfire.SKIP, 5_000)),
    )
    upto = START + 48 * HOUR_MS
    counted = {
        unframed(entry.framed)[0].decode(): (len(firing.fire), len(firing.skipped))
        for firing in timetable.backlog(upto, upto)
        for entry in firing.chunk.entries(LZ4)
    }
    fresh = counted[names[Misfire.SKIP]][0]
    assert fresh in (1, 2)
    assert counted == {
        names[Misfire.FIRE_ALL]: (48 * 60, 0),
        names[Misfire.FIRE_LAST]: (fresh, 48 * 60 - fresh),
        names[Misfire.SKIP]: (fresh, 48 * 60 - fresh),
        "daily": (0, 2),
    }


@pytest.mark.parametrize("rule", Misfire)
def test_who_is_spread_is_judged_by_its_own_instants_after_an_outage(rule: Misfire) -> None:
    schedule, upto = Cron("*/5 * * * *", spread_ms=4 * MINUTE_MS), START + 23 * MINUTE_MS
    names = [f"user-{number}" for number in range(200)]
    timetable = new_timetable(
        *(planned(name, schedule, batch_key=BatchKey(Destination.NORMAL, rule, 90_000)) for name in names)
    )
    firings = list(timetable.backlog(upto, upto + 20_000))
    expected: dict[str, list[tuple[int, str]]] = {"fire": [], "skipped": []}
    for name in names:
        judged = divide(dues(schedule, name, upto), upto + 20_000, rule, 90_000)
        expected["fire"] += [(instant, name) for instant in judged.fire]
        expected["skipped"] += [(instant, name) for instant in judged.skipped]
    assert fired(firings) == sorted(expected["fire"])
    assert fired(firing._replace(fire=firing.skipped) for firing in firings) == sorted(expected["skipped"])
    assert len(firings) <= 6  # together, as far as they are alike


def test_what_is_caught_up_of_long_intervals_fits_into_batches_too() -> None:
    daily = Every(24 * HOUR_MS, Align.EPOCH)
    timetable = new_timetable(*(planned(f"user-{number}", daily) for number in range(1_500)))
    timetable.fit(10_000)
    firings = list(timetable.backlog(START + 48 * HOUR_MS, START + 60 * HOUR_MS))
    assert sum(firing.chunk.count for firing in firings) == 1_500
    assert all(firing.chunk.size_in(LZ4) <= 10_000 for firing in firings)
    assert all((len(firing.fire), len(firing.skipped)) == (1, 1) for firing in firings)


def test_a_topic_that_takes_only_small_batches_gets_small_ones_from_then_on() -> None:
    schedules = [Every(1_000), Every(HOUR_MS), Cron("* * * * *")]
    monitors = [planned(f"user-{number}", schedules[number % 3]) for number in range(3_000)]
    timetable = new_timetable(*monitors)
    tasks = [planned(f"task-{n}", At(START + 60_000)) for n in range(500)]
    timetable.load(found_at(START + 60_000, tasks), (START + HOUR_MS, LAST_KEY))
    for chunk in chunks(timetable):
        chunk.packed(LZ4)
    expected = fired(timetable.due(START + MINUTE_MS))
    timetable.fit(2_000)
    timetable.put(planned("new", Every(1_000)))
    firings = list(timetable.due(START + MINUTE_MS))
    assert all(firing.chunk.size_in(LZ4) <= 2_000 for firing in firings)
    assert [each for each in fired(firings) if each[1] != "new"] == expected
    assert sum(chunk.is_loose for chunk in chunks(timetable)) <= 1  # nothing is unpacked to be measured


def test_a_timetable_that_is_put_away_is_the_same_when_it_is_taken_up() -> None:
    schedules = [Every(1_000), Every(11 * MINUTE_MS), Every(24 * HOUR_MS), Cron("* * * * *")]
    monitors = [planned(f"user-{number}", schedules[number % 4]) for number in range(400)]
    timetable, again = new_timetable(*monitors), Timetable(LZ4, START)
    assert timetable.can_be_saved
    again.restore(timetable.save())
    assert len(again) == len(timetable) == 400
    assert pass_time(again, START + 2 * MINUTE_MS) == pass_time(timetable, START + 2 * MINUTE_MS)
    for each in monitors:
        again.remove(each)
    assert len(again) == 0


# --- beginnings and endings -------------------------------------------------------------------------------------------

HORIZON = (START + HOUR_MS, LAST_KEY)
DAY_MS = 24 * HOUR_MS
# one of each place that a monitor can be at rest in
SCHEDULES = {
    "short": Every(1_000),
    "epoch": Every(5_000, Align.EPOCH),
    "long": Every(15 * MINUTE_MS),
    "cron": Cron("* * * * *"),
    "spread": Cron("*/5 * * * *", "Asia/Kolkata", 3 * MINUTE_MS),
    "midnight": Every(15 * MINUTE_MS, Align.MIDNIGHT, "Asia/Kathmandu"),
}


def dues(schedule: Schedule, name: str = "ann", upto: int = START + HOUR_MS) -> list[int]:
    return list(due_in(schedule, f"{name}\0site".encode(), START, START, upto))


def loaded(*monitors: TimetableEntry) -> Timetable:
    timetable = Timetable(LZ4, START)
    timetable.load([], HORIZON)
    for each in monitors:
        timetable.put(each)
    return timetable


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_its_last_tick_is_the_one_at_its_end_and_then_it_is_gone(schedule: Schedule) -> None:
    every_due = dues(schedule)
    for until, last in ((every_due[2], 3), (every_due[2] - 1, 2), (every_due[2] + 1, 3)):
        timetable = loaded(planned("ann", schedule)._replace(until=until))
        assert pass_time(timetable, until - until % STEP_MS, 700) + pass_time(timetable, START + HOUR_MS, 5_000) == [
            (due, "ann") for due in every_due[:last]
        ]
        assert len(timetable) == 0
        assert chunks(timetable) == []
        assert timetable.newest_gone == until


def test_a_sweep_over_the_end_of_a_monitor_can_be_tried_again_and_then_be_shorter() -> None:
    first = due_once_in("ann", Every(1_000))
    ann, bob = planned("ann", Every(1_000))._replace(until=first + 1_000), planned("bob", Every(1_000))
    timetable = loaded(ann, bob)
    once = fired(timetable.due(START + 5_000))
    assert [instant for instant, name in once if name == "ann"] == [first, first + 1_000]
    assert fired(timetable.due(START + 5_000)) == once
    assert fired(timetable.backlog(START + 5_000, START + 5_000)) == once
    step = first + STEP_MS - first % STEP_MS
    assert pass_time(timetable, step, step - START) == [each for each in once if each[0] <= step]
    assert len(timetable) == 2
    assert pass_time(timetable, START + 5_000) == [each for each in once if each[0] > step]
    assert len(timetable) == 1


def test_many_that_end_together_go_out_together() -> None:
    names = [f"user-{number}" for number in range(500)]
    until = START + 10_000
    timetable = loaded(*(planned(name, Every(5_000, Align.EPOCH))._replace(until=until) for name in names))
    timetable.mark_emitted(START + 5_000)
    firings = list(timetable.due(START + 20_000))
    assert [firing.chunk.count for firing in firings] == [500]
    assert fired(firings) == sorted((until, name) for name in names)


def test_an_end_after_an_outage_is_the_end_of_what_was_missed() -> None:
    timetable = Timetable(LZ4, START)
    ann = planned("ann", Every(MINUTE_MS, Align.EPOCH))._replace(until=START + 10 * MINUTE_MS)
    timetable.put(ann)
    timetable.load([(ann.until, ann)], HORIZON)
    [firing] = timetable.backlog(START + HOUR_MS, START + HOUR_MS)
    at = [instant + entry.delta for entry in firing.chunk.entries(LZ4) for instant in (*firing.skipped, *firing.fire)]
    assert at == [START + turn * MINUTE_MS for turn in range(1, 11)]
    assert len(firing.fire) == 1


def test_an_end_that_lies_far_ahead_takes_no_memory_until_the_index_names_it() -> None:
    ann = planned("ann", Every(1_000))._replace(until=START + 2 * HOUR_MS)
    timetable = loaded(ann)
    assert (len(timetable), timetable.loaded_count) == (1, 0)
    timetable.load([(ann.until, ann)], (START + 3 * HOUR_MS, LAST_KEY))
    assert (len(timetable), timetable.loaded_count) == (1, 1)
    timetable.remove(ann)
    assert (len(timetable), timetable.loaded_count) == (0, 0)


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_who_is_held_back_begins_when_its_owner_wants_it_to(schedule: Schedule) -> None:
    every_due = dues(schedule)
    ann = planned("ann", schedule, every_due[1])._replace(held_back=True)
    timetable = Timetable(LZ4, START)
    timetable.put(ann)
    assert (len(timetable), timetable.loaded_count) == (0, 0)
    timetable.load([(ann.since, ann)], HORIZON)
    assert (len(timetable), timetable.loaded_count) == (1, 1)
    assert pass_time(timetable, START + HOUR_MS, 5_000) == [(due, "ann") for due in every_due[2:]]
    assert (len(timetable), timetable.loaded_count) == (1, 0)


def test_a_sweep_looks_at_nobody_who_begins_or_ends_later() -> None:
    timetable = loaded(
        *(planned(f"later-{n}", Every(1_000), START + 60_000 + n)._replace(held_back=True) for n in range(10_000)),
        *(planned(f"new-{n}", Every(1_000), START + 60_000 + n) for n in range(1_000)),
        *(planned(f"ends-{n}", Every(HOUR_MS))._replace(until=START + 60_000 + n) for n in range(1_000)),
        planned("soon", Every(1_000), START + 1_500)._replace(held_back=True),
    )
    assert timetable.loaded_count == 11_001
    loose = sum(chunk.is_loose for chunk in chunks(timetable))
    with calls_of(due_in, itemgetter("key")) as asked:
        pass_time(timetable, START + 50_000, 500)
    assert set(asked) == {b"soon\0site"}
    assert len(asked) <= 2
    assert sum(chunk.is_loose for chunk in chunks(timetable)) <= loose + 1  # nobody was taken out of a chunk


def test_when_its_dates_are_named_one_by_one_or_again_a_monitor_is_there_once() -> None:
    first = due_once_in("ann", Every(1_000))
    retry = Retry(START + 7_050, START + 100, framed(b"ann", b"again"))
    ann = planned("ann", Every(1_000), first)._replace(held_back=True, until=first + 2_000, retry=retry)
    bob = planned("bob", At(START + 4_000))
    timetable = new_timetable(ann, bob)
    found = sorted([(ann.since, ann), (ann.until, ann), (retry.due, ann), (START + 4_000, bob)])
    for each in found:
        timetable.load([each], (each[0], each[1].key))
        timetable.load(found, (each[0], each[1].key))
    timetable.load([*found, *found], HORIZON)
    assert timetable.loaded_count == 4
    # at once
    again = new_timetable(ann, bob)
    again.load([*found, *found], HORIZON)
    for table in (timetable, again):
        assert sorted(pass_time(table, START + HOUR_MS, 5_000)) == sorted(
            [(first + 1_000, "ann"), (first + 2_000, "ann"), (START + 4_000, "bob"), (START + 100, "ann")]
        )


# --- retries ----------------------------------------------------------------------------------------------------------


def test_a_retry_goes_out_once_at_its_time_and_says_which_tick_it_is_of() -> None:
    retry = Retry(START + 2_345, START - 90_000, framed(b"ann", b"second attempt"))
    timetable = loaded(planned("ann", At(START - 90_000), START - 100_000)._replace(retry=retry))
    assert (len(timetable), timetable.loaded_count) == (0, 1)
    assert fired(timetable.due(START + 2_300)) == []
    [firing] = timetable.due(START + 2_400)
    assert fired([firing]) == [(START - 90_000, "ann")]
    assert firing.fire[0] + firing.chunk.reach == START - 90_000  # the batch's latest timestamp, too
    timetable.mark_emitted(START + 2_400)
    assert timetable.loaded_count == 0
    assert pass_time(timetable, START + 10_000) == []


def test_after_an_outage_a_retry_is_run_whatever_the_rule() -> None:
    batch_key = BatchKey(Destination.NORMAL, Misfire.SKIP, 5_000)
    retry = Retry(START + 2_345, START - 5_000, framed(b"ann", b"second attempt"))
    timetable = loaded(planned("ann", Every(DAY_MS), batch_key=batch_key)._replace(retry=retry))
    upto = START + HOUR_MS
    assert (START - 5_000, "ann") in fired(timetable.backlog(upto, upto))


def test_to_change_only_the_retry_touches_nothing_else() -> None:
    monitors = [planned(f"user-{number}", Every(30_000)) for number in range(2_000)]
    timetable = loaded(*monitors)
    for chunk in chunks(timetable):
        chunk.packed(LZ4)
    old, count = monitors[0], len(timetable)
    for due in (START + 5_000, START + 6_000):
        new = old._replace(retry=Retry(due, START, framed(b"user-0", b"again")))
        timetable.replace(old, new)
        old = new
    assert not any(chunk.is_loose for chunk in chunks(timetable))
    assert len(timetable) == count
    assert timetable.loaded_count == 1
    timetable.replace(old, monitors[0])
    assert timetable.loaded_count == 0
    timetable.replace(monitors[0], monitors[0]._replace(schedule=Every(40_000)))
    assert len(timetable) == count
    with pytest.raises(LocalStateWrong, match="user-0"):
        timetable.replace(old, monitors[0])


def test_a_monitor_that_is_over_may_have_a_retry_still() -> None:
    first = due_once_in("ann", Every(1_000))
    retry = Retry(first + 5_000, first, framed(b"ann", b"second attempt"))
    timetable = loaded(planned("ann", Every(1_000))._replace(until=first, retry=retry))
    assert pass_time(timetable, START + 20_000) == [(first, "ann"), (first, "ann")]


# --- put away and taken up --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("asked_ms", [0, 30_000])
@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_put_away_in_the_middle_of_a_sweep_those_who_end_in_it_are_not_lost(schedule: Schedule, asked_ms: int) -> None:
    monitors = [planned(f"user-{n}", schedule)._replace(until=START + 20_000 + n * 60_000) for n in range(5)]
    timetable, again = loaded(*monitors), Timetable(LZ4, START)
    expected = pass_time(loaded(*monitors), START + HOUR_MS, 5_000)
    list(timetable.due(START + asked_ms))
    again.restore(timetable.save())
    assert len(again) == 5
    again.load([(each.until, each) for each in monitors], HORIZON)
    assert pass_time(again, START + HOUR_MS, 5_000) == expected
    assert pass_time(timetable, START + HOUR_MS, 5_000) == expected


def test_a_timetable_says_who_would_be_missing_if_it_were_taken_up_as_of_earlier() -> None:
    timetable = loaded(
        *(planned(f"user-{n}", Every(1_000))._replace(until=START + 1_000 * n) for n in range(1, 4)),
        planned("later", Every(HOUR_MS))._replace(until=START + 60_000),
    )
    assert timetable.newest_gone == 0
    timetable.mark_emitted(START + 10_000)
    assert timetable.newest_gone == START + 3_000
    timetable.put(planned("over", Every(1_000))._replace(until=START + 9_000))
    assert timetable.newest_gone == START + 9_000
    assert len(timetable) == 1


def test_who_begins_far_ahead_does_not_keep_the_others_from_being_put_away() -> None:
    timetable = loaded(
        planned("ann", Every(1_000)), planned("bob", Every(DAY_MS), START + 60_000)._replace(held_back=True)
    )
    assert timetable.can_be_saved
    assert timetable.newest_since == START
    again = Timetable(LZ4, START)
    again.restore(timetable.save())
    assert len(again) == 1


def test_who_was_put_to_begin_in_hours_marks_nobody_else_as_new() -> None:
    begins = (
        due_once_in("bob", Every(60 * DAY_MS)) - 1
    )  # nothing is due before it, so it could be in the recurring index
    timetable = loaded(planned("ann", Every(HOUR_MS)), planned("bob", Every(60 * DAY_MS), begins))
    assert begins > START + HOUR_MS
    assert timetable.newest_since == START
    assert not timetable.can_be_saved  # no index would bring bob again
    timetable.mark_emitted(begins + 1)
    assert timetable.can_be_saved
    assert len(timetable) == 2


def test_a_schedule_that_is_spread_is_looked_at_only_where_somebody_is_due() -> None:
    names = [f"user-{number}" for number in range(3_000)]
    schedule = Cron("0 * * * *", spread_ms=HOUR_MS)
    timetable = new_timetable(*(planned(name, schedule) for name in names))
    pass_time(timetable, START + 10_000)
    with calls_of(Chunk.entries, lambda given: given["self"].count) as walked:
        list(timetable.due(START + 15_000))
        assert walked == []  # spread out already
        timetable.look_ahead(START + 20_000 + AHEAD_MS)
    assert 0 < sum(walked) < 3_000 / 360 * 10


def first_checked(due: int) -> TimetableEntry:
    monitor = planned("ann", Every(HOUR_MS))
    return monitor._replace(first=FirstCheck(due, monitor.record))


def test_a_first_check_goes_out_once_beside_the_schedule_and_not_when_its_monitor_is_gone() -> None:
    monitor = first_checked(START + 1_500)
    timetable = new_timetable(monitor)
    assert not timetable.can_be_saved  # nothing would bring it back
    assert pass_time(timetable, START + 3_000) == [(START + 1_500, "ann")]
    assert timetable.can_be_saved
    timetable.remove(monitor)
    other = first_checked(START + 5_000)
    timetable.put(other)
    timetable.remove(other)
    assert pass_time(timetable, START + 6_000) == []
    # no index brings it, so one that is not there is nothing to complain of
    timetable.put(first_checked(0))
    timetable.remove(first_checked(START + 9_000))


def test_a_first_check_that_an_outage_kept_back_goes_out_after_it() -> None:
    timetable = new_timetable(first_checked(START + 1_500))
    upto = START + 10 * MINUTE_MS
    assert (START + 1_500, "ann") in fired(timetable.backlog(upto, upto))

"""Expected ticks of ``bench day`` follow from the schedules alone; a missing or moved tick is noticed."""

from datetime import UTC, datetime

import pytest

from bench import day
from bench.naive_schedules import cron_instants, interval_instants
from everwatch.encoding import codec
from everwatch.kafka.compression import codec_named
from everwatch.model import Cron, Every
from everwatch.schedule.due import due_in
from everwatch.timetable import Timetable, TimetableEntry, framed

SMALL = day.Size(monitors=100, partitions=2, one_in=1, sweep_ms=5_000)


def at(text: str) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


@pytest.mark.parametrize("begin", [day.SPRING, day.AUTUMN])
@pytest.mark.parametrize("schedule", [schedule for schedule, _ in day.MIX if isinstance(schedule, Cron)], ids=repr)
def test_the_slow_way_and_the_product_agree_on_days_on_which_clocks_change(schedule: Cron, begin: int) -> None:
    shared = Cron(schedule.expression, schedule.timezone)
    upto = begin + day.DAY_MS
    slow = [instant for instant in cron_instants(schedule, begin, upto) if instant > begin]
    assert slow == list(due_in(shared, b"user\0site", 0, begin, upto))


def test_a_time_of_day_in_a_gap_is_due_at_its_end_and_one_that_comes_twice_the_first_time() -> None:
    half_past_two = Cron("30 2 * * *", "Europe/Berlin")
    spring = cron_instants(half_past_two, day.SPRING, day.SPRING + day.DAY_MS)
    autumn = cron_instants(half_past_two, day.AUTUMN, day.AUTUMN + day.DAY_MS)
    assert spring == [at("2026-03-29T01:00")]
    assert autumn == [at("2026-10-25T00:30")]


def test_a_minute_that_exists_twice_is_due_twice() -> None:
    found = cron_instants(Cron("*/30 2 * * *", "Europe/Berlin"), day.AUTUMN, day.AUTUMN + day.DAY_MS)
    assert found == [at(f"2026-10-25T{time}") for time in ("00:00", "00:30", "01:00", "01:30")]


def test_intervals_are_tried_step_by_step() -> None:
    assert interval_instants(Every(2_000), 700, 1_000, 5_000) == [2_700, 4_700]
    assert interval_instants(Every(1_000), 0, 1_000, 3_000) == [2_000, 3_000]


def test_each_tick_of_a_simulated_day_is_emitted_once() -> None:
    load = day.fill(SMALL, day.SPRING)
    assert load.sampled == SMALL.monitors
    assert load.due == len(load.sample)
    found = day.simulate(load, SMALL, day.SPRING)
    assert set(found.found) == load.sample
    assert set(found.found.values()) == {1}
    assert sum(found.ticks.values()) == load.due


def test_a_monitor_that_the_timetable_lost_and_one_with_another_schedule_are_noticed() -> None:
    load = day.fill(SMALL, day.SPRING)
    wrong = Timetable(codec_named("lz4"), day.SPRING)
    user = b"pick-0000000000"
    value = codec.encode_tick(day.tick_of(0))
    wrong.put(TimetableEntry(user + b"\0site-0", Every(70_000), day.SPRING, day.LINE, framed(user, value)))
    load.timetables[0] = wrong
    found = day.simulate(load, SMALL, day.SPRING)
    assert sum(found.ticks.values()) < load.due
    assert load.sample - found.found.keys()
    assert {name for name, _ in found.found.keys() - load.sample} == {user.decode()}

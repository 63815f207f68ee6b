"""Due instants of every kind of schedule, as used wherever runs are shown or audited."""

import pytest

from everwatch.model import At, Cron, Every
from everwatch.schedule.due import due_in, next_due
from everwatch.schedule.every import phase_of

KEY = b"user-1\0http"
HOUR_MS = 3_600_000
NOON = 1_795_262_400_000  # 2026-11-21T12:00:00Z


def test_an_interval_is_due_at_its_phase_and_costs_a_range() -> None:
    schedule = Every(HOUR_MS)
    first = NOON + phase_of(KEY, schedule)
    found = due_in(schedule, KEY, NOON, NOON, NOON + 2 * HOUR_MS)
    assert found == range(first, NOON + 2 * HOUR_MS + 1, HOUR_MS)
    assert next_due(schedule, KEY, NOON, NOON) == first
    assert next_due(schedule, KEY, NOON, first) == first + HOUR_MS


def test_cron_is_due_by_the_wall_clock_of_its_zone() -> None:
    schedule = Cron("0 14 * * *", "Europe/Berlin")
    assert list(due_in(schedule, KEY, NOON, NOON, NOON + 24 * HOUR_MS)) == [NOON + HOUR_MS]
    assert next_due(schedule, KEY, NOON, NOON) == NOON + HOUR_MS


def test_a_delayed_task_is_due_once_at_its_instant() -> None:
    schedule = At(NOON)
    assert list(due_in(schedule, KEY, NOON - HOUR_MS, 0, NOON + HOUR_MS)) == [NOON]
    assert list(due_in(schedule, KEY, NOON - HOUR_MS, 0, NOON)) == [NOON]
    assert list(due_in(schedule, KEY, NOON - HOUR_MS, NOON, NOON + HOUR_MS)) == []
    assert list(due_in(schedule, KEY, NOON - HOUR_MS, 0, NOON - 1)) == []
    assert next_due(schedule, KEY, NOON - HOUR_MS, 0) == NOON
    assert next_due(schedule, KEY, NOON - HOUR_MS, NOON) is None


@pytest.mark.parametrize("late_ms", [0, 1, HOUR_MS])
def test_a_delayed_task_that_comes_late_is_due_right_away_and_once(late_ms: int) -> None:
    schedule, since = At(NOON), NOON + late_ms
    assert list(due_in(schedule, KEY, since, 0, since + HOUR_MS)) == [since + 1]
    assert next_due(schedule, KEY, since, 0) == since + 1
    assert next_due(schedule, KEY, since, since + 1) is None


@pytest.mark.parametrize("schedule", [Every(60_000), Cron("* * * * *"), At(NOON - HOUR_MS)])
def test_nothing_is_due_before_the_monitor_was_put_or_in_an_empty_window(schedule: Every | Cron | At) -> None:
    found = due_in(schedule, KEY, NOON, NOON - 10 * HOUR_MS, NOON + HOUR_MS)
    assert len(found) > 0
    assert min(found) > NOON
    assert len(due_in(schedule, KEY, NOON, NOON - 10 * HOUR_MS, NOON)) == 0
    assert len(due_in(schedule, KEY, NOON, NOON + HOUR_MS, NOON + HOUR_MS)) == 0
    assert len(due_in(schedule, KEY, NOON, NOON + HOUR_MS, NOON)) == 0

"""Cron with a spread: not all of one expression are due at once, and each is always as much later."""

from collections import Counter
from datetime import UTC, datetime

import pytest

from everwatch.model import Cron, Every
from everwatch.schedule.due import due_in, last_due, next_due
from everwatch.schedule.duration import DAY_MS, HOUR_MS, MINUTE_MS
from everwatch.schedule.every import PHASE_STEP_MS, phase_of
from everwatch.schedule.spread import spread_of

NINE = int(datetime(2026, 11, 21, 9, tzinfo=UTC).timestamp() * 1000)
DAILY = Cron("0 9 * * *", spread_ms=10 * MINUTE_MS)
KEY = b"user-1\0report"
KEYS = [f"user-{n}\0report".encode() for n in range(10_000)]


def test_a_monitor_is_due_later_by_its_own_offset_each_day() -> None:
    offset = spread_of(KEY, DAILY.spread_ms)
    assert 0 < offset < DAILY.spread_ms
    assert due_in(DAILY, KEY, NINE - 1, NINE - 1, NINE + DAY_MS + HOUR_MS) == [NINE + offset, NINE + DAY_MS + offset]


def test_who_is_put_between_nine_and_its_own_time_is_due_the_same_day() -> None:
    offset = spread_of(KEY, DAILY.spread_ms)
    assert next_due(DAILY, KEY, NINE + 1, NINE + 1) == NINE + offset
    assert next_due(DAILY, KEY, NINE + offset, NINE + offset) == NINE + DAY_MS + offset
    assert last_due(DAILY, KEY, NINE, NINE + offset) == NINE + offset
    assert last_due(DAILY, KEY, NINE, NINE + offset - 1) is None


def test_ten_thousand_monitors_are_spread_evenly() -> None:
    minutes = Counter(spread_of(key, DAILY.spread_ms) // MINUTE_MS for key in KEYS)
    assert sorted(minutes) == list(range(10))
    assert all(850 < count < 1_150 for count in minutes.values())


def test_the_offset_has_nothing_to_do_with_the_phase_of_an_interval() -> None:
    every = Every(10 * MINUTE_MS)
    both = Counter((phase_of(k, every) // MINUTE_MS, spread_of(k, every.interval_ms) // MINUTE_MS) for k in KEYS)
    assert len(both) == 100
    assert max(both.values()) < 150


@pytest.mark.parametrize(
    ("spread_ms", "allowed"), [(0, {0}), (1, {0}), (PHASE_STEP_MS, {0}), (150, {0, 100}), (300, {0, 100, 200})]
)
def test_a_small_spread_has_few_offsets_and_none_is_none(spread_ms: int, allowed: set[int]) -> None:
    assert {spread_of(key, spread_ms) for key in KEYS[:200]} == allowed


def test_an_offset_is_the_same_for_ever() -> None:
    # it is written nowhere: every process, now and later, has to come to the same
    assert [spread_of(key, HOUR_MS) for key in KEYS[:3]] == [1_236_400, 3_380_700, 2_963_200]

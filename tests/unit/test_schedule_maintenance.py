"""Tests of when maintenance is over."""

from collections.abc import Iterator
from datetime import UTC, datetime
from operator import itemgetter

import pytest
from support.calls import calls_of

from everwatch.model import Maintenance
from everwatch.schedule.cron import CronTimes
from everwatch.schedule.duration import DAY_MS, HOUR_MS, MINUTE_MS
from everwatch.schedule.maintenance import MOST_STEPS, maintenance_end

SATURDAY_TWO = int(datetime(2026, 11, 21, 2, tzinfo=UTC).timestamp() * 1000)
ONE_OFF = Maintenance(start=SATURDAY_TWO, end=SATURDAY_TWO + HOUR_MS)
WEEKLY = Maintenance(cron="0 2 * * 6", duration_ms=2 * HOUR_MS)


@pytest.fixture
def asked() -> Iterator[list[int]]:
    """List when windows are asked for their last beginning."""
    with calls_of(CronTimes.last_between, itemgetter("upto")) as asked:
        yield asked


def test_a_window_begins_at_its_start_and_its_end_is_outside() -> None:
    for window, length_ms in ((ONE_OFF, HOUR_MS), (WEEKLY, 2 * HOUR_MS)):
        end = SATURDAY_TWO + length_ms
        assert maintenance_end([window], SATURDAY_TWO - 1) == 0
        assert maintenance_end([window], SATURDAY_TWO) == end
        assert maintenance_end([window], end - 1) == end
        assert maintenance_end([window], end) == 0


def test_without_windows_there_is_no_maintenance() -> None:
    assert maintenance_end([], SATURDAY_TWO) == 0


def test_windows_that_overlap_or_touch_are_one_and_others_are_not() -> None:
    touching = Maintenance(start=SATURDAY_TWO + 2 * HOUR_MS, end=SATURDAY_TWO + 3 * HOUR_MS)
    apart = Maintenance(start=SATURDAY_TWO + 3 * HOUR_MS + 1, end=SATURDAY_TWO + 4 * HOUR_MS)
    windows = (window for window in (apart, touching, WEEKLY, ONE_OFF))
    assert maintenance_end(windows, SATURDAY_TWO) == SATURDAY_TWO + 3 * HOUR_MS


def test_a_recurring_window_follows_its_zones_clock_into_summer() -> None:
    nightly = Maintenance(cron="0 1 * * *", timezone="Europe/Berlin", duration_ms=3 * HOUR_MS)
    one = int(datetime(2027, 3, 28, 0, tzinfo=UTC).timestamp() * 1000)  # 01:00 in Berlin, clocks change at 02:00
    assert maintenance_end([nightly], one) == one + 3 * HOUR_MS
    next_day = one + DAY_MS - HOUR_MS
    assert maintenance_end([nightly], next_day - 1) == 0
    assert maintenance_end([nightly], next_day) == next_day + 3 * HOUR_MS


def test_a_window_longer_than_its_period_counts_from_the_newest_and_goes_on_and_on() -> None:
    always = Maintenance(cron="*/10 * * * *", duration_ms=15 * MINUTE_MS)
    end = maintenance_end([always], SATURDAY_TWO + 1)
    assert end >= SATURDAY_TWO + (MOST_STEPS - 1) * 10 * MINUTE_MS
    assert maintenance_end([always], end) > end


def test_forty_windows_that_are_always_open_are_asked_once_each(asked: list[int]) -> None:
    always = [Maintenance(cron="* * * * *", duration_ms=30 * DAY_MS - n % 20 * MINUTE_MS) for n in range(40)]
    end = maintenance_end(always, SATURDAY_TWO)
    assert end == SATURDAY_TWO + 30 * DAY_MS
    assert len(asked) == 20
    assert maintenance_end(always, end) == end + 30 * DAY_MS


def test_short_windows_that_go_on_and_on_are_followed_ten_times(asked: list[int]) -> None:
    always = [Maintenance(cron="* * * * *", duration_ms=2 * MINUTE_MS + n) for n in range(40)]
    assert maintenance_end(always, SATURDAY_TWO) > SATURDAY_TWO + 10 * MINUTE_MS
    assert len(asked) == 10 * 40


def test_a_window_that_ends_before_it_begins_is_never_open() -> None:
    backwards = Maintenance(start=SATURDAY_TWO, end=SATURDAY_TWO - HOUR_MS)
    assert maintenance_end([backwards], SATURDAY_TWO) == 0
    assert maintenance_end([Maintenance(cron="* * * * *")], SATURDAY_TWO) == 0

"""Cron schedules held against croniter, a second implementation, around every change of the clock in ten zones.

Away from the changes the two agree to the instant. Around them each difference falls into one of the classes below,
which docs/schedules.md lists and justifies; croniter, of which the zones of pytz bring out the best, is not Debian's
cron there, and does not always do the same.
"""

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

import pytest
import pytz
from croniter import croniter
from cronsim import CronSim

from everwatch.model import Cron
from everwatch.schedule.cron import cron_times, zone_named

EXPRESSIONS = (Path(__file__).parents[1] / "data" / "cron_expressions.txt").read_text().splitlines()
ZONES = [
    "Europe/Berlin", "Europe/London", "America/New_York", "America/St_Johns", "Australia/Sydney",
    "America/Santiago", "Africa/Cairo",  # at midnight, and back to the day before
    "America/Havana",  # midnight itself is put forward, and comes twice
    "Australia/Lord_Howe", "Antarctica/Troll",  # by half an hour, by two hours
]  # fmt: skip
HOUR_MS, DAY_MS = 3_600_000, 86_400_000
MINUTE = timedelta(minutes=1)

GAP_ENDS = "a time of day in the gap: here at the end of the gap"
GAP_SHIFTED = "a time in the gap: croniter runs it as much later as clocks are put forward"
GAP_LOST = "croniter loses times that exist after it moved one out of the gap"
TWICE_BOTH = "an expression that runs all the time is due in both hours: croniter skips the second one"
TWICE_LOST = "croniter loses times of day that come right after the hours that exist twice"
ONCE_MORE = "croniter runs once more within a day of the change, wrong by as much as clocks changed"
CLASSES = {GAP_ENDS, GAP_SHIFTED, GAP_LOST, TWICE_BOTH, TWICE_LOST, ONCE_MORE}


@pytest.fixture(scope="module")
def years(pytestconfig: pytest.Config) -> int:
    """Return how many years' changes are looked at."""
    return int(pytestconfig.getoption("--cron-years"))


@cache
def changes(zone: str, years: int) -> list[tuple[int, int]]:
    """Each change of a zone's clock in this many years from 2026 on: when, and by how much, both in ms."""

    def offset(at_ms: int) -> int:
        found = datetime.fromtimestamp(at_ms / 1000, zone_named(zone)).utcoffset()
        assert found is not None
        return found // timedelta(milliseconds=1)

    begin, end = (int(datetime(year, 1, 1, tzinfo=UTC).timestamp() * 1000) for year in (2026, 2026 + years))
    # clocks change on the half hour at the finest
    steps = range(begin, end, HOUR_MS // 2)
    return [(t, offset(t) - offset(t - 1)) for t in steps if offset(t) != offset(t - HOUR_MS // 2)]


def theirs_between(expression: str, zone: str, after: int, upto: int) -> Iterator[int]:
    begin = datetime.fromtimestamp(after / 1000, pytz.timezone(zone))
    # their bug, which is Debian's rule: a day field that begins with a star narrows the other one
    for seconds in croniter(expression, begin, ret_type=float, implement_cron_bug=True):
        if (t := round(seconds * 1000)) > upto:
            return
        yield t


def shown(zone: str, at_ms: int) -> datetime:
    """Return what the zone's clock shows."""
    return datetime.fromtimestamp(at_ms / 1000, zone_named(zone)).replace(tzinfo=None)


def matches(expression: str, wall: datetime) -> bool:
    return next(CronSim(expression, wall - MINUTE)) == wall


class Around:
    """One expression around one change of the clock."""

    def __init__(self, expression: str, zone: str, change: int, by_ms: int) -> None:
        self.expression, self.zone, self.change, self.by_ms = expression, zone, change, by_ms
        self.span = change - 2 * DAY_MS, change + 2 * DAY_MS
        self.ours = cron_times(Cron(expression, zone)).between(*self.span)
        self.theirs = list(theirs_between(expression, zone, *self.span))
        self.of_the_day = not any(field.startswith("*") for field in expression.split()[:2])

    def differences(self) -> Iterator[tuple[int, str | None]]:
        for t in sorted(set(self.ours) ^ set(self.theirs)):
            yield t, self.class_of(t, ours=t in self.ours)

    def class_of(self, t: int, *, ours: bool) -> str | None:
        """Why one side alone is due at ``t``; None if no rule says so."""
        changed_ms = abs(self.by_ms)
        right_after = self.change <= t < self.change + changed_ms
        wall = shown(self.zone, t)
        if ours and self.by_ms > 0 and right_after:
            if self.of_the_day and t == self.change and not matches(self.expression, wall):
                return GAP_ENDS if self.in_the_gap() else None
            if matches(self.expression, wall):
                return GAP_LOST
            return None
        if ours and self.by_ms < 0 and matches(self.expression, wall):
            if right_after:
                return None if self.of_the_day else TWICE_BOTH
            soon_after = t < self.change + 2 * changed_ms
            return TWICE_LOST if soon_after and self.of_the_day else None
        if not ours:
            meant = wall - timedelta(milliseconds=self.by_ms)
            if self.by_ms > 0 and right_after and matches(self.expression, meant):
                return GAP_SHIFTED
            meant = wall + timedelta(milliseconds=self.by_ms)
            if self.change <= t < self.change + DAY_MS and matches(self.expression, meant):
                return ONCE_MORE
        return None

    def in_the_gap(self) -> bool:
        """Tell whether a time that does not exist matches."""
        end = shown(self.zone, self.change)
        begin = end - timedelta(milliseconds=self.by_ms)
        return next(CronSim(self.expression, begin - MINUTE)) < end


@cache
def compared_in(zone: str, years: int) -> tuple[int, Counter[str], list[str]]:
    """Return how many instants were compared, how often each class came up, and what falls into none."""
    compared, classes, unexplained = 0, Counter[str](), []
    for change, by_ms in changes(zone, years):
        for expression in EXPRESSIONS:
            around = Around(expression, zone, change, by_ms)
            compared += len(around.ours)
            for t, why in around.differences():
                if why is None:
                    who = "here" if t in around.ours else "croniter"
                    unexplained.append(f"{expression}: {who} at {shown(zone, t)}, clocks change {shown(zone, change)}")
                else:
                    classes[why] += 1
    return compared, classes, unexplained


@pytest.mark.parametrize("zone", ZONES)
def test_it_is_croniter_but_for_differences_that_are_named(zone: str, years: int) -> None:
    compared, classes, unexplained = compared_in(zone, years)
    assert unexplained == []
    assert compared > 15_000 * years
    # most of these are minutes of an hour that comes twice
    assert classes.total() < compared / 50


def test_every_class_comes_up_and_is_listed_on_the_page_for_users(years: int) -> None:
    found = Counter[str]()
    for zone in ZONES:
        found += compared_in(zone, years)[1]
    page = (Path(__file__).parents[2] / "docs" / "schedules.md").read_text()
    assert set(found) == CLASSES
    assert [one for one in CLASSES if one not in page] == []


def test_in_a_week_without_a_change_there_is_no_difference(years: int) -> None:
    for zone in ZONES:
        begin = int(datetime(2026, 6, 8, tzinfo=UTC).timestamp() * 1000)
        assert not [change for change, _ in changes(zone, years) if begin <= change < begin + 7 * DAY_MS]
        for expression in EXPRESSIONS[5::10]:
            span = begin, begin + 7 * DAY_MS
            assert cron_times(Cron(expression, zone)).between(*span) == list(theirs_between(expression, zone, *span))


def test_there_are_enough_expressions_and_each_means_something_else(years: int) -> None:
    assert len(set(EXPRESSIONS)) == len(EXPRESSIONS) >= 200
    assert all(changes(zone, years) for zone in ZONES)

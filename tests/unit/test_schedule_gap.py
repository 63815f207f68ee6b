"""Tests of how close together a schedule's runs are, held against a list of them."""

from itertools import islice, pairwise, takewhile

import pytest
from cronsim import CronSim
from hypothesis import given, settings
from hypothesis import strategies as st

from everwatch.model import Align, At, Cron, Every
from everwatch.schedule.cron import JUDGED_FROM, RAREST
from everwatch.schedule.gap import shortest_gap_ms

MINUTE_MS, HOUR_MS, DAY_MS = 60_000, 3_600_000, 86_400_000


@pytest.mark.parametrize(
    ("expression", "gap_ms"),
    [
        ("* * * * *", MINUTE_MS),
        ("*/7 * * * *", 4 * MINUTE_MS),
        ("59,0 * * * *", MINUTE_MS),
        ("30 * * * *", HOUR_MS),
        ("0 9,17 * * *", 8 * HOUR_MS),
        ("50 0,23 * * *", HOUR_MS),
        ("50 0,23 * * 1", 23 * HOUR_MS),
        ("0 9 * * 1-5", DAY_MS),
        ("0 9 * * 1", 7 * DAY_MS),
        ("0 9 1 * *", 28 * DAY_MS),
        ("0 9 1,31 * *", DAY_MS),
        ("0 9 L * 1", DAY_MS),
        ("0 9 29 2 *", 1_461 * DAY_MS),
        ("0 9 1,29 2,3 *", DAY_MS),
    ],
)
def test_the_shortest_gap_of_a_cron_expression(expression: str, gap_ms: int) -> None:
    assert shortest_gap_ms(Cron(expression, "Europe/Berlin", 600_000)) == gap_ms


def test_an_interval_is_its_own_gap_and_a_task_has_none() -> None:
    assert shortest_gap_ms(Every(30_000)) == 30_000
    assert shortest_gap_ms(Every(6 * HOUR_MS, Align.MIDNIGHT, "UTC")) == 6 * HOUR_MS
    assert shortest_gap_ms(At(1_800_000_000_000)) is None


def listed(least: int, most: int) -> st.SearchStrategy[str]:
    numbers = st.lists(st.integers(least, most), min_size=1, max_size=4).map(lambda found: ",".join(map(str, found)))
    return st.one_of(st.just("*"), numbers, st.integers(1, most).map(lambda step: f"*/{step}"))


@settings(deadline=None, max_examples=60)
@given(listed(0, 59), listed(0, 23), st.one_of(st.just("*"), listed(1, 28)), st.one_of(st.just("*"), listed(0, 6)))
def test_no_two_runs_are_closer_than_the_shortest_gap(minute: str, hour: str, day: str, weekday: str) -> None:
    expression = f"{minute} {hour} {day} * {weekday}"
    gap_ms = shortest_gap_ms(Cron(expression, "UTC"))
    assert gap_ms is not None
    # within the years that are looked at: the next 29 February on a Friday may be further away
    end = JUDGED_FROM + 2 * RAREST
    runs = takewhile(lambda run: run < end, islice(CronSim(expression, JUDGED_FROM), 3_000))
    gaps = [int((later - former).total_seconds()) * 1_000 for former, later in pairwise(runs)]
    assert min(gaps) >= gap_ms
    # a list that reaches over a year has the shortest gap in it, but for leap days
    if len(gaps) == 2_999 and sum(gaps) < 366 * DAY_MS:
        return
    assert min(gaps) == gap_ms

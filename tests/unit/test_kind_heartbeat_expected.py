"""Tests of when a heartbeat is expected: by a cron expression with a time zone, or within daily windows."""

from datetime import datetime
from typing import Any

import pytest

from everwatch.kinds import registry
from everwatch.kinds.protocol import InlineView
from everwatch.model import Outcome, Status

LONG_AGO = "2020-01-01T00:00:00+00:00"
LATE, WELL = Status.LATE, Status.SUCCESS


def ms(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)


def judge(at: str, heard: str = "", began: str = LONG_AGO, **config: Any) -> Outcome:
    """The outcome at an instant, of a job that was heard last at another."""
    kind = registry.kind_named("heartbeat")
    assert kind.inline
    parsed = registry.parse_config(kind, config)
    # what is kept of a config means the same
    assert registry.parse_config(kind, registry.canonical_config(kind, parsed)) == parsed
    return kind.judge(parsed, InlineView(ms(began), ms(LONG_AGO), ms(heard) if heard else 0), ms(at))


NIGHTLY = {"cron": "0 3 * * MON-FRI", "timezone": "Europe/Berlin", "grace": "1h"}


@pytest.mark.parametrize(
    ("heard", "at", "status"),
    [
        # Friday, 2026-11-20, at three in Berlin, with an hour of grace
        ("2026-11-19T03:05:00+01:00", "2026-11-20T03:59:59.999+01:00", WELL),
        ("2026-11-19T03:05:00+01:00", "2026-11-20T04:00:00+01:00", LATE),
        ("2026-11-20T03:59:00+01:00", "2026-11-20T04:00:00+01:00", WELL),
        # nothing is expected at the weekend
        ("2026-11-20T03:05:00+01:00", "2026-11-23T03:59:59+01:00", WELL),
        ("2026-11-20T03:05:00+01:00", "2026-11-23T04:00:00+01:00", LATE),
        # a clock that is a little slow says that it was before three, and one that is a minute wrong is wrong
        ("2026-11-23T02:59:00+01:00", "2026-11-23T12:00:00+01:00", WELL),
        ("2026-11-23T02:58:59+01:00", "2026-11-23T12:00:00+01:00", LATE),
        # three in the morning of a summer, on the same clock
        ("2026-07-01T03:05:00+02:00", "2026-07-02T03:59:00+02:00", WELL),
        ("2026-07-01T03:05:00+02:00", "2026-07-02T04:00:00+02:00", LATE),
        ("2024-01-01T00:00:00+00:00", "2026-11-23T12:00:00+01:00", LATE),
    ],
)
def test_a_job_that_runs_by_cron_is_late_when_the_grace_of_a_time_is_over(heard: str, at: str, status: Status) -> None:
    assert judge(at, heard, **NIGHTLY).status is status


def test_the_reason_names_the_time_that_was_missed() -> None:
    assert judge("2026-11-20T04:00:00+01:00", "2026-11-19T03:00:00+01:00", **NIGHTLY).reason == (
        "no heartbeat for 1 d 1 h: one was expected at 2026-11-20 02:00:00Z"
        " (by '0 3 * * MON-FRI' Europe/Berlin, grace 1 h)"
    )


def test_a_job_that_never_reported_is_expected_at_the_first_time_after_it_was_put() -> None:
    put = "2026-11-20T03:00:01+01:00"
    assert judge("2026-11-23T03:59:00+01:00", began=put, **NIGHTLY).status is WELL
    late = judge("2026-11-23T04:00:00+01:00", began=put, **NIGHTLY)
    assert (late.status, late.reason[:37]) == (LATE, "no heartbeat since watching began 3 d")


def test_what_came_for_one_minute_does_not_count_for_the_next() -> None:
    every_minute = {"cron": "* * * * *", "grace": "10m"}
    heard = "2026-11-20T03:00:05+00:00"
    assert judge("2026-11-20T03:10:59+00:00", heard, **every_minute).status is WELL
    assert judge("2026-11-20T03:11:00+00:00", heard, **every_minute).status is LATE


def test_looks_in_any_order_find_the_same() -> None:
    heard = "2026-11-19T03:05:00+01:00"
    days = ["2026-11-23T05:00:00+01:00", "2026-11-20T01:00:00+01:00", "2026-12-20T01:00:00+01:00"]
    for day in [*days, *reversed(days)]:
        assert judge(day, heard, **NIGHTLY).status is (WELL if day == days[1] else LATE)


def test_an_expression_that_has_not_come_true_yet_expects_nothing() -> None:
    leap = {"cron": "0 0 29 2 *", "grace": "1d"}
    assert judge("2027-06-01T00:00:00+00:00", "2024-02-29T00:10:00+00:00", **leap).status is WELL
    assert judge("2028-03-01T00:00:00+00:00", "2024-02-29T00:10:00+00:00", **leap).status is LATE


OFFICE = {
    "period": "1h",
    "grace": "5m",
    "within": {"days": "mon - fri", "from": "08:00", "to": "18:00", "timezone": "Europe/Berlin"},
}


@pytest.mark.parametrize(
    ("heard", "at", "status"),
    [
        ("2026-11-20T09:00:00+01:00", "2026-11-20T10:05:00+01:00", WELL),
        ("2026-11-20T09:00:00+01:00", "2026-11-20T10:05:01+01:00", LATE),
        # Friday evening and the weekend do not count, and Monday goes on where Friday stopped
        ("2026-11-20T17:30:00+01:00", "2026-11-23T08:35:00+01:00", WELL),
        ("2026-11-20T17:30:00+01:00", "2026-11-23T08:35:00.001+01:00", LATE),
        ("2026-11-21T12:00:00+01:00", "2026-11-23T09:05:00+01:00", WELL),
        ("2026-11-21T12:00:00+01:00", "2026-11-23T09:05:01+01:00", LATE),
        # who is late on Friday stays late, and nobody becomes late in the evening
        ("2026-11-20T15:00:00+01:00", "2026-11-22T12:00:00+01:00", LATE),
        ("2026-11-20T16:55:00+01:00", "2026-11-20T18:00:01+01:00", WELL),
        ("2026-11-20T16:55:00+01:00", "2026-11-23T08:00:01+01:00", LATE),
    ],
)
def test_a_period_passes_only_within_its_windows(heard: str, at: str, status: Status) -> None:
    assert judge(at, heard, **OFFICE).status is status


def test_on_weekdays_once_a_day_means_that_friday_is_good_until_monday() -> None:
    weekdays = {"period": "1d", "grace": "1h", "within": {"days": "MON-FRI"}}
    assert judge("2026-11-23T11:00:00+00:00", "2026-11-20T10:00:00+00:00", **weekdays).status is WELL
    late = judge("2026-11-23T11:00:01+00:00", "2026-11-20T10:00:00+00:00", **weekdays)
    assert late.reason == "no heartbeat for 3 d 1 h (expected every 1 d within MON-FRI UTC, grace 1 h)"


def test_a_window_may_reach_over_midnight_and_over_a_change_of_the_clock() -> None:
    night = {"period": "2h", "grace": 0, "within": {"from": "22:00", "to": "06:00", "timezone": "Europe/Berlin"}}
    assert judge("2026-11-21T00:30:00+01:00", "2026-11-20T22:30:00+01:00", **night).status is WELL
    assert judge("2026-11-21T00:30:01+01:00", "2026-11-20T22:30:00+01:00", **night).status is LATE
    # clocks are put forward at two: the night has seven hours
    assert judge("2026-03-29T04:30:00+02:00", "2026-03-29T01:30:00+01:00", **night).status is WELL
    assert judge("2026-03-29T04:30:01+02:00", "2026-03-29T01:30:00+01:00", **night).status is LATE
    assert judge("2026-03-29T23:30:00+02:00", "2026-03-29T05:30:00+02:00", **night).status is WELL
    assert judge("2026-03-29T23:30:01+02:00", "2026-03-29T05:30:00+02:00", **night).status is LATE

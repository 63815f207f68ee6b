"""Schedules on the command line: every option alone, what is said when they do not fit together, and the words."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everwatch.cli.support.schedule_options import ScheduleOptions, maintenance_text, schedule_of, schedule_text
from everwatch.core.bounds import LATEST_MS
from everwatch.core.errors import SettingsError
from everwatch.model import Align, At, Cron, Every, Maintenance, MonitorSpec, Schedule
from everwatch.schedule.cron import zone_named
from everwatch.schedule.instant import EARLIEST_MS, Bare, instant_text, parse_instant_ms, parse_moment_ms

NINE_MS = 1_795_251_600_000  # 2026-11-21T09:00:00Z


@pytest.mark.parametrize(
    ("options", "schedule"),
    [
        ({}, {}),
        ({"every": "30s"}, {"every": "30s"}),
        ({"every": "6h", "align": Align.EPOCH}, {"every": "6h", "align": "epoch"}),
        (
            {"every": "6h", "align": Align.MIDNIGHT, "timezone": "Europe/Berlin"},
            {"every": "6h", "align": "midnight", "timezone": "Europe/Berlin"},
        ),
        ({"cron": "0 9 * * 1-5", "spread": "10m"}, {"cron": "0 9 * * 1-5", "spread": "10m"}),
        ({"cron": "0 9 * * *", "timezone": "Europe/Berlin"}, {"cron": "0 9 * * *", "timezone": "Europe/Berlin"}),
        ({"at": "2026-11-21T09:00:00Z"}, {"at": NINE_MS}),
        ({"in_": "90m"}, {"in": "90m"}),
        ({"in_": "0"}, {"in": "0"}),
        (
            {"start_at": "2026-11-21T09:00:00Z", "end_at": "2026-11-22T09:00:00Z", "max_runs": 3},
            {"start_at": NINE_MS, "end_at": NINE_MS + 86_400_000, "max_runs": 3},
        ),
    ],
)
def test_options_become_the_schedule_of_a_signup(options: dict[str, Any], schedule: dict[str, Any]) -> None:
    assert schedule_of(ScheduleOptions(**options)) == schedule


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"every": "1m", "cron": "* * * * *"}, "Give one of --every, --cron, --at and --in, not --every and --cron."),
        ({"at": "x", "in_": "1m"}, "Give one of --every, --cron, --at and --in, not --at and --in."),
        ({"timezone": "UTC"}, "--timezone goes with --cron, or with --every and --align midnight."),
        ({"in_": "1m", "timezone": "UTC"}, "--timezone goes with --cron, or with --every and --align midnight."),
        (
            {"every": "1h", "align": Align.EPOCH, "timezone": "UTC"},
            "--timezone goes with --cron, or with --every and --align midnight.",
        ),
        ({"align": Align.EPOCH}, "--align goes with --every and nothing else."),
        ({"cron": "* * * * *", "align": Align.MIDNIGHT}, "--align goes with --every and nothing else."),
        ({"every": "1h", "spread": "10m"}, "--spread goes with --cron and nothing else."),
    ],
)
def test_options_that_do_not_fit_are_refused_in_a_sentence(options: dict[str, Any], told: str) -> None:
    with pytest.raises(SettingsError) as caught:
        schedule_of(ScheduleOptions(**options))
    assert str(caught.value) == told


@pytest.mark.parametrize(
    ("schedule", "bounds", "words"),
    [
        (Every(5_400_000), {}, "every 1h30m"),
        (Every(3_600_000, Align.EPOCH), {}, "every 1h from midnight 1970 in UTC"),
        (Every(21_600_000, Align.MIDNIGHT, "Europe/Berlin"), {}, "every 6h from midnight in Europe/Berlin"),
        (Cron("0 9 * * 1-5", "Asia/Tokyo"), {}, "at 0 9 * * 1-5 in Asia/Tokyo"),
        (Cron("0 9 * * *", "UTC", 600_000), {}, "at 0 9 * * * in UTC, spread over 10m"),
        (At(NINE_MS), {}, "once at 2026-11-21 09:00:00Z"),
        (At(NINE_MS + 250), {}, "once at 2026-11-21 09:00:00.250Z"),
        (
            Every(1_000),
            {"start_at": NINE_MS, "end_at": NINE_MS + 60_000, "max_runs": 3},
            "every 1s, from 2026-11-21 09:00:00Z, until 2026-11-21 09:01:00Z, 3 times at most",
        ),
    ],
)
def test_a_schedule_is_told_in_words(schedule: Schedule, bounds: dict[str, int], words: str) -> None:
    assert schedule_text(MonitorSpec("m", "noop", "{}", schedule, **bounds)) == words


def test_maintenance_is_told_in_words() -> None:
    assert maintenance_text(Maintenance(NINE_MS, NINE_MS + 60_000)) == (
        "from 2026-11-21 09:00:00Z to 2026-11-21 09:01:00Z"
    )
    assert maintenance_text(Maintenance(cron="0 2 * * 6", timezone="Europe/Berlin", duration_ms=7_200_000)) == (
        "2h from 0 2 * * 6 in Europe/Berlin"
    )


@given(st.integers(EARLIEST_MS, LATEST_MS))
def test_an_instant_as_told_can_be_given_again(instant_ms: int) -> None:
    assert parse_instant_ms(instant_text(instant_ms)) == instant_ms
    berlin = instant_text(instant_ms, zone_named("Europe/Berlin"))
    assert parse_instant_ms(berlin) == instant_ms


@pytest.mark.parametrize(
    ("text", "past", "future"),
    [
        ("now", 0, 0),
        ("1h", -3_600_000, 3_600_000),
        ("90", -90_000, 90_000),
        ("PT1M", -60_000, 60_000),
        ("-1h", -3_600_000, -3_600_000),
        ("+1h30m", 5_400_000, 5_400_000),
        ("2026-11-21T10:00:00+01:00", 0, 0),
        ("2026-11-21 09:00:00Z", 0, 0),
        (str(NINE_MS), 0, 0),
    ],
)
def test_an_option_takes_an_instant_a_number_or_a_duration_from_now(text: str, past: int, future: int) -> None:
    assert parse_moment_ms(text, NINE_MS, Bare.PAST) - NINE_MS == past
    assert parse_moment_ms(text, NINE_MS, Bare.FUTURE) - NINE_MS == future


@pytest.mark.parametrize("text", ["", "noon", "-", "+", "--1h", "1 fortnight", "+2026-11-21T09:00:00Z", "9" * 20])
def test_what_is_neither_is_told_in_a_sentence(text: str) -> None:
    with pytest.raises(ValueError, match=r"neither an instant such as|is not between the years"):
        parse_moment_ms(text, NINE_MS, Bare.PAST)


def test_an_instant_without_its_zone_is_told_as_that() -> None:
    with pytest.raises(ValueError, match="does not say in which time zone"):
        parse_moment_ms("2026-11-21T09:00:00", NINE_MS, Bare.PAST)

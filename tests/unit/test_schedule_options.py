"""How schedules are given on the command line: every option alone, and what is said when they do not fit together."""

import pytest

from everwatch.cli.signup import schedule_of
from everwatch.clock import SettableClock
from everwatch.errors import SettingsError

NOW = 1_795_262_400_000
OPTIONS = ("every", "cron", "timezone", "at", "in_")


def given(**options: str) -> dict[str, str | int]:
    return schedule_of(*(options.get(name) for name in OPTIONS), clock=SettableClock(NOW))


@pytest.mark.parametrize(
    ("options", "schedule"),
    [
        ({}, {}),
        ({"every": "30s"}, {"every": "30s"}),
        ({"cron": "0 9 * * 1-5"}, {"cron": "0 9 * * 1-5"}),
        ({"cron": "0 9 * * *", "timezone": "Europe/Berlin"}, {"cron": "0 9 * * *", "timezone": "Europe/Berlin"}),
        ({"at": "2026-11-21T09:00:00Z"}, {"at": "2026-11-21T09:00:00Z"}),
        ({"in_": "90m"}, {"at": NOW + 90 * 60_000}),
        ({"in_": "0"}, {"at": NOW}),
    ],
)
def test_options_become_the_schedule_of_a_signup(options: dict[str, str], schedule: dict[str, str | int]) -> None:
    assert given(**options) == schedule


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"every": "1m", "cron": "* * * * *"}, "Give one of --every, --cron, --at and --in, not --every and --cron."),
        ({"at": "x", "in_": "1m"}, "Give one of --every, --cron, --at and --in, not --at and --in."),
        ({"timezone": "UTC"}, "--timezone goes with --cron and nothing else."),
        ({"in_": "1m", "timezone": "UTC"}, "--timezone goes with --cron and nothing else."),
        ({"in_": "P1M"}, "--in: 'P1M' has years or months, whose length varies: write days instead."),
    ],
)
def test_options_that_do_not_fit_are_refused_in_a_sentence(options: dict[str, str], told: str) -> None:
    with pytest.raises(SettingsError) as caught:
        given(**options)
    assert str(caught.value) == told

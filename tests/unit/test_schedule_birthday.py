"""Once a year: birthdays, and that of 29 February."""

from datetime import UTC, datetime

import pytest

from everwatch.model import Cron
from everwatch.schedule.birthday import birthday_expression
from everwatch.schedule.cron import CronTimes, read_expression


def days(expression: str) -> list[str]:
    begin, end = (int(datetime(year, 1, 1, tzinfo=UTC).timestamp() * 1000) for year in (2026, 2034))
    found = CronTimes(Cron(expression)).between(begin, end)
    return [datetime.fromtimestamp(t / 1000, UTC).strftime("%Y-%m-%d %H:%M") for t in found]


def test_a_birthday_comes_once_a_year() -> None:
    assert birthday_expression(11, 21) == "0 9 21 11 *"
    assert birthday_expression(11, 21, hour=18, minute=30) == "30 18 21 11 *"
    assert days(birthday_expression(11, 21)) == [f"{year}-11-21 09:00" for year in range(2026, 2034)]


def test_who_is_born_on_29_february_is_greeted_each_year_on_the_last_day_of_february() -> None:
    assert days(birthday_expression(2, 29)) == [
        f"{year}-02-{29 if year in (2028, 2032) else 28} 09:00" for year in range(2026, 2034)
    ]


def test_plain_cron_has_29_february_in_leap_years_alone() -> None:
    assert days("0 9 29 2 *") == ["2028-02-29 09:00", "2032-02-29 09:00"]


def test_every_day_that_exists_can_be_a_birthday() -> None:
    lengths = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
    for month, length in enumerate(lengths, 1):
        for day in range(1, length + 1):
            read_expression(birthday_expression(month, day))
        with pytest.raises(ValueError):
            birthday_expression(month, length + 1)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ((2, 30), "February has no day 30"),
        ((4, 31), "April has no day 31"),
        ((1, 0), "January has no day 0"),
        ((13, 1), "there is no month 13"),
        ((0, 1), "there is no month 0"),
        ((1, 1, 24), "there is no time of day 24:00"),
        ((1, 1, 9, 60), "there is no time of day 09:60"),
    ],
)
def test_what_does_not_exist_is_refused_in_a_sentence(given: tuple[int, ...], told: str) -> None:
    with pytest.raises(ValueError) as caught:
        birthday_expression(*given)
    assert str(caught.value) == told

"""Intervals counted from local midnights, on ordinary days and on those that are longer, shorter or begin oddly."""

from datetime import datetime

import pytest

from everwatch.model import Align, Cron, Every
from everwatch.schedule.cron import zone_named
from everwatch.schedule.due import due_in
from everwatch.schedule.duration import DAY_MS, HOUR_MS, MINUTE_MS
from everwatch.schedule.every import phase_of
from everwatch.schedule.midnight import MidnightTimes, check_alignment, midnight_times
from everwatch.schedule.wall_times import wall_times

BERLIN, HAVANA, CAIRO, APIA = "Europe/Berlin", "America/Havana", "Africa/Cairo", "Pacific/Apia"
KEY = b"user-1\0report"


def ms(text: str) -> int:
    instant = datetime.fromisoformat(text)
    assert instant.tzinfo is not None
    return int(instant.timestamp() * 1000)


def counted(interval_ms: int, timezone: str) -> Every:
    return Every(interval_ms, Align.MIDNIGHT, timezone)


def due(interval_ms: int, timezone: str, after: str, upto: str) -> list[str]:
    """The due instants as the zone's own clock shows them, with its offset."""
    zone = zone_named(timezone)
    instants = MidnightTimes(counted(interval_ms, timezone)).between(ms(after), ms(upto))
    return [datetime.fromtimestamp(t / 1000, zone).isoformat(timespec="minutes") for t in instants]


def test_every_six_hours_is_at_midnight_six_noon_and_six() -> None:
    assert due(6 * HOUR_MS, BERLIN, "2026-11-21T00:00+01:00", "2026-11-22T00:00+01:00") == [
        "2026-11-21T06:00+01:00", "2026-11-21T12:00+01:00", "2026-11-21T18:00+01:00", "2026-11-22T00:00+01:00",
    ]  # fmt: skip


def test_a_day_of_23_hours_has_less_of_them_and_midnight_sets_them_right() -> None:
    assert due(6 * HOUR_MS, BERLIN, "2027-03-27T23:59+01:00", "2027-03-29T06:00+02:00") == [
        "2027-03-28T00:00+01:00", "2027-03-28T07:00+02:00", "2027-03-28T13:00+02:00", "2027-03-28T19:00+02:00",
        "2027-03-29T00:00+02:00", "2027-03-29T06:00+02:00",
    ]  # fmt: skip
    hours = due(HOUR_MS, BERLIN, "2027-03-27T23:59+01:00", "2027-03-28T23:59+02:00")
    assert len(hours) == 23


def test_a_day_of_25_hours_has_more_of_them() -> None:
    assert due(12 * HOUR_MS, BERLIN, "2027-10-30T23:59+02:00", "2027-11-01T00:00+01:00") == [
        "2027-10-31T00:00+02:00", "2027-10-31T11:00+01:00", "2027-10-31T23:00+01:00", "2027-11-01T00:00+01:00",
    ]  # fmt: skip
    hours = due(HOUR_MS, BERLIN, "2027-10-30T23:59+02:00", "2027-10-31T23:59+01:00")
    assert len(hours) == 25


def test_once_a_day_is_at_midnight_alone_however_long_the_day() -> None:
    assert due(DAY_MS, BERLIN, "2027-10-30T12:00+02:00", "2027-11-01T12:00+01:00") == [
        "2027-10-31T00:00+02:00", "2027-11-01T00:00+01:00",
    ]  # fmt: skip


def test_every_third_day_is_counted_from_1970_by_the_calendar() -> None:
    assert (datetime(2027, 10, 26) - datetime(1970, 1, 1)).days % 3 == 0
    assert due(3 * DAY_MS, BERLIN, "2027-10-27T12:00+02:00", "2027-11-05T00:00+01:00") == [
        "2027-10-29T00:00+02:00", "2027-11-01T00:00+01:00", "2027-11-04T00:00+01:00",
    ]  # fmt: skip


def test_where_midnight_does_not_exist_the_day_begins_at_the_end_of_the_gap() -> None:
    assert due(12 * HOUR_MS, CAIRO, "2026-04-23T13:00+02:00", "2026-04-24T23:59+03:00") == [
        "2026-04-24T01:00+03:00", "2026-04-24T13:00+03:00",
    ]  # fmt: skip


def test_where_midnight_comes_twice_the_day_begins_at_the_first() -> None:
    assert due(12 * HOUR_MS, HAVANA, "2027-11-06T13:00-04:00", "2027-11-08T00:00-05:00") == [
        "2027-11-07T00:00-04:00", "2027-11-07T11:00-05:00", "2027-11-07T23:00-05:00", "2027-11-08T00:00-05:00",
    ]  # fmt: skip


def test_a_day_that_a_zone_left_out_has_no_midnight() -> None:
    # Samoa went from 29 to 31 December 2011
    assert due(DAY_MS, APIA, "2011-12-28T12:00-10:00", "2012-01-01T12:00+14:00") == [
        "2011-12-29T00:00-10:00", "2011-12-31T00:00+14:00", "2012-01-01T00:00+14:00",
    ]  # fmt: skip
    assert (datetime(2011, 12, 30) - datetime(1970, 1, 1)).days % 2 == 0
    assert due(2 * DAY_MS, APIA, "2011-12-28T12:00-10:00", "2012-01-03T12:00+14:00") == [
        "2012-01-01T00:00+14:00", "2012-01-03T00:00+14:00"
    ]  # fmt: skip


@pytest.mark.parametrize("interval_ms", [1_000, 90_000, 5 * MINUTE_MS, 8 * HOUR_MS, DAY_MS, 2 * DAY_MS, 30 * DAY_MS])
def test_what_divides_a_day_or_is_made_of_days_can_be_counted_from_midnight(interval_ms: int) -> None:
    check_alignment(interval_ms)


@pytest.mark.parametrize(
    ("interval_ms", "told"),
    [
        (7 * MINUTE_MS, "7 min neither divides"),
        (5 * HOUR_MS, "5 h neither divides"),
        (36 * HOUR_MS, "1 d 12 h neither divides"),
        (0, "0 s neither divides"),
    ],
)
def test_another_interval_is_refused_in_a_sentence(interval_ms: int, told: str) -> None:
    for attempt in (lambda: check_alignment(interval_ms), lambda: wall_times(counted(interval_ms, BERLIN))):
        with pytest.raises(ValueError) as caught:
            attempt()
        expected = f"{told} 24 hours nor is a whole number of days, so it cannot be counted from midnight"
        assert str(caught.value) == expected


def test_the_calendars_end_is_the_end() -> None:
    times = MidnightTimes(counted(DAY_MS, "UTC"))
    assert times.next_after(ms("9999-12-31T12:00Z")) is None
    assert times.between(ms("9999-12-31T12:00Z"), ms("9999-12-31T23:59Z")) == []


def test_schedules_that_are_the_same_share_their_times() -> None:
    assert midnight_times(counted(HOUR_MS, BERLIN)) is wall_times(counted(HOUR_MS, BERLIN))
    assert wall_times(counted(HOUR_MS, BERLIN)) is not wall_times(counted(HOUR_MS, CAIRO))
    assert wall_times(Cron("1 2 * * *", BERLIN)) is wall_times(Cron("1 2 * * *", BERLIN, spread_ms=60_000))


def test_all_monitors_counted_from_midnight_or_from_the_epoch_are_due_together() -> None:
    begin = ms("2026-11-21T00:00Z")
    for align, zone in ((Align.EPOCH, ""), (Align.MIDNIGHT, "UTC")):
        schedule = Every(HOUR_MS, align, zone)
        for key in (b"a\0b", b"c\0d"):
            found = list(due_in(schedule, key, begin, begin, begin + 3 * HOUR_MS))
            assert found == [begin + HOUR_MS, begin + 2 * HOUR_MS, begin + 3 * HOUR_MS]


def test_the_epoch_is_phase_zero_and_midnight_has_no_phase() -> None:
    assert phase_of(KEY, Every(HOUR_MS, Align.EPOCH)) == 0
    assert phase_of(KEY, Every(HOUR_MS)) > 0
    with pytest.raises(AssertionError):
        phase_of(KEY, counted(HOUR_MS, BERLIN))

"""Cron schedules where it gets difficult: when clocks change, at the end of the calendar, and from wherever one looks.

Berlin's clocks go forward on 28 March 2027 at 02:00 and back on 31 October 2027 at 03:00, New York's on 14 March at
02:00 and on 7 November at 02:00; in 2026 it is 29 March and 25 October, 8 March and 1 November.
"""

import zoneinfo
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from pathlib import Path

import pytest
from cronsim import CronSim
from support.calls import calls_of

from everwatch.model import Cron
from everwatch.schedule.cron import CronTimes, cron_times, read_expression, zone_named

BERLIN, NEW_YORK, LORD_HOWE = "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"
MINUTE_MS, DAY_MS = 60_000, 86_400_000


def ms(text: str) -> int:
    instant = datetime.fromisoformat(text)
    assert instant.tzinfo is not None
    return int(instant.timestamp() * 1000)


def due(expression: str, timezone: str, after: str, upto: str) -> list[str]:
    """The due instants as the zone's own clock shows them, with its offset."""
    instants = CronTimes(Cron(expression, timezone)).between(ms(after), ms(upto))
    zone = zone_named(timezone)
    return [datetime.fromtimestamp(t / 1000, zone).isoformat(timespec="minutes") for t in instants]


FORWARD = {
    (BERLIN, 2026): ("2026-03-29", "+01:00", "+02:00"),
    (BERLIN, 2027): ("2027-03-28", "+01:00", "+02:00"),
    (NEW_YORK, 2026): ("2026-03-08", "-05:00", "-04:00"),
    (NEW_YORK, 2027): ("2027-03-14", "-05:00", "-04:00"),
}
BACK = {
    (BERLIN, 2026): ("2026-10-25", 2, "+02:00", "+01:00"),
    (BERLIN, 2027): ("2027-10-31", 2, "+02:00", "+01:00"),
    (NEW_YORK, 2026): ("2026-11-01", 1, "-04:00", "-05:00"),
    (NEW_YORK, 2027): ("2027-11-07", 1, "-04:00", "-05:00"),
}


@pytest.mark.parametrize(("zone", "year"), FORWARD)
def test_a_time_of_day_that_does_not_exist_is_due_when_the_gap_ends(zone: str, year: int) -> None:
    day, before, after = FORWARD[zone, year]
    span = f"{day}T00:00{before}", f"{day}T23:59{after}"
    assert due("30 2 * * *", zone, *span) == [f"{day}T03:00{after}"]
    assert due("0 2 * * *", zone, *span) == [f"{day}T03:00{after}"]
    # once, though three times of day come to the same instant
    assert due("0,30 1-3 * * *", zone, *span) == [
        f"{day}T01:00{before}", f"{day}T01:30{before}", f"{day}T03:00{after}", f"{day}T03:30{after}"
    ]  # fmt: skip


@pytest.mark.parametrize(("zone", "year"), FORWARD)
def test_what_is_due_all_the_time_leaves_the_gap_out(zone: str, year: int) -> None:
    day, before, after = FORWARD[zone, year]
    assert due("*/30 * * * *", zone, f"{day}T01:00{before}", f"{day}T03:30{after}") == [
        f"{day}T01:30{before}", f"{day}T03:00{after}", f"{day}T03:30{after}"
    ]  # fmt: skip
    assert due("*/30 2 * * *", zone, f"{day}T00:00{before}", f"{day}T23:59{after}") == []


@pytest.mark.parametrize(("zone", "year"), BACK)
def test_a_time_of_day_that_exists_twice_is_due_the_first_time(zone: str, year: int) -> None:
    day, hour, before, after = BACK[zone, year]
    span = f"{day}T00:00{before}", f"{day}T23:59{after}"
    assert due(f"30 {hour} * * *", zone, *span) == [f"{day}T0{hour}:30{before}"]
    assert due(f"0 {hour},{hour + 1} * * *", zone, *span) == [
        f"{day}T0{hour}:00{before}", f"{day}T0{hour + 1}:00{after}"
    ]  # fmt: skip


@pytest.mark.parametrize(("zone", "year"), BACK)
def test_what_is_due_all_the_time_is_due_in_both_hours(zone: str, year: int) -> None:
    day, hour, before, after = BACK[zone, year]
    assert due("*/30 * * * *", zone, f"{day}T0{hour - 1}:30{before}", f"{day}T0{hour + 1}:00{after}") == [
        f"{day}T0{hour}:00{before}", f"{day}T0{hour}:30{before}",
        f"{day}T0{hour}:00{after}", f"{day}T0{hour}:30{after}", f"{day}T0{hour + 1}:00{after}",
    ]  # fmt: skip


@pytest.mark.parametrize("zone", [BERLIN, NEW_YORK])
@pytest.mark.parametrize(
    "expression",
    ["30 2 * * *", "0 0 * * *", "0,30 1-3 * * *", "*/20 * * * *", "*/30 2 * * *", "15 */2 * * *", "7 * * * 7"],
)
def test_through_two_years_of_changing_clocks_it_is_what_cronsim_says(zone: str, expression: str) -> None:
    begin, end = datetime(2026, 1, 1, tzinfo=UTC), datetime(2028, 1, 1, tzinfo=UTC)
    theirs = []
    for found in CronSim(expression, begin.astimezone(zone_named(zone))):
        if found.astimezone(UTC) > end:
            break
        theirs.append(int(found.timestamp() * 1000))
    ours = CronTimes(Cron(expression, zone)).between(int(begin.timestamp() * 1000), int(end.timestamp() * 1000))
    assert ours == theirs


@pytest.mark.parametrize(
    ("zone", "change"),
    [
        (BERLIN, "2027-03-28T01:00Z"), (BERLIN, "2027-10-31T01:00Z"), (NEW_YORK, "2027-11-07T06:00Z"),
        (LORD_HOWE, "2027-10-02T15:30Z"), (LORD_HOWE, "2027-04-03T15:00Z"),  # by half an hour
        ("Africa/Cairo", "2027-04-29T22:00Z"), ("Antarctica/Troll", "2027-10-31T01:00Z"),  # at midnight; by two hours
    ],
)  # fmt: skip
@pytest.mark.parametrize("expression", ["*/15 2 * * *", "0 */8 * * *", "15 */3 * * *", "30 0-3 * * *", "*/30 0 * * *"])
def test_from_wherever_one_begins_to_look_the_same_is_due(zone: str, change: str, expression: str) -> None:
    begin, end = ms(change) - 30 * 60 * MINUTE_MS, ms(change) + 30 * 60 * MINUTE_MS
    everything = CronTimes(Cron(expression, zone)).between(begin, end)
    for after in range(begin, end, 13 * MINUTE_MS):
        assert CronTimes(Cron(expression, zone)).between(after, end) == [t for t in everything if t > after]


def test_what_is_due_each_minute_is_found_from_within_an_hour_that_comes_twice() -> None:
    back = ms("2027-10-31T01:00Z")
    for after in range(back - 3 * 60 * MINUTE_MS, back + 3 * 60 * MINUTE_MS, 7 * MINUTE_MS):
        assert CronTimes(Cron("* * * * *", "Antarctica/Troll")).next_after(after) == after + MINUTE_MS


def test_half_an_hours_change_leaves_the_day_after_it_alone() -> None:
    assert due("0 */8 * * *", LORD_HOWE, "2027-04-04T01:00+11:00", "2027-04-05T00:00+10:30") == [
        "2027-04-04T08:00+10:30", "2027-04-04T16:00+10:30", "2027-04-05T00:00+10:30"
    ]  # fmt: skip


def test_the_next_instant_lies_strictly_after() -> None:
    times = cron_times(Cron("*/5 * * * *"))
    five = ms("2026-11-21T09:05Z")
    assert times.next_after(five - 1) == five
    assert times.next_after(five) == five + 5 * MINUTE_MS
    assert times.next_after(five + 1) == five + 5 * MINUTE_MS


def test_one_may_ask_in_any_order() -> None:
    times = cron_times(Cron("0 9 * * *"))
    nine = ms("2026-11-21T09:00Z")
    asked = [nine + n * DAY_MS for n in (0, 1, 2, 700, 3, -500, 0)]
    assert [times.next_after(t) for t in asked] == [t + DAY_MS for t in asked]


def test_asking_sweep_by_sweep_does_not_read_the_expression_again_each_time() -> None:
    times = CronTimes(Cron("* * * * *"))
    at = ms("2026-11-21T09:00Z")
    with calls_of(CronSim.__init__) as begun:
        found = [t for step in range(6_000) for t in times.between(at + step * 1_000, at + step * 1_000 + 1_000)]
    assert found == [at + n * MINUTE_MS for n in range(1, 101)]
    assert len(begun) == 2


def test_schedules_that_are_the_same_share_their_times() -> None:
    assert cron_times(Cron("1 2 * * *", BERLIN)) is cron_times(Cron("1 2 * * *", BERLIN))
    assert cron_times(Cron("1 2 * * *", BERLIN)) is not cron_times(Cron("1 2 * * *", NEW_YORK))


def test_leap_days_are_found_and_the_calendars_end_is_the_end() -> None:
    times = cron_times(Cron("0 0 29 2 *"))
    assert times.next_after(ms("2026-11-21T00:00Z")) == ms("2028-02-29T00:00Z")
    assert times.next_after(ms("9999-12-31T00:00Z")) is None
    assert times.between(ms("9999-12-31T00:00Z"), ms("9999-12-31T23:59Z")) == []


@pytest.mark.parametrize("expression", ["0 0 29 2 *", "0 0 31 12 *", "0 0 L 2 *", "0 0 * * MON#5", "0 0 LW * *"])
def test_what_is_rare_but_comes_true_is_taken(expression: str) -> None:
    read_expression(expression)


def test_zones_come_from_the_package_and_not_from_the_machine(tmp_path: Path) -> None:
    (tmp_path / "Pacific").mkdir()
    utc = files("tzdata").joinpath("zoneinfo", "UTC").read_bytes()
    (tmp_path / "Pacific" / "Auckland").write_bytes(utc)  # a machine that has it wrong
    zoneinfo.reset_tzpath(to=[tmp_path])
    zone_named.cache_clear()
    try:
        noon = datetime(2026, 7, 1, 12, tzinfo=zone_named("Pacific/Auckland"))
    finally:
        zoneinfo.reset_tzpath()
    assert noon.utcoffset() == timedelta(hours=12)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("0 9 * * MON-SUN", "0 9 * * *"),
        ("0 9 * * sat-sun", "0 9 * * 0,6"),
        ("0 9 * * MON,FRI-SUN", "0 9 * * 0,1,5,6"),
        ("0 9 * * MON-SUN/3", "0 9 * * 1,4,0"),
        ("0 9 * * SUN-SAT", "0 9 * * *"),
        ("0 9 * * SUN-SUN", "0 9 * * 0"),
        ("@hourly", "0 * * * *"),
        (" @Daily ", "0 0 * * *"),
        ("@midnight", "0 0 * * *"),
        ("@weekly", "0 0 * * 0"),
        ("@monthly", "0 0 1 * *"),
        ("@yearly", "0 0 1 1 *"),
        ("@annually", "0 0 1 1 *"),
    ],
)
def test_ranges_that_end_on_sunday_and_nicknames_are_due_as_in_cron(written: str, meant: str) -> None:
    span = "2026-01-01T00:00+00:00", "2027-02-01T00:00+00:00"
    assert due(read_expression(written), "UTC", *span) == due(meant, "UTC", *span) != []


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("0 9 * * FRI-MON", "'FRI-MON' cannot be the day of week of a cron expression: the range runs backwards"),
        ("0 17-9 * * *", "'17-9' cannot be the hour of a cron expression: the range runs backwards"),
        ("1,2,99 * * * *", "'99' in '1,2,99' cannot be the minute of a cron expression: 0 to 59"),
        ("0 0 32 * *", "'32' cannot be the day of month of a cron expression: 1 to 31, L or LW"),
        ("0 0 1 13 *", "'13' cannot be the month of a cron expression: 1 to 12 or JAN to DEC"),
        ("0 0 * * 8", "'8' cannot be the day of week of a cron expression: 0 to 7 (0 and 7 are Sunday)"),
        ("*/0 0 * * *", "'*/0' cannot be the minute of a cron expression"),
        ("0 0 * * SUNDAY", "'SUNDAY' cannot be the day of week of a cron expression"),
        ("@fortnightly", "'@fortnightly' is none of @yearly, @annually, @monthly, @weekly, @daily, @midnight, @hourly"),
        ("@reboot", "'@reboot' is no time"),
        ("", "'' has 0 fields, but a cron expression has five"),
        ("0 0 31 2 *", "'0 0 31 2 *' never comes true"),
    ],
)
def test_a_refusal_names_the_field_that_is_wrong_and_what_it_may_be(written: str, told: str) -> None:
    with pytest.raises(ValueError) as caught:
        read_expression(written)
    assert str(caught.value).startswith(told)

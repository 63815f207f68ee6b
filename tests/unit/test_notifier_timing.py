"""Quiet hours and digests: when a route tells what waits."""

from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.notifying import HOUR, MINUTE, RULES, SECOND, START, Notifying, transition

from everwatch.core.config import Settings
from everwatch.model import Cron
from everwatch.notifier.addresses import EmailAddress
from everwatch.notifier.alerts import Severity
from everwatch.notifier.rules_file import WrongRules, rules_of
from everwatch.notifier.timing import QuietHours, Timing, flush_at

BERLIN = ZoneInfo("Europe/Berlin")
NIGHT = QuietHours(Cron("0 22 * * *", "Europe/Berlin"), Cron("0 7 * * *", "Europe/Berlin"))
# 09:00 in Berlin
MORNING = START
DAY = 24 * HOUR


def wall(at: int) -> datetime:
    return datetime.fromtimestamp(at / 1000, BERLIN)


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=BERLIN).timestamp() * 1000)


@given(st.integers(0, 400 * 24 * 60))
def test_quiet_hours_are_over_at_seven_by_the_wall_clock_and_nothing_else_waits(minutes: int) -> None:
    now = MORNING + minutes * MINUTE
    over = NIGHT.over_at(now)
    is_night = wall(now).hour >= 22 or wall(now).hour < 7
    assert (over > now) == is_night
    if is_night:
        assert (wall(over).hour, wall(over).minute) == (7, 0)
        assert over - now <= 10 * HOUR
        assert NIGHT.over_at(over) == over


@pytest.mark.parametrize("day", ["2027-03-28", "2027-10-31"])
def test_the_night_in_which_clocks_change_ends_at_seven(day: str) -> None:
    assert NIGHT.over_at(at(f"{day}T01:30")) == at(f"{day}T07:00")


def test_what_wakes_is_told_at_night() -> None:
    timing = Timing(quiet=QuietHours(NIGHT.begins, NIGHT.ends, frozenset({Severity.CRITICAL})))
    night = at("2027-01-15T23:00")
    assert flush_at(timing, night, 0, Severity.CRITICAL) == night + 30 * SECOND
    assert flush_at(timing, night, 0, Severity.WARNING) == at("2027-01-16T07:00")


def test_what_would_be_told_within_the_night_waits_too() -> None:
    timing = Timing(wait_ms=5 * MINUTE, quiet=NIGHT)
    assert flush_at(timing, at("2027-01-15T21:58"), 0) == at("2027-01-16T07:00")
    assert flush_at(timing, at("2027-01-15T21:50"), 0) == at("2027-01-15T21:55")


def test_a_digest_tells_at_its_hour_only() -> None:
    timing = Timing(digest=Cron("0 8 * * *", "Europe/Berlin"))
    assert flush_at(timing, at("2027-01-15T08:00"), 0) == at("2027-01-16T08:00")
    assert flush_at(timing, at("2027-01-16T07:59"), at("2027-01-15T08:00")) == at("2027-01-16T08:00")


def test_quiet_hours_and_digests_are_read_from_the_file() -> None:
    text = """
        [defaults]
        quiet_hours = { from = "22:00", to = "07:00", timezone = "Europe/Berlin", wakes = ["critical"] }
        [[operators]]
        name = "night"
        slack = { url = "https://a.example/" }
        [[operators]]
        name = "always"
        quiet_hours = { from = "00:00", to = "00:00" }
        slack = { url = "https://a.example/" }
        [[operators]]
        name = "daily"
        digest = { cron = "@daily" }
        slack = { url = "https://a.example/" }
        """
    night, always, daily = (route.timing for route in rules_of(text.encode(), Path("n.toml")).routes)
    assert night.quiet == QuietHours(NIGHT.begins, NIGHT.ends, frozenset({Severity.CRITICAL}))
    assert always.quiet is None
    assert daily.digest == Cron("0 0 * * *")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('quiet_hours = { from = "22", to = "07:00" }', "operators[0].quiet_hours.from"),
        ('quiet_hours = { from = "22:00", to = "07:00", timezone = "berlin" }', "did you mean Europe/Berlin?"),
        ('quiet_hours = { from = "22:00", to = "07:00", days = "x" }', "operators[0].quiet_hours"),
        ('digest = { cron = "0 25 * * *" }', "operators[0].digest"),
        ('digest = { cron = "0 8 * * *" }\nafter = "5m"', "a digest or an escalation"),
        ('after = "soon"', "operators[0].after"),
    ],
)
def test_a_wrong_time_is_refused_with_its_place(line: str, said: str) -> None:
    text = f'[[operators]]\nname = "a"\nslack = {{ url = "https://a.example/" }}\n{line}\n'
    with pytest.raises(WrongRules) as refused:
        rules_of(text.encode(), Path("n.toml"))
    assert said in str(refused.value)


async def test_what_happens_at_night_is_one_mail_in_the_morning_and_what_is_over_is_one_line(tmp_path: Path) -> None:
    rules = RULES.replace(
        'name = "mail"', 'name = "mail"\nquiet_hours = { from = "22:00", to = "07:00", timezone = "Europe/Berlin" }'
    )
    notifying = Notifying(Settings(data_dir=tmp_path), rules)
    notifying.sign_up()
    notifying.clock.advance(at("2027-01-15T23:00") - START)
    night_s = (at("2027-01-15T23:00") - START) / 1000
    notifying.tell(transition("up", "down", night_s), transition("up", "down", night_s + 1, monitor_id="other"))
    await notifying.work()
    notifying.tell(transition("down", "up", night_s + 300))
    await notifying.later(5 * MINUTE)
    assert notifying.receiver.summaries(EmailAddress) == []
    await notifying.later(at("2027-01-16T07:00") - notifying.clock.now_ms())
    assert notifying.receiver.summaries(EmailAddress) == ["opened closed"]
    notifying.close()

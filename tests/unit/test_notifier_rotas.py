"""On-call rotas: whom a route reaches at an instant, the shifts to come, and the calendar."""

from datetime import datetime
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

import orjson
import pytest
from typer.testing import CliRunner

from everwatch.cli.commands import notify
from everwatch.notifier.addresses import EmailAddress
from everwatch.notifier.alerts import derived_id
from everwatch.notifier.rotas import calendar_of
from everwatch.notifier.routes import NoAddress, Rules
from everwatch.notifier.rules_file import WrongRules, rules_of

DAY = 86_400_000
RULES = """
[smtp]
host = "127.0.0.1"
from = "alerts@example.com"

[people.ada]
email = "ada@example.com"
[people.bob]
email = "bob@example.com"
[people.eve]
email = "eve@example.com"

[[rotas]]
name = "ops"
timezone = "Europe/Berlin"

[[rotas.layers]]
people = ["ada", "bob"]
from = 2026-10-19T09:00:00

[[rotas.layers]]
people = ["eve"]
from = 2026-10-19T00:00:00
hours = { from = "12:00", to = "13:00", days = "1-5" }

[[rotas.overrides]]
person = "bob"
from = 2026-10-21T18:00:00
to = 2026-10-22T06:00:00

[[operators]]
name = "on-call"
email = { to = { rota = "ops" } }
"""


def rules(text: str = RULES) -> Rules:
    return rules_of(text.encode(), Path("notify.toml"))


def at(day: int, hour: int, minute: int = 0, month: int = 10) -> int:
    """An instant in Berlin; summer time ends on 25 October."""
    return round(datetime(2026, month, day, hour, minute, tzinfo=ZoneInfo("Europe/Berlin")).timestamp() * 1000)


@pytest.mark.parametrize(
    ("instant", "person"),
    [
        (at(19, 9), "ada"),
        (at(26, 8, 59), "ada"),
        # by the wall clock, though the night before was an hour longer
        (at(26, 9), "bob"),
        (at(2, 9, month=11), "ada"),
        (at(20, 12, 30), "eve"),
        (at(24, 12, 30), "ada"),
        (at(21, 17, 59), "ada"),
        (at(21, 18), "bob"),
        (at(22, 6), "ada"),
    ],
)
def test_the_route_reaches_who_is_on_call(instant: int, person: str) -> None:
    [route] = rules().at(instant).routes
    assert route.address(None) == EmailAddress(f"{person}@example.com")


def test_before_the_first_shift_the_route_has_no_address() -> None:
    [route] = rules().at(at(18, 12)).routes
    with pytest.raises(NoAddress, match="nobody is on call by the rota ops"):
        route.address(None)


def test_shifts_are_listed_without_gaps_and_alike_at_any_beginning() -> None:
    [rota] = rules().rotas
    shifts = rota.shifts(at(21, 9), at(22, 12, 30))
    assert [(each.person, each.begins_at, each.ends_at) for each in shifts] == [
        ("ada", at(21, 9), at(21, 12)),
        ("eve", at(21, 12), at(21, 13)),
        ("ada", at(21, 13), at(21, 18)),
        ("bob", at(21, 18), at(22, 6)),
        ("ada", at(22, 6), at(22, 12)),
        ("eve", at(22, 12), at(22, 12, 30)),
    ]
    for shift in rota.shifts(at(19, 9), at(19, 9) + 60 * DAY):
        assert rota.on_call_at(shift.begins_at) == rota.on_call_at(shift.ends_at - 1) == shift.person


def test_the_calendar_has_an_event_for_each_shift_with_an_id_that_stays() -> None:
    [rota] = rules().rotas
    shifts = rota.shifts(at(21, 18), at(22, 6))
    assert calendar_of(rota, shifts, at(20, 0)).split("\r\n") == [
        "BEGIN:VCALENDAR",
        "VERSION:2.0",
        "PRODID:-//Everwatch//On call//EN",
        "BEGIN:VEVENT",
        f"UID:{derived_id('shift', 'ops', 'bob', at(21, 18))}",
        "DTSTAMP:20261019T220000Z",
        "DTSTART:20261021T160000Z",
        "DTEND:20261022T040000Z",
        "SUMMARY:bob is on call (ops)",
        "END:VEVENT",
        "END:VCALENDAR",
        "",
    ]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('people = ["eve"]', 'people = ["zoe"]', r"rotas\[0\].layers\[1\].people: \[people\] has no 'zoe'"),
        ('email = "eve@example.com"', 'ntfy = "https://ntfy.sh/eve"', "people.eve: eve of the rota has no email"),
        ('email = "eve@example.com"', 'email = "eve"', "people.eve.email"),
        ('email = "eve@example.com"', 'phone = "1"', "people.eve.phone: an address is one of"),
        ('rota = "ops"', 'rota = "none"', "there is no rota 'none'"),
        ("to = 2026-10-22T06:00:00", "to = 2026-10-20T06:00:00", "it ends before it begins"),
        ('"Europe/Berlin"', '"Berlin"', r"rotas\[0\].timezone"),
        ("from = 2026-10-19T09:00:00", 'from = 2026-10-19T09:00:00\nevery = "5m"', "between 1 hour and 366 days"),
        ("from = 2026-10-19T09:00:00", "from = 2026-10-19T09:00:00Z", "from"),
        ("[[operators]]", "[[users]]", "rotas are for operators' routes"),
    ],
)
def test_a_rota_that_cannot_be_is_refused_with_the_place(old: str, new: str, said: str) -> None:
    assert old in RULES
    with pytest.raises(WrongRules, match=said):
        rules(RULES.replace(old, new))


def test_the_command_lists_shifts_and_exports_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "notify.toml").write_text(RULES)
    monkeypatch.setenv("EVERWATCH_NOTIFY_FILE", str(tmp_path / "notify.toml"))

    def run(*arguments: str) -> str:
        done = CliRunner().invoke(notify.app, ["rota", *arguments])
        assert done.exit_code == 0, done.output
        return done.output

    shifts = [orjson.loads(line) for line in run("ops", "--days", "21", "--json").splitlines()]
    assert {each["person"] for each in shifts} == {"ada", "bob", "eve"}
    assert all(one["ends_at"] == other["begins_at"] for one, other in pairwise(shifts))
    assert run("ops", "--days", "21").splitlines()[0].split() == ["on", "call", "from", "to"]
    assert run("ops", "--days", "21", "--ical").count("BEGIN:VEVENT") == len(shifts)
    assert CliRunner().invoke(notify.app, ["rota", "night"]).exit_code != 0

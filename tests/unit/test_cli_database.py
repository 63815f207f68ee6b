"""Tests of what the command line tells of users, monitors and tasks, from a database of each kind."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
import typer
from msgspec.structs import replace
from support.new_databases import open_new_store
from typer.testing import CliRunner

from everwatch.cli.commands import monitor, task, user
from everwatch.cli.support.run_parts import commands_given
from everwatch.core.clock import SettableClock
from everwatch.core.config import Settings
from everwatch.core.errors import EverwatchError
from everwatch.model import (
    Align,
    At,
    Cron,
    Every,
    Maintenance,
    Monitor,
    MonitorSpec,
    Origin,
    Schedule,
    State,
    Status,
    User,
)
from everwatch.rules import lifecycle
from everwatch.store import CatalogueEntry, Partition, Received, SinkBatch

NOW = 1_795_262_400_000  # 2026-11-21T12:00:00Z
MINUTE = 60_000
HOUR = 60 * MINUTE
CHANGELOG = Partition("everwatch-monitors-changelog", 3)


def watched(monitor_id: str, schedule: Schedule, user_id: str = "anna", **fields: Any) -> Monitor:
    spec = MonitorSpec(monitor_id, "noop", "{}", schedule)
    return replace(lifecycle.first_put(user_id, spec, Origin.COMMAND, NOW - HOUR, NOW - HOUR), **fields)


def with_labels(monitor: Monitor, name: str, **labels: str) -> Monitor:
    return replace(monitor, spec=replace(monitor.spec, name=name, labels=tuple(sorted(labels.items()))))


def ended(monitor: Monitor, outcome: Status, reason: str = "") -> Monitor:
    return replace(monitor, state=State.DONE, state_since=NOW - MINUTE, reason=reason, outcome=outcome)


MAINTAINED = (Maintenance(NOW - MINUTE, NOW + HOUR), Maintenance(cron="0 2 * * 6", duration_ms=2 * HOUR))
ANNA = User("anna", "pro", {"site": "example.com", "age": 7}, (), NOW - 2 * HOUR, NOW - HOUR, MAINTAINED)
HELD: list[User | Monitor] = [
    ANNA,
    User("bea", "default", {}, (), NOW, NOW),
    User("cleo", "pro", {}, (), NOW, NOW),
    User("dora", "free", {}, (), NOW, NOW),
    watched("site", Every(MINUTE, Align.EPOCH), state=State.UP, state_since=NOW - MINUTE),
    watched("nightly", Cron("0 2 * * *", "Europe/Berlin"), state=State.UP),
    lifecycle.pause(watched("quiet", Every(MINUTE)), NOW - MINUTE),
    watched("later", At(NOW + HOUR)),
    watched("soon", At(NOW + MINUTE)),
    watched("now", At(NOW)),
    lifecycle.pause(watched("held", At(NOW + 2 * HOUR)), NOW),
    ended(watched("well", At(NOW - MINUTE)), Status.SUCCESS),
    ended(watched("ill", At(NOW - 2 * MINUTE)), Status.FAILURE, "no answer within 10 s"),
    watched("hers", At(NOW + MINUTE), "bea"),
    with_labels(watched("api", Every(MINUTE), "dora", state=State.DOWN), "The API", env="prod", team="core"),
    with_labels(watched("web", Every(MINUTE), "cleo", state=State.DOWN), "", env="test"),
]


@pytest.fixture(autouse=True, params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """A database as a sink leaves it, and noon."""
    url = request.getfixturevalue("postgres_url") if request.param == "postgresql" else ""
    monkeypatch.setenv("EVERWATCH_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("EVERWATCH_DATABASE", url)
    entries = [CatalogueEntry(v.user_id, v.monitor_id if isinstance(v, Monitor) else "", v) for v in HELD]
    entries += [CatalogueEntry("anna", "gone", watched("gone", At(NOW + MINUTE))), CatalogueEntry("anna", "gone", None)]
    received = [Received(CHANGELOG, offset, NOW, entry) for offset, entry in enumerate(entries)]
    store = open_new_store(Settings(data_dir=tmp_path, database=url))
    store.apply(SinkBatch(NOW, {CHANGELOG: len(received)}, entries=received))
    store.close()
    with commands_given(SettableClock(NOW)):
        yield


def say(app: typer.Typer, *arguments: str) -> str:
    found = CliRunner().invoke(app, list(arguments))
    assert found.exception is None, found.exception
    assert found.exit_code == 0
    return found.stdout


def objects(app: typer.Typer, *arguments: str) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in say(app, *arguments, "--json").splitlines()]


def names(*arguments: str) -> list[str]:
    return [each["task_id"] for each in objects(task.app, "list", *arguments)]


# --- monitors ---------------------------------------------------------------------------------------------------------


def test_monitors_are_listed_with_state_schedule_and_next_run() -> None:
    header, *rows = say(monitor.app, "list", "anna").splitlines()
    assert header.split("  ")[0] == "monitor"
    cells = {row.split()[0]: [cell.strip() for cell in row.split("  ") if cell.strip()] for row in rows}
    assert cells["site"] == [
        "site", "noop", "up", "2026-11-21 11:59:00Z", "every 1m from midnight 1970 in UTC", "2026-11-21 12:01:00Z",
    ]  # fmt: skip
    assert cells["nightly"][-2:] == ["at 0 2 * * * in Europe/Berlin", "2026-11-22 01:00:00Z"]
    assert cells["quiet"][2] == "paused"
    assert cells["quiet"][-1] == "-"
    assert cells["soon"][-2:] == ["once at 2026-11-21 12:01:00Z", "2026-11-21 12:01:00Z"]
    assert "gone" not in cells


def test_monitors_are_listed_for_scripts() -> None:
    listed = {each["monitor_id"]: each for each in objects(monitor.app, "list", "anna")}
    assert listed["site"] == {
        "user_id": "anna", "monitor_id": "site", "name": "", "labels": {},
        "kind": "noop", "state": "up", "state_since": NOW - MINUTE, "reason": "", "outcome": None, "version": 1,
        "flapping": False, "schedule": "every 1m from midnight 1970 in UTC", "next_run": NOW + MINUTE,
    }  # fmt: skip
    assert listed["quiet"]["next_run"] is None
    assert listed["quiet"]["reason"] == "paused by command"


def listed(app: typer.Typer, *arguments: str) -> list[str]:
    """Return whose and which monitors a list shows; or which users."""
    found = objects(app, "list", *arguments)
    return [each["user_id"] + (f"/{each['monitor_id']}" if "monitor_id" in each else "") for each in found]


def test_monitors_of_all_users_are_found_by_state_kind_plan_and_label() -> None:
    assert len(listed(monitor.app)) == 12
    assert listed(monitor.app, "--state", "down") == ["cleo/web", "dora/api"]
    assert listed(monitor.app, "--state", "down", "--plan", "pro") == ["cleo/web"]
    assert listed(monitor.app, "--label", "env=prod") == ["dora/api"]
    assert listed(monitor.app, "--label", "env") == ["cleo/web", "dora/api"]
    assert listed(monitor.app, "--label", "env=prod", "--label", "team=other") == []
    assert listed(monitor.app, "cleo", "--label", "env=test") == ["cleo/web"]
    assert listed(monitor.app, "--kind", "http") == []
    assert len(listed(monitor.app, "anna", "--kind", "noop")) == 9


def test_a_list_goes_on_where_a_page_ended() -> None:
    for app in (monitor.app, user.app):
        everything = listed(app)
        pages, options = [], ["--limit", "3"]
        while options:
            found = CliRunner().invoke(app, ["list", "--json", *options])
            pages += [
                each["user_id"] + each.get("monitor_id", "") for each in map(orjson.loads, found.stdout.splitlines())
            ]
            told = found.stderr.strip()
            options = ["--limit", "3", *told.removeprefix("there are more: ").split()] if told else []
        assert pages == [each.replace("/", "") for each in everything]
        assert listed(app, "--limit", "0") == everything


def test_tasks_go_on_where_a_page_ended() -> None:
    first = CliRunner().invoke(task.app, ["list", "--limit", "2"])
    cursor = first.stderr.strip().removeprefix("there are more: --after ")
    assert names("--limit", "2") + names("--after", cursor) == names()


def test_a_cursor_of_another_filter_is_refused() -> None:
    told = CliRunner().invoke(monitor.app, ["list", "--limit", "1"]).stderr
    cursor = told.strip().removeprefix("there are more: --after ")
    found = CliRunner().invoke(monitor.app, ["list", "--state", "up", "--after", cursor])
    assert isinstance(found.exception, EverwatchError)
    assert str(found.exception).startswith("The cursor is not one of this list: ")


def test_monitors_are_found_by_a_part_of_their_name_and_in_other_orders() -> None:
    assert listed(monitor.app, "--search", "the api") == ["dora/api"]
    assert listed(monitor.app, "--prefix", "ni") == ["anna/nightly"]
    assert listed(monitor.app, "--target", "nowhere.example") == []
    assert listed(monitor.app, "--sort", "state-since", "--limit", "1") == ["anna/held"]
    assert listed(monitor.app, "anna", "--sort", "id", "--reverse")[0] == "anna/well"
    assert listed(user.app, "--search", "LE") == ["cleo"]
    assert listed(user.app, "--sort", "changed")[-1] == "anna"


def test_users_are_found_by_plan_and_by_the_monitors_they_have() -> None:
    assert listed(user.app) == ["anna", "bea", "cleo", "dora"]
    assert listed(user.app, "--plan", "pro") == ["anna", "cleo"]
    assert listed(user.app, "--state", "down", "--label", "env") == ["cleo", "dora"]
    assert listed(user.app, "--state", "up") == ["anna"]
    [dora] = objects(user.app, "list", "--plan", "free")
    assert dora["monitors"] == {"down": 1}
    shown = say(user.app, "list").splitlines()
    assert [line.split()[0] for line in shown] == ["user", "anna", "bea", "cleo", "dora"]


def test_a_list_shows_names_and_labels() -> None:
    _, *rows = say(monitor.app, "list", "--state", "down").splitlines()
    assert "api (The API)" in rows[1]
    assert rows[1].endswith("env=prod team=core")


@pytest.mark.parametrize(
    ("app", "arguments", "told"),
    [
        (monitor.app, ("list", "carl"), "The database holds no user 'carl' "),
        (user.app, ("show", "carl"), "The database holds no user 'carl' "),
        (task.app, ("show", "anna", "none"), "The database holds no task 'none' of user 'anna' "),
    ],
)
def test_who_is_not_there_is_told_in_a_sentence(app: typer.Typer, arguments: tuple[str, ...], told: str) -> None:
    found = CliRunner().invoke(app, list(arguments))
    assert isinstance(found.exception, EverwatchError)
    assert str(found.exception).startswith(told)
    assert found.exception.exit_code == 1


def test_without_a_database_the_way_to_one_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVERWATCH_DATABASE", "")
    found = CliRunner().invoke(task.app, ["count", "--data-dir", str(tmp_path / "elsewhere")])
    assert isinstance(found.exception, EverwatchError)
    assert "it is made when a sink starts" in str(found.exception)
    assert found.exception.exit_code == 6


# --- tasks ------------------------------------------------------------------------------------------------------------


def test_tasks_are_listed_by_when_they_are_due() -> None:
    assert names("--user", "anna") == ["ill", "well", "now", "gone", "soon", "later", "held"]
    assert names("--user", "anna", "--limit", "2") == ["ill", "well"]
    assert names("--status", "pending") == ["soon", "hers", "later", "held"]
    assert names("--status", "running") == ["now"]
    assert names("--status", "failed") == ["ill"]
    assert names("--status", "cancelled") == ["gone"]
    assert names("--from", "2026-11-21T12:00:00Z", "--until", "2026-11-21T13:00:00+00:00") == [
        "now", "gone", "soon", "hers",
    ]  # fmt: skip


def test_tasks_are_listed_for_people() -> None:
    header, *rows = say(task.app, "list", "--user", "anna").splitlines()
    assert header.split() == ["due", "status", "user", "task", "kind", "reason"]
    assert rows[0].split("  ")[0] == "2026-11-21 11:58:00Z"
    assert rows[0].endswith("no answer within 10 s")
    assert "pending, paused" in rows[-1]
    assert say(task.app, "list", "--user", "carl") == "no such tasks\n"


def test_tasks_are_counted_by_status() -> None:
    everybodys = {"pending": 4, "running": 1, "done": 1, "failed": 1, "cancelled": 1}
    assert objects(task.app, "count") == [everybodys]
    assert objects(task.app, "count", "--user", "bea") == [dict.fromkeys(everybodys, 0) | {"pending": 1}]
    assert objects(task.app, "count", "--until", "2026-11-21T12:00:00Z") == [
        dict.fromkeys(everybodys, 0) | {"done": 1, "failed": 1}
    ]
    assert [line.split() for line in say(task.app, "count").splitlines()] == [
        [status, str(number)] for status, number in everybodys.items()
    ]


def test_a_task_is_shown_when_it_is_over_too() -> None:
    assert say(task.app, "show", "anna", "ill").splitlines() == [
        "task     anna/ill, version 1, kind noop",
        "status   failed: no answer within 10 s",
        "due      2026-11-21 11:58:00Z",
        "created  2026-11-21 11:59:00Z",
        "ended    2026-11-21 11:59:00Z",
    ]
    [shown] = objects(task.app, "show", "anna", "gone")
    assert (shown["status"], shown["ended_at"], shown["due_at"]) == ("cancelled", NOW, NOW + MINUTE)


# --- users ------------------------------------------------------------------------------------------------------------


def test_a_user_is_shown_with_maintenance_and_states() -> None:
    assert say(user.app, "show", "anna").splitlines() == [
        "user         anna",
        "plan         pro",
        "registered   2026-11-21 10:00:00Z, changed 2026-11-21 11:00:00Z",
        'attributes   {"site":"example.com","age":7}',
        "maintenance  from 2026-11-21 11:59:00Z to 2026-11-21 13:00:00Z",
        "maintenance  2h from 0 2 * * 6 in UTC",
        "maintained   now, until 2026-11-21 13:00:00Z",
        "monitors     9: 3 new, 2 up, 2 paused, 2 done",
    ]
    [shown] = objects(user.app, "show", "anna")
    assert shown["monitors"] == {"up": 2, "paused": 2, "new": 3, "done": 2}
    assert (shown["plan"], shown["maintained_until"]) == ("pro", NOW + HOUR)


def test_a_user_of_whom_little_is_known_is_shown() -> None:
    assert say(user.app, "show", "bea").splitlines()[1:] == [
        "plan         default",
        "registered   2026-11-21 12:00:00Z, changed 2026-11-21 12:00:00Z",
        "monitors     1: 1 new",
    ]

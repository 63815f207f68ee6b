"""``everwatch results`` from a database of each kind."""

from pathlib import Path

import msgspec
import orjson
import pytest
from support.new_databases import open_new_store
from typer.testing import CliRunner

from everwatch.cli.main import app
from everwatch.core.config import Settings
from everwatch.model import Result, State, Status, Transition
from everwatch.store import Partition, Received, SinkBatch
from everwatch.store.plan_keeping import PlanKeeping

AT = 1_795_262_400_000  # 2026-11-21T12:00:00Z
DETAIL = "HTTP/1.1 503 Service Unavailable\nRetry-After: 5\n\n<h1>sorry</h1>"


@pytest.fixture(autouse=True, params=["sqlite", "postgresql"])
def stored(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Two results: a failure with a detail, and a success."""
    url = request.getfixturevalue("postgres_url") if request.param == "postgresql" else ""
    settings = Settings(data_dir=tmp_path, database=url)
    monkeypatch.setenv("EVERWATCH_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("EVERWATCH_DATABASE", url)
    source = Partition("results", 0)
    failed = Result("anna", "shop", AT, "http", 1, Status.FAILURE, "status 503", AT, 12.5, detail=DETAIL)
    fine = Result("anna", "shop", AT + 60_000, "http", 1, Status.SUCCESS, "", AT + 60_000, 9.0)
    store = open_new_store(settings)
    store.apply(SinkBatch(AT, {source: 2}, [Received(source, i, AT, one) for i, one in enumerate([failed, fine])]))
    store.close()
    return settings


def said(*arguments: str) -> list[str]:
    found = CliRunner().invoke(app, ["results", *arguments], env={"COLUMNS": "200", "NO_COLOR": "1"})
    assert found.exit_code == 0, found.output
    return found.stdout.splitlines()


def test_a_result_is_one_line_unless_its_detail_is_asked_for() -> None:
    assert said() == [
        "2026-11-21 12:00:00Z  failure  anna/shop  http  12.5 ms  attempt 1  status 503",
        "2026-11-21 12:01:00Z  success  anna/shop  http  9.0 ms  attempt 1",
    ]


def test_the_detail_is_shown_indented_below_its_result() -> None:
    failure, *detail, _success = said("--detail")
    assert failure.endswith("status 503")
    assert [line.removeprefix("    ") for line in detail] == DETAIL.splitlines()


def test_as_json_the_detail_is_always_there() -> None:
    assert [orjson.loads(line)["detail"] for line in said("--json")] == [DETAIL, ""]


def test_results_are_found_by_status_kind_and_time() -> None:
    assert len(said("--status", "failure")) == len(said("--status", "success")) == 1
    assert said("--status", "late") == []
    assert len(said("--kind", "http")) == 2
    assert said("--kind", "tcp") == []
    assert "success" in said("--since", "2026-11-21T12:00:30Z")[0]
    [early] = said("--since", "2026-11-21T12:00:00Z", "--until", "2026-11-21T12:01:00Z")
    assert "failure" in early
    assert said("--since", "1s") == []


def test_instants_are_printed_in_the_zone_that_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def first(*options: str) -> str:
        found = CliRunner().invoke(app, [*options, "results"], env={"COLUMNS": "200", "NO_COLOR": "1"})
        assert found.exit_code == 0, found.output
        return found.stdout[:25]

    assert first("--timezone", "Europe/Berlin") == "2026-11-21 13:00:00+01:00"
    monkeypatch.setenv("TZ", ":Asia/Tokyo")
    assert first() == "2026-11-21 21:00:00+09:00"
    monkeypatch.setenv("EVERWATCH_TIMEZONE", "America/New_York")
    assert first() == "2026-11-21 07:00:00-05:00"
    assert first("--timezone", "UTC").startswith("2026-11-21 12:00:00Z")
    assert orjson.loads(said("--json")[0])["scheduled_at"] == AT

    monkeypatch.delenv("EVERWATCH_TIMEZONE")
    monkeypatch.setenv("TZ", "CET-1CEST")  # rules instead of a name
    assert first().startswith("2026-11-21 12:00:00Z")
    wrong = CliRunner().invoke(app, ["--timezone", "Mars/Base", "results"])
    assert (
        str(wrong.exception)
        == "setting EVERWATCH_TIMEZONE: there is no time zone 'Mars/Base': write it like Europe/Berlin."
    )


def test_an_interval_that_holds_nothing_is_refused() -> None:
    found = CliRunner().invoke(app, ["results", "--since", "1h", "--until", "2h"])
    assert found.exit_code != 0
    assert "between" in str(found.exception)


def test_transitions_are_found_by_user_state_and_time(stored: Settings) -> None:
    source = Partition("transitions", 0)
    down = Transition("anna", "shop", AT, State.UP, State.DOWN, "status 503", 1)
    still = Transition("anna", "shop", AT + 60_000, State.DOWN, State.DOWN, "still down", 1, reminder=True)
    up = Transition("bea", "shop", AT + 90_000, State.DOWN, State.UP, "", 1, alert=False)
    # written before alerts told apart what people should know
    first = Transition("cleo", "shop", AT + 95_000, State.NEW, State.UP, "", 1, alert=True)
    paused = Transition("dora", "shop", AT + 96_000, State.UP, State.PAUSED, "paused by command", 1, alert=False)
    store = open_new_store(stored)
    received = [Received(source, i, AT, one) for i, one in enumerate([down, still, up, first, paused])]
    store.apply(SinkBatch(AT, {source: 5}, transitions=received))
    store.close()

    def shown(*arguments: str) -> list[str]:
        found = CliRunner().invoke(app, ["transitions", *arguments], env={"NO_COLOR": "1"})
        assert found.exit_code == 0, found.output
        return found.stdout.splitlines()

    first_down, second, third, old, fifth = shown()
    assert old == "2026-11-21 12:01:35Z  cleo/shop  new → up"
    assert fifth == "2026-11-21 12:01:36Z  dora/shop  up → paused  paused by command"
    assert shown("--alerts") == [first_down, second, old]
    assert first_down == "2026-11-21 12:00:00Z  anna/shop  up → down  status 503"
    assert "still down" in second
    assert third == "2026-11-21 12:01:30Z  bea/shop  down → up  (in maintenance)"
    assert shown("--user", "bea") == [third]
    assert shown("--state", "down") == [first_down, second]
    assert shown("--since", "2026-11-21T12:00:30Z", "--until", "2026-11-21T12:01:10Z") == [second]
    assert [orjson.loads(line)["to_state"] for line in shown("--json")][:3] == ["down", "down", "up"]


def test_the_status_of_the_database_says_what_it_holds_and_what_goes_next(stored: Settings) -> None:
    def status(*arguments: str) -> str:
        found = CliRunner().invoke(app, ["db", "status", *arguments], env={"COLUMNS": "200", "NO_COLOR": "1"})
        assert found.exit_code == 0, found.output
        return found.stdout

    found = orjson.loads(status("--json"))
    tables = {each["table"]: each for each in found["tables"]}
    ageing = ["results", "transitions", "monitor_history", "tasks", "hourly_rollups", "daily_rollups"]
    ageing += ["dead_letters", "replies", "audit_log", "former_specs"]
    assert list(tables) == [*ageing, "users", "monitors", "rollup_journal"]
    assert found["size"] > 0
    day = 86_400_000
    results = tables["results"]
    assert (results["oldest"], results["kept"]) == (AT, 30 * day)
    if found["kind"] == "sqlite":
        assert (results["rows"], results["next"]) == (2, AT + 30 * day)
    else:
        assert (found["days"], results["next"]) == (3, AT - AT % day + 31 * day)
        assert results["next_what"] == "the day results_20261121"
    assert tables["transitions"]["oldest"] is None
    assert "2026-11-21 12:00:00Z" in status()
    assert "for good" in status()
    assert (results["kept_of_plans"], results["thinning"]) == ({}, None)


def test_the_status_of_the_database_says_what_is_kept_by_plan_and_which_days_are_thinned(
    stored: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    plans = tmp_path / "plans.toml"
    plans.write_text("[plans.pro.keep]\nresults = 90\nevery_result = 0\n[plans.free.keep]\nresults = 2\n")
    monkeypatch.setenv("EVERWATCH_PLANS_FILE", str(plans))
    monkeypatch.setenv("EVERWATCH_KEEP_EVERY_RESULT_DAYS", "1")
    day = 86_400_000
    given = {"pro": {"results": 90, "every_result": 0}, "free": {"results": 2}}
    store = open_new_store(msgspec.structs.replace(stored, keep_every_result_days=1))
    while store.trim(AT - AT % day + 2 * day, 100, PlanKeeping.of(given)):
        pass
    store.close()
    found = CliRunner().invoke(app, ["db", "status", "--json"])
    [results] = [each for each in orjson.loads(found.stdout)["tables"] if each["table"] == "results"]
    assert results["kept_of_plans"] == {"pro": 90 * day, "free": 2 * day}
    until = AT - AT % day + day
    assert results["thinning"] == {
        "after": day, "after_of_plans": {"pro": 0}, "done_until": until, "next": until + 2 * day
    }  # fmt: skip
    said = CliRunner().invoke(app, ["db", "status"], env={"COLUMNS": "200", "NO_COLOR": "1"}).stdout
    assert "results by plan: free 2 d, pro 90 d" in said
    assert "all are kept: pro for good; done before 2026-11-22 00:00:00Z, next 2026-11-24 00:00:00Z" in said

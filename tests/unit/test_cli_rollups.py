"""``everwatch db rollups``, on a database that a sink has filled."""

from pathlib import Path
from typing import Any

import orjson
import pytest
from support.new_databases import open_new_store
from typer.testing import CliRunner

from everwatch.cli.commands import db
from everwatch.core.config import Settings
from everwatch.core.errors import EverwatchError
from everwatch.model import Every, MonitorSpec, Origin, Result, State, Status, Transition
from everwatch.rules import lifecycle
from everwatch.schedule.instant import instant_text
from everwatch.store import CatalogueEntry, Partition, Received, SinkBatch
from everwatch.store.database import open_for_writing
from everwatch.store.facts import ROLLUPS_FROM, put_fact

HOUR = 3_600_000
AT = 1_795_000_000_000 // HOUR * HOUR
SOURCE = Partition("results", 0)
CHANGELOG = Partition("changelog", 0)


@pytest.fixture(autouse=True)
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("EVERWATCH_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("EVERWATCH_DATABASE", "")
    found = Settings(data_dir=tmp_path)
    statuses = [Status.SUCCESS] * 98 + [Status.FAILURE, Status.LATE]
    results = [
        Result("anna", "shop", AT + i * 60_000, "http", 1, status, "", AT, float(i + 1))
        for i, status in enumerate(statuses)
    ]
    store = open_new_store(found)
    store.apply(SinkBatch(AT, {SOURCE: 100}, [Received(SOURCE, i, 1, each) for i, each in enumerate(results)]))
    store.close()
    return found


def say(*arguments: str) -> str:
    found = CliRunner().invoke(db.app, ["rollups", *arguments])
    assert found.exception is None, found.exception
    return found.stdout


def objects(*arguments: str) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in say(*arguments, "--json").splitlines()]


def test_hours_are_shown_with_counts_and_quantiles() -> None:
    header, first, second = say("anna", "shop").splitlines()
    assert header.split() == ["hour", "success", "failure", "late", "skipped", "mean", "p50", "p95", "p99"]
    assert first.split()[2:8] == ["60", "0", "0", "0", "30.5", "ms"]
    assert second.split()[2:6] == ["38", "1", "1", "0"]
    both = objects("anna", "shop")
    assert [each["at"] for each in both] == [AT, AT + HOUR]
    assert both[0]["p50_ms"] == pytest.approx(30, rel=0.02)
    assert both[0]["p99_ms"] == pytest.approx(59, rel=0.02)
    [day] = objects("anna", "shop", "--by", "day")
    assert (day["successes"], day["failures"], day["lates"], day["length_ms"]) == (98, 1, 1, 24 * HOUR)


def test_roll_ups_that_a_database_lacks_are_built_from_its_results(settings: Settings) -> None:
    engine = open_for_writing(settings.database_url)
    with engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM hourly_rollups")
        put_fact(connection, ROLLUPS_FROM, AT + 2 * HOUR)
    engine.dispose()
    assert "Results before" in say("anna", "shop")
    [day] = objects("anna", "shop", "--by", "day", "--rebuild")
    assert (day["successes"], day["failures"], day["lates"]) == (98, 1, 1)
    assert "Results before" not in say("anna", "shop")


def test_availability_is_shown_with_a_bar(settings: Settings) -> None:
    transitions = [
        Transition("anna", "shop", AT, State.NEW, State.UP, "", 1),
        Transition("anna", "shop", AT + 3 * HOUR, State.UP, State.DOWN, "", 1),
    ]
    source = Partition("transitions", 0)
    spec = MonitorSpec("shop", "http", "{}", Every(60_000))
    put = CatalogueEntry("anna", "shop", lifecycle.first_put("anna", spec, Origin.SIGNUP, AT, AT))
    store = open_new_store(settings)
    store.apply(
        SinkBatch(
            AT,
            {source: 2, CHANGELOG: 1},
            transitions=[Received(source, i, 1, each) for i, each in enumerate(transitions)],
            entries=[Received(CHANGELOG, 0, 1, put)],
        )
    )
    store.close()
    interval = ("--since", instant_text(AT), "--until", instant_text(AT + 4 * HOUR), "--bars", "4")
    found = CliRunner().invoke(db.app, ["availability", "anna", "shop", *interval])
    assert found.exception is None, found.exception
    assert "75.0000% available" in found.stdout
    assert found.stdout.splitlines()[-1] == "███▃"
    as_json = CliRunner().invoke(db.app, ["availability", "anna", "shop", *interval, "--json"]).stdout.splitlines()
    assert [orjson.loads(line)["availability"] for line in as_json] == [0.75, 1.0, 1.0, 1.0, 0.0]


@pytest.mark.parametrize("arguments", [(), ("anna",)])
def test_a_monitor_has_to_be_named(arguments: tuple[str, ...]) -> None:
    found = CliRunner().invoke(db.app, ["rollups", *arguments])
    assert isinstance(found.exception, EverwatchError)
    assert "name its user and it, or give --rebuild alone" in str(found.exception)

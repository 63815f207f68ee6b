"""Days of results as Parquet files, from both databases."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as parquet
import pytest
from support.new_databases import open_new_store
from typer.testing import CliRunner

from everwatch.cli.commands import db
from everwatch.cli.support.run_parts import commands_given
from everwatch.core.clock import SettableClock
from everwatch.core.config import Settings
from everwatch.core.errors import EverwatchError
from everwatch.model import Result, Status
from everwatch.store import Partition, Received, SinkBatch, open_reader

DAY = 86_400_000
NOW = 20_000 * DAY + 3_600_000
SOURCE = Partition("results", 0)


@pytest.fixture(params=["sqlite", "postgresql"])
def settings(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """A database of five days of results, the last of which is today."""
    url = request.getfixturevalue("postgres_url") if request.param == "postgresql" else ""
    monkeypatch.setenv("EVERWATCH_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("EVERWATCH_DATABASE", url)
    settings = Settings(data_dir=tmp_path, database=url, keep_results_days=1, keep_results_until_archived=True)
    store = open_new_store(settings)
    results = [one(NOW - DAY * day, attempt) for day in range(5) for attempt in (1, 2)]
    store.apply(SinkBatch(NOW, {SOURCE: 10}, [Received(SOURCE, i, 1, each) for i, each in enumerate(results)]))
    store.close()
    with commands_given(SettableClock(NOW)):
        yield settings


def one(at: int, attempt: int) -> Result:
    return Result(
        "anna", "shop", at, "http", 1, Status.FAILURE, "500", at + 5, 12.5, attempt, {"dns": 1.5}, "e1", detail="öps"
    )


def run(folder: Path) -> Any:
    return CliRunner().invoke(db.app, ["archive", str(folder)])


def test_days_that_are_over_for_a_day_are_written_once_and_read_back(settings: Settings, tmp_path: Path) -> None:
    found = run(tmp_path / "archive")
    assert found.exception is None, found.exception
    files = sorted((tmp_path / "archive").iterdir())
    assert [file.name for file in files] == [f"results-2024-{day}.parquet" for day in ("09-30", "10-01", "10-02")]
    assert found.stdout.count(": 2 results, ") == 3
    first, second = parquet.read_table(files[0]).sort_by("attempt").to_pylist()
    assert (first["user_id"], first["status"], first["attempt"], second["attempt"]) == ("anna", "failure", 1, 2)
    assert first["scheduled_at"].timestamp() * 1000 == NOW - 4 * DAY
    assert (first["timings"], first["detail"], first["skipped_until"]) == ([("dns", 1.5)], "öps", None)
    assert "Every day" in run(tmp_path / "archive").stderr


def test_nothing_is_deleted_before_it_is_in_a_file(settings: Settings, tmp_path: Path) -> None:
    store = open_new_store(settings)
    reader = open_reader(settings)
    assert store.trim(NOW, 10) == 0
    assert run(tmp_path / "archive").exception is None
    while store.trim(NOW, 10):
        pass
    assert {stored.result.scheduled_at for stored in reader.results()} == {NOW, NOW - DAY}
    reader.close()
    store.close()


def test_without_pyarrow_a_sentence_says_what_to_install(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # what is None there cannot be imported
    for name in {"pyarrow", *(each for each in sys.modules if each.startswith("pyarrow."))}:
        monkeypatch.setitem(sys.modules, name, None)
    found = run(tmp_path / "archive")
    assert isinstance(found.exception, EverwatchError)
    assert "pip install 'everwatch[archive]'" in str(found.exception)
    assert not (tmp_path / "archive").exists()

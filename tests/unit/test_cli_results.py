"""``everwatch results`` from a database file."""

from pathlib import Path

import orjson
import pytest
from typer.testing import CliRunner

from everwatch.cli import options
from everwatch.cli.main import app
from everwatch.config import Settings
from everwatch.model import Result, Status
from everwatch.store import Partition, Received, SinkBatch, open_store

AT = 1_795_262_400_000  # 2026-11-21T12:00:00Z
DETAIL = "HTTP/1.1 503 Service Unavailable\nRetry-After: 5\n\n<h1>sorry</h1>"


@pytest.fixture(autouse=True)
def stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two results: a failure with a detail, and a success."""
    monkeypatch.setenv("EVERWATCH_DATA_DIR", str(tmp_path))
    monkeypatch.setattr(options, "set_up_logs", lambda _: None)
    source = Partition("results", 0)
    failed = Result("anna", "shop", AT, "http", 1, Status.FAILURE, "status 503", AT, 12.5, detail=DETAIL)
    fine = Result("anna", "shop", AT + 60_000, "http", 1, Status.SUCCESS, "", AT + 60_000, 9.0)
    store = open_store(Settings(data_dir=tmp_path))
    store.apply(SinkBatch(AT, {source: 2}, [Received(source, i, AT, one) for i, one in enumerate([failed, fine])]))
    store.close()


def said(*arguments: str) -> list[str]:
    found = CliRunner().invoke(app, ["results", *arguments], env={"COLUMNS": "200", "NO_COLOR": "1"})
    assert found.exit_code == 0, found.output
    return found.stdout.splitlines()


def test_a_result_is_one_line_unless_its_detail_is_asked_for() -> None:
    assert [line.split()[2] for line in said()] == ["failure", "success"]


def test_the_detail_is_shown_indented_below_its_result() -> None:
    failure, *detail, _success = said("--detail")
    assert failure.endswith("status 503")
    assert [line.removeprefix("    ") for line in detail] == DETAIL.splitlines()


def test_as_json_the_detail_is_always_there() -> None:
    assert [orjson.loads(line)["detail"] for line in said("--json")] == [DETAIL, ""]

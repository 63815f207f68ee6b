"""``everwatch demo`` where it cannot start: what is told, and that nothing is touched."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from everwatch.cli.commands import demo
from everwatch.cli.support.run_parts import commands_given
from everwatch.core.errors import EverwatchError
from everwatch.kafka.embedded.folder import FolderLock, KafkaFolder


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setenv("EVERWATCH_DATA_DIR", str(tmp_path))
    # the handlers that it sets would stay
    with commands_given(on_signal=lambda *_: None):
        yield


def say(*arguments: str) -> tuple[int, str]:
    app = typer.Typer()
    app.command()(demo.demo)
    found = CliRunner().invoke(app, list(arguments), env={"COLUMNS": "200", "NO_COLOR": "1"})
    assert isinstance(found.exception, EverwatchError), found.output
    return found.exception.exit_code, str(found.exception)


def test_a_second_demo_in_one_folder_is_refused_and_leaves_the_first_alone(tmp_path: Path) -> None:
    folder = KafkaFolder(tmp_path / "kafka")
    folder.create()
    (tmp_path / "demo-ports").write_text("1 2 3 4\n")
    with FolderLock(folder.lock):
        status, told = say()
    assert (status, "is in use by the Everwatch process" in told) == (7, True)
    assert (tmp_path / "demo-ports").read_text() == "1 2 3 4\n"
    assert not (tmp_path / "demo-certificates").exists()


def test_a_wrong_interval_is_told_before_anything_is_made(tmp_path: Path) -> None:
    assert say("--every", "soon", "--data-dir", str(tmp_path / "new")) == (
        2,
        "--every soon: 'soon' is not a duration: write it like 30s, 5m, 1h30m, 500ms, PT30S or a number of seconds.",
    )
    assert not (tmp_path / "new").exists()

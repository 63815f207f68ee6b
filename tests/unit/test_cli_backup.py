"""Tests of what ``everwatch backup`` and ``restore`` say before they do anything."""

from pathlib import Path

import msgspec
import pytest
import typer
from typer.testing import CliRunner

from everwatch.backup.damage import Damaged
from everwatch.backup.folder import new_backup
from everwatch.backup.manifest import Manifest, TopicCopy, UnreadableOffsets
from everwatch.backup.scratch_database import scratch_database
from everwatch.cli.commands.backup import app
from everwatch.cli.commands.restore import restore
from everwatch.core.errors import SettingsError
from everwatch.store import StoreBusy

restoring = typer.Typer()
restoring.command()(restore)


@pytest.fixture(autouse=True)
def nobody_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EVERWATCH_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("EVERWATCH_BOOTSTRAP_SERVERS", "127.0.0.1:1")


def test_a_folder_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EVERWATCH_BACKUP_DIR", raising=False)
    said = CliRunner().invoke(app, [])
    assert isinstance(said.exception, SettingsError)
    assert "EVERWATCH_BACKUP_DIR" in str(said.exception)


@pytest.mark.parametrize("words", [["DIR"], ["create", "DIR"], ["--json", "DIR"]])
def test_backup_of_a_folder_needs_no_further_word(tmp_path: Path, words: list[str]) -> None:
    (tmp_path / "monday").mkdir()
    (tmp_path / "monday" / "file").touch()
    said = CliRunner().invoke(app, [str(tmp_path / "monday") if word == "DIR" else word for word in words])
    # said before a broker is looked for
    assert isinstance(said.exception, SettingsError), said.output
    assert "is there already" in str(said.exception)
    assert [path.name for path in tmp_path.iterdir()] == ["monday"]


def test_help_has_examples() -> None:
    for arguments in (["--help"], ["create", "--help"], ["verify", "--help"]):
        said = CliRunner().invoke(app, arguments)
        assert said.exit_code == 0
        assert "/backups/monday" in said.output


def test_what_is_no_backup_is_told(tmp_path: Path) -> None:
    said = CliRunner().invoke(restoring, [str(tmp_path / "nothing")])
    assert isinstance(said.exception, SettingsError)
    assert "There is no folder" in str(said.exception)
    (tmp_path / "empty").mkdir()
    said = CliRunner().invoke(restoring, [str(tmp_path / "empty")])
    assert isinstance(said.exception, Damaged)
    assert str(said.exception).startswith("manifest.json: it is missing")
    said = CliRunner().invoke(app, ["verify", str(tmp_path / "empty"), "--json"])
    assert (said.exit_code, '"damages":["manifest.json: it is missing' in said.stdout) == (1, True)


def test_a_scratch_server_is_for_a_dump_that_is_restored(tmp_path: Path) -> None:
    manifest = Manifest(1, "0.1.0", 0, 0, 1, [TopicCopy("monitors_changelog", {}, [])], [], [], None, {}, {})
    folder = tmp_path / "monday"
    with new_backup(folder) as made:
        made.finish(manifest)
    for more, said in (([], "holds no PostgreSQL database"), (["--files-only"], "restores nothing")):
        asked = ["verify", str(folder), "--scratch-server", "postgresql://db/postgres", *more]
        refused = CliRunner().invoke(app, asked)
        assert isinstance(refused.exception, SettingsError)
        assert said in str(refused.exception)


def test_what_a_backup_has_left_out_is_told_when_it_is_verified(tmp_path: Path) -> None:
    lacking = [UnreadableOffsets("access", 3, 5, 5 + count, "Invalid compressed data") for count in range(1, 23)]
    manifest = Manifest(1, "0.1.0", 0, 0, 1, [TopicCopy("monitors_changelog", {}, [])], [], [], None, {}, {})
    manifest = msgspec.structs.replace(manifest, unreadable=lacking)
    with new_backup(tmp_path / "monday") as made:
        made.finish(manifest)
    said = CliRunner().invoke(app, ["verify", str(tmp_path / "monday"), "--files-only"])
    assert said.exit_code == 0
    assert "WARNING: 22 batches of records cannot be read by any client, and were not backed up" in said.stderr
    assert "  access, partition 3, offsets 5 to 6: Invalid compressed data" in said.stderr
    assert "and 2 more" in said.stderr
    said = CliRunner().invoke(app, ["verify", str(tmp_path / "monday"), "--files-only", "--json"])
    assert msgspec.json.decode(said.stdout)["unreadable"][0] == {
        "topic": "access", "partition": 3, "begin": 5, "end": 6, "reason": "Invalid compressed data",
    }  # fmt: skip


def test_a_scratch_server_is_postgresql_and_a_password_is_not_shown() -> None:
    with pytest.raises(SettingsError, match="postgresql://"), scratch_database("sqlite:////tmp/x.db"):
        pass
    nowhere = "postgresql://anna:secret@127.0.0.1:1/postgres"
    with pytest.raises(StoreBusy) as refused, scratch_database(nowhere):
        pass
    assert "secret" not in str(refused.value)

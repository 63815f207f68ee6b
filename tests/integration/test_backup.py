"""Backup and restore of a running installation: nothing is missed and nothing counts twice over the joint."""

import shutil
from pathlib import Path
from typing import Any

import orjson
import pytest
from conftest import NewPipeline
from support.command import run
from support.pipeline import Pipeline, every
from support.target import Target
from support.waiting import now_ms, wait_until

from everwatch.backup.folder import read_manifest
from everwatch.core.errors import TopicMismatch
from everwatch.model import State

pytestmark = pytest.mark.integration
USERS = [f"user-{number}" for number in range(12)]


def says(pipeline: Pipeline, *arguments: str, status: int = 0) -> dict[str, Any]:
    said = run(*arguments, "--json", environment=pipeline.environment)
    assert said.returncode == status, said
    told: dict[str, Any] = orjson.loads(said.stdout)
    return told


def audited(pipeline: Pipeline, since: int, until: int) -> dict[str, Any]:
    said = run(
        *("audit", "--json", "--since", str(since), "--until", str(until), "--settle", "0s"),
        environment=pipeline.environment,
    )
    told: dict[str, Any] = orjson.loads(said.stdout)
    return told


@pytest.fixture(scope="module")
def source(new_pipeline: NewPipeline, target: Target) -> Pipeline:
    """A worker, an executor and a sink with checks, inline monitors, a paused one, and a user that is gone."""
    made = new_pipeline()
    made.ensure("worker", "executor", "sink")
    made.wait_until_ready()
    for user in USERS:
        made.sign_up(user, every("site", "http", url=target.url("/ok")), every("inline", "noop"))
    made.command("pause", USERS[0], "inline")
    made.command("delete", USERS[1], "inline")
    made.sign_up("gone", every("inline", "noop"))
    made.command("deregister", "gone")
    made.wait_for_states(USERS[0], site="up", inline="paused")
    for user in USERS:
        made.wait_for_results(user, "site", 2)
    return made


@pytest.fixture(scope="module")
def folder(source: Pipeline, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A backup of it, made while everything goes on."""
    made = tmp_path_factory.mktemp("backups") / "first"
    told = says(source, "backup", str(made))
    assert told["monitors_and_users"] == 3 * len(USERS) - 1
    assert told["unowned"] == []
    assert not made.with_name("first.partial").exists()
    return made


def test_a_restored_installation_goes_on_where_the_backup_was_cut(
    source: Pipeline, folder: Path, new_pipeline: NewPipeline
) -> None:
    began = min(result.scheduled_at for user in USERS for result in source.results(user))
    manifest = read_manifest(folder)
    cut = min(each.emitted_to for each in manifest.cuts)
    # the old place goes on for a while, and then is gone
    source.wait_for_results(USERS[2], "site", 1, after=cut)
    for process in source.processes.values():
        process.kill()

    restored = new_pipeline()
    told = says(restored, "restore", str(folder))
    assert told["monitors_hash"] == manifest.monitors_hash
    # the database is there, with the offsets of the new topics
    offsets = restored.reader.offsets()
    assert {partition.topic for partition in offsets} <= set(restored.topics.stored)
    restored.ensure("worker", "executor", "sink")
    restored.wait_until_ready()
    joined = now_ms()
    for user in USERS:
        restored.wait_for_results(user, "site", 2, after=joined)
    assert {m.monitor_id: m.state for m in restored.reader.monitors(USERS[0])}["inline"] is State.PAUSED
    assert [m.monitor_id for m in restored.reader.monitors(USERS[1])] == ["site"]
    assert restored.reader.user("gone") is None

    until = now_ms() - 1_000
    wait_until("nothing is missed", lambda: not audited(restored, began, until)["missed"], 30, 1.0)
    account = audited(restored, began, until)
    assert (account["missed"], account["duplicate"]) == (0, 0), account
    assert account["ticks"] > 2 * len(USERS)

    # and a backup of what was restored can be made
    again = folder.with_name("second")
    assert says(restored, "backup", str(again))["unowned"] == []
    assert says(restored, "backup", "verify", str(again), "--files-only")["damages"] == []
    shutil.rmtree(again)
    refused = run("restore", str(folder), environment=restored.environment)
    assert refused.returncode == TopicMismatch.exit_code
    assert "is not empty" in refused.stderr

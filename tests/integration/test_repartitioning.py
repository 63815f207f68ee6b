"""Another partition count for a running installation: nothing is missed, and nothing counts twice."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from zlib import crc32

import orjson
import pytest
from conftest import NewPipeline
from support.command import everwatch, run
from support.pipeline import Pipeline, every
from support.populated import populate
from support.target import Target
from support.waiting import PATIENCE, now_ms, wait_until

from everwatch.backup.stages import Silent
from everwatch.core.config import Settings
from everwatch.core.errors import ChangelogLost, TopicMismatch
from everwatch.kafka.admin_client import Admin
from everwatch.kafka.clients import Clients, KafkaClients, new_admin
from everwatch.model import State
from everwatch.repartition.generation_notes import GenerationNotes
from everwatch.repartition.placing import Partitioner
from everwatch.repartition.repartitioning import undo
from everwatch.rules.generations import Generation

# a minute of CPU time: two generations of all processes, and a copy that is killed
pytestmark = [pytest.mark.integration, pytest.mark.live]
USERS = [f"user-{number}" for number in range(12)]
NEW = 6
COMMAND = ("repartition", "--partitions", str(NEW), "--json")


@pytest.fixture(scope="module")
def source(new_pipeline: NewPipeline, target: Target) -> Pipeline:
    """A worker, an executor and a sink with checks, inline monitors, a paused one, and a user that is gone."""
    return populate(new_pipeline(), target, USERS)


@pytest.fixture
def successor(source: Pipeline) -> Iterator[Pipeline]:
    """The same installation with the settings that the command gives."""
    settings = source.settings
    prefix = f"{settings.topic_prefix}g2."
    with Pipeline(settings.data_dir, settings.bootstrap_servers, prefix, partitions=NEW) as made:
        yield made


def stop(pipeline: Pipeline) -> None:
    for process in pipeline.processes.values():
        process.ask_to_stop()
    for process in pipeline.processes.values():
        assert process.wait(120) == 0


def reached(pipeline: Pipeline) -> tuple[Settings, Clients, Admin]:
    settings = pipeline.settings
    address = settings.bootstrap_servers
    return settings, KafkaClients(settings, address), new_admin(settings, address)


def _is_ready(stderr: Path) -> bool:
    return "stop all processes now" in stderr.read_text()


def told(*arguments: str, pipeline: Pipeline) -> dict[str, Any]:
    said = run(*arguments, environment=pipeline.environment)
    assert said.returncode == 0, said.stderr
    found: dict[str, Any] = orjson.loads(said.stdout)
    return found


def test_monitors_go_on_under_another_partition_count(source: Pipeline, successor: Pipeline, tmp_path: Path) -> None:
    began = min(result.scheduled_at for user in USERS for result in source.results(user))
    # killed while it copies: nothing has changed for those who run
    with (tmp_path / "stderr").open("w") as stderr:
        killed = everwatch(*COMMAND, environment=source.environment, stderr=stderr)
        try:
            wait_until("it says when to stop", lambda: killed.poll() is not None or _is_ready(tmp_path / "stderr"))
            assert killed.poll() is None, (tmp_path / "stderr").read_text()
        finally:
            killed.kill()
            killed.wait()
    source.sign_up("late", every("inline", "noop"))
    source.wait_for_results("late", "inline", 1)

    stop(source)
    # what a kill behind the closing leaves: no worker runs either, and it can be undone
    prefix = successor.settings.topic_prefix
    GenerationNotes(*reached(source)).close(Generation(prefix, NEW))
    source.ensure("worker")
    assert source.processes["worker"].wait() == ChangelogLost.exit_code
    assert f"EVERWATCH_TOPIC_PREFIX={prefix}" in source.processes["worker"].logged()
    assert told("repartition", "--undo", "--json", pipeline=source) == {"prefix": prefix, "opened": [0, 1, 2, 3]}
    # as it was: a worker owned it last
    assert GenerationNotes(*reached(source)).state().worker

    source.command("pause", USERS[2], "inline")  # nobody has read it yet
    report = told(*COMMAND, pipeline=source)
    assert (report["prefix"], report["partitions"], report["switched"]) == (prefix, NEW, True)
    assert (report["users"], report["partitioner"], report["records"]["commands"]) == (len(USERS) + 1, "crc32", 1)

    with closing(sqlite3.connect(source.settings.data_dir / "everwatch.db")) as database:
        placed = database.execute("SELECT user_id, partition FROM users").fetchall()
    assert {user: crc32(user.encode()) % NEW for user, _ in placed} == dict(placed)

    successor.ensure("worker", "executor", "sink")
    successor.wait_until_ready()
    joined = now_ms()
    # a producer that has not moved yet
    source.sign_up("behind", every("inline", "noop"))
    forwarding = everwatch("repartition", "--forward", "--json", environment=source.environment)
    try:
        for user in USERS:
            successor.wait_for_results(user, "site", 2, after=joined)
        for user in ("late", "behind"):
            successor.wait_for_results(user, "inline", 1, after=joined)
    finally:
        forwarding.terminate()
    assert orjson.loads(forwarding.communicate(timeout=30 * PATIENCE)[0]) == {"forwarded": 1}
    successor.wait_for_states(USERS[2], site="up", inline="paused")
    assert {m.monitor_id: m.state for m in successor.reader.monitors(USERS[0])}["inline"] is State.PAUSED
    assert [m.monitor_id for m in successor.reader.monitors(USERS[1])] == ["site"]
    assert successor.reader.user("gone") is None

    until = now_ms() - 1_000
    audited = ("audit", "--json", "--since", str(began), "--until", str(until), "--settle", "0s")

    def account() -> dict[str, Any]:
        found: dict[str, Any] = orjson.loads(run(*audited, environment=successor.environment).stdout)
        return found

    found = wait_until("nothing is missed", lambda: None if (held := account())["missed"] else held, 30, 1.0)
    assert (found["missed"], found["duplicate"]) == (0, 0), found
    assert found["ticks"] > 2 * len(USERS)

    with pytest.raises(TopicMismatch, match="has run the topics"):
        undo(*reached(source), Partitioner.CRC32, Silent())

"""``everwatch repartition`` killed at each of its steps, one by one: nothing is missed, and nothing counts twice.

In between it is undone, and the old generation goes on. Ticks of a region whose executors are away are copied, too.
"""

import signal
import sqlite3
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson
import pytest
from conftest import NewPipeline
from sqlalchemy import create_engine, text
from support import forking
from support.command import run
from support.forking import Program
from support.pipeline import Pipeline, Process, every
from support.postgres import Databases
from support.target import Target
from support.waiting import now_ms, wait_until

from everwatch.core.config import Settings
from everwatch.kafka.clients import KafkaClients, new_admin
from everwatch.repartition.generation_notes import GenerationNotes
from everwatch.repartition.placing import Partitioner, partition_of_user
from everwatch.repartition.repartitioning import settings_of_generation
from everwatch.rules.generations import Generation, successor_of

pytestmark = [pytest.mark.integration, pytest.mark.live]
TESTS = Path(__file__).parents[1]
USERS = [f"user-{number}" for number in range(6)]
REGIONS = ("ap", "eu")
NEW = 6
# whatever the kills take, a tick that was due meanwhile is run
POLICY = {"misfire_grace": "2h", "overlap": "allow", "timeout": "2s"}
STEPS = {
    "begin making the new topics",
    "before noting while making the new topics",
    "after noting while making the new topics",
    "begin closing the old topics",
    "before closing",
    "after closing",
    "before forwarding",
    "after forwarding",
    "begin noting where the sink and the notifier go on",
    "begin updating partitions of incidents",
    "begin opening the new topics",
    "before noting while opening the new topics",
    "after noting while opening the new topics",
    "begin updating partitions in the database",
    "during updating partitions in the database",
}
PLACES = "SELECT user_id, partition FROM users"
# everything but the last note is written then: inputs are on the new topics
UNDONE_AT = "begin opening the new topics"


def executors(pipeline: Pipeline, *regions: str) -> None:
    for region in regions:
        log = pipeline.settings.data_dir / f"executor-{region}.log"
        environment = pipeline.environment | {"EVERWATCH_REGION": region}
        pipeline.processes[f"executor-{region}"] = Process("executor", environment, log)


def stop(pipeline: Pipeline, *names: str) -> None:
    wanted = [pipeline.processes[name] for name in names or pipeline.processes if pipeline.processes[name].runs]
    for process in wanted:
        process.ask_to_stop()
    for process in wanted:
        assert process.wait(120) == 0


def told(pipeline: Pipeline, *arguments: str) -> dict[str, Any]:
    said = run(*arguments, "--json", environment=pipeline.environment)
    assert said.returncode in (0, 1), said.stderr
    found: dict[str, Any] = orjson.loads(said.stdout)
    return found


class Generations:
    """The old generation and the one that the command makes: which of them workers may run."""

    def __init__(self, settings: Settings) -> None:
        self.new = settings_of_generation(settings, Generation(f"{settings.topic_prefix}g2.", NEW))
        self._settings = settings

    def open_ones(self) -> list[str]:
        address = self._settings.bootstrap_servers
        clients = KafkaClients(self._settings, address)
        admin = new_admin(self._settings, address)
        noted = GenerationNotes(self._settings, clients, admin).read().values()
        found = [] if any(successor_of(each.owner) for each in noted) else ["old"]
        is_made = set(self.progress_topics()) <= set(admin.list_topics(timeout=60).topics)
        if is_made and GenerationNotes(self.new, clients, admin).state().is_finished:
            found.append("new")
        return found

    def progress_topics(self) -> list[str]:
        return [f"{self.new.topic_prefix}progress"]


def killed_at(pipeline: Pipeline, done: list[str], folder: Path) -> str:
    """Run it until its next step; gives the step, or "" when it has ended."""
    file = folder / "step"
    file.write_text("")
    arguments = [str(NEW), ",".join(done), str(file)]
    program = Program("support.dying_repartition", arguments, dict(pipeline.environment), str(TESTS), new_session=True)
    with (folder / "said").open("w+") as said:
        process = forking.start(program, stdin=subprocess.DEVNULL, stdout=said, stderr=said)
        status = process.wait(480)
        said.seek(0)
        assert status in (0, -signal.SIGKILL), said.read()
    return file.read_text() if status else ""


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of a database; empty for the one in the data folder."""
    if request.param == "sqlite":
        yield ""
        return
    databases: Databases = request.getfixturevalue("postgres")
    with databases.one() as url:
        yield url


def test_killed_at_each_step_it_misses_nothing_and_counts_nothing_twice(
    new_pipeline: NewPipeline, target: Target, database: str, tmp_path: Path
) -> None:
    more = {"regions": ",".join(REGIONS), "database": database}
    source = new_pipeline(**more)
    generations = Generations(source.settings)
    source.ensure("worker", "executor", "sink", "notifier")
    executors(source, *REGIONS)
    source.wait_until_ready()
    url = f"http://127.0.0.1:{target.port}/ok"
    inline = every("inline", "noop") | {"policy": {"misfire_grace": "2h"}}
    for user in USERS:
        near = every("near", "http", "2s", url=url) | {"policy": POLICY}
        far = every("far", "http", "2s", url=url) | {"policy": POLICY | {"regions": REGIONS}}
        source.sign_up(user, near, far, inline)
    for user in USERS:
        source.wait_for_results(user, "near", 2)
        wait_until("both regions answer", lambda user=user: regions_of(source, user) == set(REGIONS), 60)
    began = now_ms()
    # its ticks wait from now on
    stop(source, "executor-ap")
    source.wait_for_results(USERS[0], "near", 2, after=now_ms())
    stop(source)
    source.command("pause", USERS[1], "inline")
    source.command("run_now", USERS[2], "near")
    source.sign_up("late", inline)

    done: list[str] = []
    while step := killed_at(source, done, tmp_path):
        assert step not in done
        done.append(step)
        assert len(generations.open_ones()) <= 1, step
        if step == UNDONE_AT:
            assert generations.open_ones() == []
            assert told(source, "repartition", "--undo")["opened"] == [0, 1, 2, 3]
            assert generations.open_ones() == ["old"]
            # it goes on, and consumes what the new topics have a copy of
            source.ensure("worker", "sink")
            source.wait_for_results("late", "inline", 1)
            source.wait_for_states(USERS[1], near="up", far="up", inline="paused")
            stop(source, "worker", "sink")
            source.command("resume", USERS[1], "inline")
            source.command("run_now", USERS[3], "near")
    assert set(done) >= STEPS, done
    assert {f"during copying {source.settings.topic_prefix}{name}" for name in ("ticks.ap", "commands")} <= set(done)
    assert generations.open_ones() == ["new"]

    with Pipeline(
        source.settings.data_dir,
        source.settings.bootstrap_servers,
        generations.new.topic_prefix,
        **{**more, "partitions": NEW},
    ) as successor:
        assert places_of(successor, database) == {
            user: partition_of_user(Partitioner.CRC32, user.encode(), NEW) for user in (*USERS, "late")
        }
        successor.ensure("worker", "executor", "sink", "notifier")
        executors(successor, *REGIONS)
        successor.wait_until_ready()
        joined = now_ms()
        for user in USERS:
            successor.wait_for_results(user, "near", 2, after=joined)
        successor.wait_for_states("late", inline="up")
        successor.wait_for_states(USERS[1], near="up", far="up", inline="up")
        until = now_ms() - 1_000
        audited = ("audit", "--since", str(began), "--until", str(until), "--settle", "0s", "--late-after", "2h")
        found = wait_until(
            "nothing is missed", lambda: None if (held := told(successor, *audited))["missed"] else held, 60, 1.0
        )
        assert (found["missed"], found["duplicate"], found["skipped"]) == (0, 0, 0), found
        manual = Counter(
            (each.user_id, each.monitor_id) for each in successor.reader.identities(began, until) if each.manual
        )
        assert manual == {(USERS[2], "near"): 1, (USERS[3], "near"): 1}


def regions_of(pipeline: Pipeline, user: str) -> set[str]:
    return {result.region for result in pipeline.results(user, "far")}


def places_of(pipeline: Pipeline, database: str) -> dict[str, int]:
    """The partitions of users in the database."""
    if database:
        engine = create_engine(pipeline.settings.database_url)
        try:
            with engine.connect() as connection:
                return dict(map(tuple, connection.execute(text(PLACES))))
        finally:
            engine.dispose()
    with closing(sqlite3.connect(pipeline.settings.data_dir / "everwatch.db")) as held:
        return dict(held.execute(PLACES))

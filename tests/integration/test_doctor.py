"""``everwatch doctor`` and ``lag`` on a real Kafka: every fault of a process is a line with a remedy, and goes away."""

import os
import signal
import socket
import sqlite3
from collections.abc import Callable
from contextlib import closing
from typing import Any

import orjson
import pytest
from support.command import run
from support.pipeline import FEW, Pipeline, every
from support.waiting import wait_until

from everwatch.core.clock import SystemClock
from everwatch.diagnosis import CHECKS, Finding, System, diagnose

pytestmark = pytest.mark.integration
NewPipeline = Callable[..., Pipeline]
# doctor itself waits, to see what moves
PAUSE_S = 0.5


@pytest.fixture(scope="module")
def watched(new_pipeline: NewPipeline) -> Pipeline:
    """A pipeline of the module's own, with checks and inline monitors every second."""
    pipeline = new_pipeline(partitions=FEW)
    pipeline.ensure("worker", "executor", "sink")
    pipeline.wait_until_ready()
    for number in range(6):
        pipeline.sign_up(f"u-{number}", every("port", "tcp", host="127.0.0.1", port=9), every("nothing", "noop"))
    pipeline.wait_for_results("u-0", "port")
    return pipeline


def faults(pipeline: Pipeline, *names: str) -> list[Finding]:
    """Return what doctor finds wrong, apart from dead letters; ``names``: of the checks that are run, all if none."""
    system = System(pipeline.settings, pipeline.settings.bootstrap_servers, SystemClock())
    checks = [check for check in CHECKS if check.name in names or not names]
    return [finding for finding in diagnose(system, checks) if not finding.ok and finding.name != "dead letters"]


def wait_for_fault(pipeline: Pipeline, name: str, says: str) -> Finding:
    def told_by(*names: str) -> Finding | None:
        return next((each for each in faults(pipeline, *names) if each.name == name and says in each.says), None)

    def told() -> Finding | None:
        # while anything is wrong, doctor looks twice at much of it, with seconds in between
        return told_by() if told_by(name) else None

    found = wait_until(f"doctor says of {name}: {says}", told, 90, PAUSE_S, longest_pause_s=PAUSE_S)
    assert found is not None
    assert found.remedy
    return found


def wait_until_well(pipeline: Pipeline) -> None:
    seen: list[Finding] = []

    def well() -> bool:
        # what was wrong at the last look, and only then everything
        seen[:] = (seen and faults(pipeline, *(each.name for each in seen))) or faults(pipeline)
        return not seen

    try:
        wait_until("doctor finds all well", well, 90, PAUSE_S, longest_pause_s=PAUSE_S)
    except AssertionError as error:
        error.add_note(f"it still says {seen}")
        raise


def lag_of(pipeline: Pipeline, *arguments: str) -> list[dict[str, Any]]:
    said = run("lag", "--json", *arguments, environment=pipeline.environment)
    assert said.returncode == 0, said.stderr
    return [orjson.loads(line) for line in said.stdout.splitlines()]


def test_a_frozen_executor_is_told_and_so_is_that_it_goes_on(watched: Pipeline) -> None:
    wait_until_well(watched)
    frozen = watched.processes["executor"].pid
    os.kill(frozen, signal.SIGSTOP)
    try:
        wait_for_fault(watched, "executors", "no executor is running")
        said = run("doctor", environment=watched.environment)
        assert said.returncode == 1
        assert "BAD executors" in said.stdout
        assert "everwatch executor" in said.stdout
        audited = run("audit", "--since", "5m", "--settle", "3s", "--json", environment=watched.environment)
        told = orjson.loads(audited.stdout)
        assert told["waiting"] > 0
        assert (audited.returncode, told["missed"]) == (0, 0), told["examples"]
        waiting = lag_of(watched, "--process", "executor", "--behind")
        assert waiting
        assert {row["client_id"] for row in waiting} == {""}
        assert max(row["lag_s"] for row in waiting) > 1
    finally:
        os.kill(frozen, signal.SIGCONT)
    wait_until_well(watched)


def test_an_executor_that_was_killed_is_told(watched: Pipeline) -> None:
    watched.processes["executor"].kill()
    wait_for_fault(watched, "executors", "no executor is running")
    watched.ensure("executor")
    wait_until_well(watched)


def test_one_of_two_executors_that_is_killed_is_told_and_one_that_is_stopped_is_not(watched: Pipeline) -> None:
    watched.ensure("executor", "executor-2")
    wait_until_well(watched)
    killed = watched.processes["executor-2"]
    killed.kill()
    found = wait_for_fault(watched, "executors", "ended without leaving its group")
    assert f"-{killed.pid} " in found.says
    # another one on its host stands for it
    watched.ensure("executor-2")
    wait_until_well(watched)
    stopped = watched.processes["executor-2"]
    assert stopped.stop() == 0

    def told() -> bool:
        said = run("doctor", "--json", environment=watched.environment)
        return any(
            f"stopped on purpose: everwatch-{socket.gethostname()}-{stopped.pid}" in each["says"]
            for each in orjson.loads(said.stdout)
            if each["name"] == "executors" and each["ok"]
        )

    wait_until("doctor says that it was stopped on purpose", told, 90, PAUSE_S, longest_pause_s=PAUSE_S)


def test_a_sink_that_is_locked_out_or_gone_is_told(watched: Pipeline) -> None:
    database = watched.settings.data_dir / "everwatch.db"
    with closing(sqlite3.connect(database, isolation_level=None, timeout=30)) as other:
        other.execute("BEGIN IMMEDIATE")
        wait_for_fault(watched, "sink", "locked out")
        other.execute("ROLLBACK")
    wait_until_well(watched)
    watched.processes["sink"].kill()
    wait_for_fault(watched, "sink", "no sink is running")
    watched.ensure("sink")
    wait_until_well(watched)


def test_a_frozen_worker_and_one_that_is_gone_are_told(watched: Pipeline) -> None:
    worker = watched.processes["worker"]
    os.kill(worker.pid, signal.SIGSTOP)
    try:
        wait_for_fault(watched, "ticks", "no ticks for")
        wait_for_fault(watched, "workers", f"process {worker.pid} of this machine is stopped by a signal")
        wait_for_fault(watched, "workers", "no worker is running")
    finally:
        os.kill(worker.pid, signal.SIGCONT)
    # it may end, as it was taken for dead
    worker.kill()
    wait_for_fault(watched, "workers", "no worker is running")
    watched.ensure("worker")
    wait_until_well(watched)


def test_a_notifier_counts_once_it_has_run(watched: Pipeline) -> None:
    assert lag_of(watched, "--process", "notifier") == []
    watched.ensure("notifier")
    partitions = watched.settings.partitions

    def has_all() -> bool:
        rows = lag_of(watched, "--process", "notifier")
        pids = {each["client_id"].rpartition("-")[2] for each in rows}
        return len(rows) == 3 * partitions and pids == {str(watched.processes["notifier"].pid)}

    wait_until("the notifier reads all of its partitions", has_all, 90, 0.5)
    wait_until_well(watched)
    watched.processes["notifier"].kill()
    wait_for_fault(watched, "notifier", "no notifier is running")
    watched.ensure("notifier")
    wait_until_well(watched)


def test_recent_dead_letters_are_told_by_source_and_reason(watched: Pipeline) -> None:
    watched.send(watched.topics.signups, "bad", {"user_id": "bad", "monitors": [{"kind": "nonsense"}]})

    def told() -> Finding | None:
        system = System(watched.settings, watched.settings.bootstrap_servers, SystemClock())
        return next((each for each in diagnose(system) if each.name == "dead letters" and not each.ok), None)

    found = wait_until("doctor names the dead letter", told, 60, 0.5)
    assert found is not None
    assert watched.topics.signups in found.says
    assert "nonsense" in found.says


def test_lag_has_a_row_for_every_partition_with_its_owner(watched: Pipeline) -> None:
    wait_until_well(watched)
    rows = lag_of(watched)
    partitions = watched.settings.partitions
    readers = {"worker": 4, "executor": 3, "sink": 6, "notifier": 3}
    for process, topics in readers.items():
        some = [row for row in rows if row["process"] == process]
        assert len(some) == topics * partitions
        # the worker was killed and started again: its name is that of its folder, which no process takes along
        name = "worker-1" if process == "worker" else str(watched.processes[process].pid)
        assert {row["client_id"] for row in some} == {f"everwatch-{socket.gethostname()}-{name}"}
    assert all(row["emitted_to"] for row in rows)
    summary = lag_of(watched, "--summary", "--topic", watched.topics.results)
    assert sorted(row["process"] for row in summary) == ["sink", "worker"]
    shown = run("lag", "--summary", environment=watched.environment)
    assert "ticks emitted" in shown.stdout

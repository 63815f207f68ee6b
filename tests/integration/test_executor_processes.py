"""One executor as several processes, on a real broker."""

import subprocess
import sys
import urllib.request

import psutil
import pytest
from conftest import NewPipeline
from prometheus_client.parser import text_string_to_metric_families
from support.command import run
from support.pipeline import Pipeline, every
from support.ports import free_ports
from support.target import Target
from support.waiting import wait_until

from everwatch.core.errors import BrokerUnavailable
from everwatch.kafka.clients import new_admin
from everwatch.kafka.consumer_groups import executors_group, members_of
from everwatch.store.selections import ResultSelection

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def pipeline(new_pipeline: NewPipeline) -> Pipeline:
    running = new_pipeline()
    running.ensure("worker", "sink")
    running.wait_until_ready()
    return running


def is_balanced(pipeline: Pipeline) -> bool:
    """Tell whether two processes have each topic's partitions between them, within one."""
    admin = new_admin(pipeline.settings, pipeline.settings.bootstrap_servers)
    group = executors_group(pipeline.settings)
    try:
        members = members_of(admin, [group])[group]
    except BrokerUnavailable:
        return False  # it is asked again: the machine may be busy with other things
    for topic in pipeline.topics.all_ticks:
        shares = [sum(held == topic for held, _ in member.partitions) for member in members]
        if len(shares) != 2 or sum(shares) != pipeline.settings.partitions or max(shares) - min(shares) > 1:
            return False
    return True


def test_processes_share_the_ticks_one_that_is_killed_comes_again_and_all_stop_together(
    pipeline: Pipeline, target: Target
) -> None:
    command = [sys.executable, "-m", "everwatch", "executor", "--processes", "2", "--stop-with-parent"]
    [port] = free_ports(1)
    environment = pipeline.environment | {"EVERWATCH_METRICS_PORT": str(port)}
    executor = subprocess.Popen(command, stdin=subprocess.PIPE, env=environment, start_new_session=True)
    try:
        ours = psutil.Process(executor.pid)
        # of each priority, because a process may have all partitions of one
        monitors = [
            every(priority, "http", url=target.url("/ok")) | {"policy": {"priority": priority}}
            for priority in ("high", "normal", "low")
        ]
        users = [f"shared-{number}" for number in range(8)]
        for user in users:
            pipeline.send(pipeline.topics.signups, user, {"user_id": user, "monitors": monitors})

        def executors() -> set[str]:
            return {
                stored.result.executor
                for user in users
                for stored in pipeline.reader.results(ResultSelection(user), limit=1_000)
            }

        wait_until("both have run checks", lambda: len(executors()) == 2, 60)
        wait_until("each topic is balanced", lambda: is_balanced(pipeline), 60)
        metrics = f"http://127.0.0.1:{port}/metrics"
        with urllib.request.urlopen(metrics, timeout=60) as answer:
            families = list(text_string_to_metric_families(answer.read().decode()))
        checked = [
            sample.labels["replica"]
            for family in families
            for sample in family.samples
            if sample.name == "everwatch_executor_check_duration_seconds_count" and sample.value
        ]
        assert set(checked) == {"1", "2"}, "one port serves both"
        killed, other = wait_until("there are two", lambda: len(found := ours.children()) == 2 and found)
        killed.kill()
        wait_until("another has taken its place and works", lambda: len(executors()) == 3, 60)
        wait_until("each topic is balanced again", lambda: is_balanced(pipeline), 60)
        assert other.is_running()
    finally:
        executor.terminate()
        assert executor.wait(60) == 0
    assert not other.is_running()


def test_a_limit_that_is_too_small_to_be_shared_is_refused_at_once(pipeline: Pipeline) -> None:
    said = run("executor", "--processes", "8", environment=pipeline.environment | {"EVERWATCH_TARGET_PER_S": "3"})
    assert said.returncode == 2
    assert "EVERWATCH_TARGET_PER_S: 3 cannot be shared by 8 processes" in said.stderr

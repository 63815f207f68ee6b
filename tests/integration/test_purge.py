"""``everwatch user purge`` on a running system: what goes, what does not come back, and what is told."""

import os
import signal

import orjson
import pytest
from conftest import NewPipeline
from support.command import run
from support.pipeline import FEW, Pipeline
from support.waiting import wait_until

from everwatch.core.clock import SystemClock
from everwatch.core.output_format import OutputFormat
from everwatch.encoding import codec
from everwatch.kafka.topics import HOUR_MS
from everwatch.model import Result, Status
from everwatch.store.selections import ResultSelection, TransitionSelection

pytestmark = pytest.mark.integration
NOOP = {"monitor_id": "m", "kind": "noop", "schedule": {"every": "1s"}}
LATER = {"monitor_id": "later", "kind": "noop", "schedule": {"every": "1d", "start_at": "2099-01-01T00:00:00Z"}}
NOTHING = {"users": 0, "monitors": 0, "results": 0, "transitions": 0, "history": 0, "tasks": 0}


@pytest.fixture(scope="module")
def pipeline(new_pipeline: NewPipeline) -> Pipeline:
    """A worker and a sink; monitors of kind noop need no executor."""
    made = new_pipeline(partitions=FEW)
    made.ensure("worker", "sink")
    made.wait_until_ready()
    return made


def held(pipeline: Pipeline, user_id: str) -> dict[str, int]:
    reader = pipeline.reader
    return {
        "users": int(reader.user(user_id) is not None),
        "monitors": len(reader.monitors(user_id)),
        "results": len(reader.results(ResultSelection(user_id), limit=10_000)),
        "transitions": len(reader.transitions(TransitionSelection(user_id), limit=10_000)),
        "history": len(list(reader.history(user_id))),
        "tasks": len(reader.tasks(user_id, now=SystemClock().now_ms())),
    }


def watch(pipeline: Pipeline, user_id: str) -> None:
    """Sign a user up, give it a task, and wait until each table holds something of it."""
    pipeline.sign_up(user_id, NOOP, LATER)
    task = {"kind": "noop", "schedule": {"in": "1d"}}
    pipeline.command("put", user_id, "task", monitor=task, command_id=f"task-of-{user_id}")
    wait_until("everything is stored", lambda: all(held(pipeline, user_id).values()))


def purge(pipeline: Pipeline, user_id: str, *options: str, status: int = 0) -> dict[str, object]:
    said = run("user", "purge", user_id, "--yes", "--json", *options, environment=pipeline.environment)
    assert said.returncode == status, said
    told: dict[str, object] = orjson.loads(said.stdout)
    return told


def keys_of(pipeline: Pipeline, user_id: str) -> set[bytes]:
    """The keys of the changelog whose last record is no deletion."""
    left: dict[bytes, bytes | None] = {}
    for message in pipeline.read(pipeline.topics.monitors_changelog):
        left[message.key() or b""] = message.value()
    return {key for key, value in left.items() if value is not None and key.startswith(codec.table_key(user_id))}


def test_a_purged_user_is_gone_and_told_what_topics_keep(pipeline: Pipeline) -> None:
    watch(pipeline, "anna")
    watch(pipeline, "annabel")
    told = purge(pipeline, "anna")
    assert held(pipeline, "anna") == NOTHING
    assert all(held(pipeline, "annabel").values())
    # nor does the table know which commands there were
    assert keys_of(pipeline, "anna") == set()
    assert told["was_watched"]
    deleted = told["deleted"]
    assert isinstance(deleted, dict)
    assert {"results", "transitions", "monitor_history", "tasks"} <= deleted.keys()
    ended_at, remains = told["ended_at"], told["remains"]
    assert isinstance(ended_at, int)
    assert isinstance(remains, list)
    until = {each["topic"]: each["until"] - ended_at for each in remains}
    topics = pipeline.topics
    assert until.keys() == set(topics.all) - {topics.progress, topics.access, topics.jobs}
    # as the topics are configured, and a week (segment.ms) more until a segment is closed
    assert until[topics.dead_letters] >= 37 * 24 * HOUR_MS
    assert until[topics.dead_letters] < 38 * 24 * HOUR_MS
    assert until[topics.monitors_changelog] >= 14 * 24 * HOUR_MS

    again = purge(pipeline, "anna")
    assert (again["was_watched"], again["deleted"]) == (False, {})


def test_results_of_what_was_under_way_are_not_stored_and_a_new_registration_is(pipeline: Pipeline) -> None:
    watch(pipeline, "bert")
    told = purge(pipeline, "bert")
    ended_at = told["ended_at"]
    assert isinstance(ended_at, int)
    late = Result("bert", "m", ended_at - 500, "noop", 1, Status.SUCCESS, "late", ended_at + 100, 1.0)
    place = pipeline.send(pipeline.topics.results, "bert", codec.encode_result(late, OutputFormat.AVRO))
    # what came behind it on its partition is stored, so the sink has passed it
    pipeline.sign_up("bert", NOOP, partition=place.partition)
    pipeline.wait_for_results("bert", "m", 2, after=ended_at)
    assert [result.reason for result in pipeline.results("bert") if result.scheduled_at <= ended_at] == []
    assert held(pipeline, "bert") == held(pipeline, "bert") | {"users": 1, "monitors": 1, "tasks": 0}


def test_a_sink_that_is_away_carries_a_purge_out_later_and_brings_nothing_back(pipeline: Pipeline) -> None:
    watch(pipeline, "carl")
    sink = pipeline.processes["sink"]
    os.kill(sink.pid, signal.SIGSTOP)
    newest = pipeline.results("carl")[-1].scheduled_at
    pipeline.wait_for_progress(newest + 3_000)
    said = run("user", "purge", "carl", "--yes", "--timeout", "3s", environment=pipeline.environment)
    assert (said.returncode, "no sink has deleted" in said.stderr) == (3, True)
    assert held(pipeline, "carl")["results"]
    # results of after the purge are behind it on the topics, and the sink dies before it has read either
    sink.kill()
    pipeline.ensure("sink")
    wait_until("the next sink has purged the user", lambda: held(pipeline, "carl") == NOTHING)
    pipeline.wait_for_results("annabel", "m", 1, after=SystemClock().now_ms())
    assert purge(pipeline, "carl")["deleted"] == {}
    assert held(pipeline, "carl") == NOTHING


def test_a_purge_that_nobody_waits_for_is_carried_out(pipeline: Pipeline) -> None:
    watch(pipeline, "dora")
    pipeline.command("purge", "dora", command_id="p-1")

    def is_over() -> bool:
        found = pipeline.reader.purge("dora", "p-1")
        return found is not None and found.over_at > 0

    wait_until("the sink has carried it out", is_over)
    assert held(pipeline, "dora") == NOTHING
    told = purge(pipeline, "dora")
    assert not told["was_watched"]


def test_nothing_is_purged_unasked(pipeline: Pipeline) -> None:
    said = run("user", "purge", "annabel", environment=pipeline.environment)
    assert (said.returncode, said.stdout) == (2, "")
    assert "Give --yes" in said.stderr
    assert held(pipeline, "annabel")["users"] == 1

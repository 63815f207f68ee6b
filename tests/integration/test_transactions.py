"""Inputs that come in a client's transaction: they count once it is committed, and never if it is aborted."""

from typing import Any, NamedTuple
from uuid import uuid4

import orjson
import pytest
from confluent_kafka import Message, Producer
from conftest import NewPipeline
from support.command import run
from support.pipeline import PARTITIONS, Pipeline, every
from support.waiting import wait_until

pytestmark = pytest.mark.integration


class Transaction:
    """A pause and a signal of ann and a signup of bob, on the broker, in a transaction that is still open."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.producer = Producer(
            {"bootstrap.servers": pipeline.settings.bootstrap_servers, "transactional.id": uuid4().hex}
        )
        self.producer.init_transactions(30)
        self.producer.begin_transaction()
        self.partition_of: dict[str, int] = {}
        topics = pipeline.topics
        self._put(topics.commands, "ann", command="pause", monitor_id="ticking")
        self._put(topics.signals, "ann", monitor_id="job")
        self._put(topics.signups, "bob", monitors=[every("ticking", "noop")])
        assert self.producer.flush(120) == 0

    def _put(self, topic: str, user_id: str, **fields: Any) -> None:
        def note(error: object, message: Message) -> None:
            assert error is None, error
            self.partition_of[topic] = message.partition() or 0

        self.producer.produce(topic, key=user_id, value=orjson.dumps({"user_id": user_id, **fields}), on_delivery=note)


class Seen(NamedTuple):
    """A user in the database: each monitor's state, and whose signals were taken."""

    states: dict[str, str]
    signalled: set[str]


def seen(pipeline: Pipeline, user_id: str) -> Seen:
    monitors = pipeline.reader.monitors(user_id)
    return Seen({m.monitor_id: m.state.value for m in monitors}, {m.monitor_id for m in monitors if m.last_signal})


def wait_until_seen(pipeline: Pipeline, user_id: str, states: dict[str, str], signalled: set[str]) -> None:
    expected = Seen(states, signalled)
    wait_until(f"of {user_id} is seen {expected}", lambda: seen(pipeline, user_id) == expected, 60)


def test_a_transaction_changes_nothing_when_aborted_and_everything_when_committed(new_pipeline: NewPipeline) -> None:
    pipeline = new_pipeline()
    pipeline.ensure("worker", "sink")
    pipeline.wait_until_ready()
    pipeline.sign_up(
        "ann", *(every(name, "heartbeat", period="1h") for name in ("job", "other")), every("ticking", "noop")
    )
    up = {"job": "up", "other": "up", "ticking": "up"}
    wait_until_seen(pipeline, "ann", up, set())

    aborted = Transaction(pipeline)
    # it waits as long as the transaction is open, also by what people see
    told = run("lag", "--process", "worker", "--behind", "--json", environment=pipeline.environment)
    waiting = {row["topic"]: (row["lag"], row["lag_s"]) for row in map(orjson.loads, told.stdout.splitlines())}
    inputs = pipeline.topics.commands, pipeline.topics.signals, pipeline.topics.signups
    assert {topic: waiting[topic] for topic in inputs} == dict.fromkeys(inputs, (1, None))
    aborted.producer.abort_transaction(30)
    # what comes behind it on the same partitions takes effect
    pipeline.command("pause", "ann", "other")
    pipeline.beat("ann", "other")
    pipeline.sign_up("eve", every("ticking", "noop"), partition=aborted.partition_of[pipeline.topics.signups])
    wait_until_seen(pipeline, "ann", up | {"other": "paused"}, {"other"})
    wait_until_seen(pipeline, "eve", {"ticking": "up"}, set())
    assert seen(pipeline, "bob").states == {}

    # the marker of an abort is the last that each partition holds, and no record that a reader could wait for
    forged = Transaction(pipeline).producer
    for number in range(PARTITIONS):
        forged.produce(pipeline.topics.transitions, b"{}", b"ann", number)
    assert forged.flush(120) == 0
    forged.abort_transaction(30)
    printed = run("transitions", "--from", "topic", "--limit", "1000", environment=pipeline.environment)
    assert printed.returncode == 0, printed.stderr
    assert "ann/other  up → paused" in printed.stdout

    Transaction(pipeline).producer.commit_transaction(30)
    wait_until_seen(pipeline, "ann", {"job": "up", "other": "paused", "ticking": "paused"}, {"job", "other"})
    wait_until_seen(pipeline, "bob", {"ticking": "up"}, set())

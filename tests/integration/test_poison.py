"""Records that nobody can handle, sent to a running system: they harm nothing but themselves."""

from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

import orjson
import pytest
from confluent_kafka import Consumer, Message, Producer, TopicPartition
from support.pipeline import PARTITIONS, Pipeline, Place, every
from support.waiting import now_ms, wait_until

from everwatch.encoding import avro_schemas
from everwatch.encoding.codec import encode_tick
from everwatch.model import Tick

pytestmark = pytest.mark.integration
HOUR_MS = 3_600_000
LARGE_KEY = b"k" * 3_000_000
CONTROL = "control"


class Poison(NamedTuple):
    """A record and who refuses it."""

    topic: str
    key: bytes | None
    value: bytes
    by: frozenset[str]


def result(**changes: object) -> bytes:
    at = now_ms()
    good = {
        "user_id": "victim",
        "monitor_id": "m",
        "scheduled_at": at,
        "kind": "noop",
        "version": 1,
        "status": "failure",
        "reason": "",
        "started_at": at,
        "duration_ms": 1.0,
    }
    return orjson.dumps(good | changes)


def poisons(pipeline: Pipeline) -> Iterator[Poison]:
    """Poison records: each has stopped a process once."""
    topics = pipeline.topics
    worker, both = frozenset({"worker"}), frozenset({"worker", "sink"})
    victim = b"victim"
    # 1. results that cannot be judged
    yield Poison(topics.results, victim, avro_schemas.header("result") + b"\xfe" * 9 + b"\x01" + b"ann", both)
    yield Poison(topics.results, victim, result(user_id="__everwatch", monitor_id="written__"), both)
    yield Poison(topics.results, victim, result(user_id="__faust", monitor_id="offset__"), both)
    yield Poison(topics.results, victim, result(monitor_id="\x01commands"), both)
    yield Poison(topics.results, victim, result(duration_ms=1e300), both)
    yield Poison(topics.results, victim, result(started_at=2**62), both)
    yield Poison(topics.results, victim, result(reason="x" * 300_000), both)
    # 2. a result from hours ahead, for a monitor with retries
    yield Poison(topics.results, victim, result(scheduled_at=now_ms() + 4 * HOUR_MS), both)
    # 3. keys of 3 MB that compress well
    yield Poison(topics.results, LARGE_KEY, b"x", both)
    yield Poison(topics.transitions, LARGE_KEY, b"x", frozenset({"sink"}))
    signup = {"user_id": "victim", "monitors": [every("m", "noop")]}
    yield Poison(topics.signups, LARGE_KEY, orjson.dumps(signup), worker)
    yield Poison(
        topics.commands, LARGE_KEY, orjson.dumps({"command": "pause", "user_id": "v", "monitor_id": "m"}), worker
    )
    yield Poison(topics.signals, LARGE_KEY, orjson.dumps({"user_id": "nobody", "monitor_id": "m"}), worker)
    tick = encode_tick(Tick("u", "m", 0, "noop", "{}", 1_000, 1, 0))
    for topic in topics.all_ticks:
        yield Poison(topic, LARGE_KEY, tick, frozenset({"executor"}))
        yield Poison(topic, b"__everwatch", tick, frozenset({"executor"}))
    # of the same kind: keys of the store, a run by hand of what begins next year, a signal from hours ahead
    for user in ("__everwatch", "__faust"):
        yield Poison(topics.signups, None, orjson.dumps({"user_id": user, "monitors": []}), worker)
        yield Poison(topics.signals, None, orjson.dumps({"user_id": user, "monitor_id": "written__"}), worker)
    ahead = {"user_id": "victim", "monitor_id": "m", "at": now_ms() + 4 * HOUR_MS}
    yield Poison(topics.signals, victim, orjson.dumps(ahead), worker)
    yield Poison(topics.signals, victim, orjson.dumps({"user_id": "victim", "x" * 400_000: 1}), worker)


@pytest.fixture(scope="module")
def running(new_pipeline: Any) -> Pipeline:
    pipeline: Pipeline = new_pipeline()
    pipeline.ensure("worker", "executor", "sink")
    pipeline.wait_until_ready()
    return pipeline


def test_each_poison_is_refused_once_and_a_user_beside_it_misses_nothing(running: Pipeline) -> None:
    pids = {name: process.pid for name, process in running.processes.items()}
    later = every("later", "noop")
    later["schedule"] |= {"start_at": now_ms() + 1_000 * HOUR_MS}
    retried = every("m", "noop", "1h") | {"policy": {"retries": {"max": 3}}}
    for number in range(PARTITIONS):
        running.sign_up(f"{CONTROL}-{number}", every("a", "noop"), every("b", "noop"), partition=number)
    victim = running.sign_up("victim", retried, later)
    running.wait_for_results(f"{CONTROL}-0", "a")
    after = now_ms()

    sent: dict[Place, Poison] = {}
    producer = Producer(
        {
            "bootstrap.servers": running.settings.bootstrap_servers,
            "compression.type": "zstd",
            "message.max.bytes": 10_000_000,
        }
    )
    for number in {victim.partition, (victim.partition + 1) % PARTITIONS}:
        for poison in poisons(running):
            where = victim.partition if b"victim" in (poison.key or b"") else number
            place = produce(producer, poison, where)
            sent[place] = poison
    # refused by nobody, and harmless: what no broker would have taken is put right
    running.command("run_now", "victim", "later")

    def refused() -> Counter[tuple[Place, str]] | None:
        found = Counter(source_of(letter) for letter in running.read(running.topics.dead_letters))
        wanted = {(place, process) for place, poison in sent.items() for process in poison.by}
        return found if wanted <= found.keys() else None

    wait_until("each poison is in the dead letters", refused, 120)
    running.wait_for_results("victim", "later")
    upto = now_ms()
    account = running.wait_for_balance(after, upto, 60)
    assert not account.missed
    wait_until("nothing is behind", lambda: not lag(running), 60)
    letters = running.read(running.topics.dead_letters)
    assert {place: count for place, count in Counter(map(source_of, letters)).items() if count != 1} == {}
    assert {place for place, _ in map(source_of, letters)} == sent.keys()
    for letter in letters:
        said = headers_of(letter)
        assert said["code"] != "unhandled", said["reason"]
        if len(sent[source_of(letter)[0]].key or b"") > 1_000_000:
            assert (said["cut"], said["key_length"]) == ("key", "3000000")
            assert LARGE_KEY.startswith(letter.key())
    assert {name: process.pid for name, process in running.processes.items() if process.runs} == pids


def produce(producer: Producer, poison: Poison, partition: int) -> Place:
    """Send one, and wait until the broker has it."""
    delivered: list[Message] = []

    def note(error: object, message: Message) -> None:
        assert error is None, error
        delivered.append(message)

    producer.produce(poison.topic, key=poison.key, value=poison.value, partition=partition, on_delivery=note)
    assert producer.flush(120) == 0
    [message] = delivered
    return Place(poison.topic, message.partition() or 0, message.offset() or 0)


def headers_of(letter: Message) -> dict[str, str]:
    given: Any = letter.headers()
    return {name: data.decode() for name, data in given}


def source_of(letter: Message) -> tuple[Place, str]:
    """Return which record a dead letter is of, and who refused it."""
    said = headers_of(letter)
    place = Place(said["source_topic"], int(said["source_partition"]), int(said["source_offset"]))
    return place, said["refused_by"]


def lag(pipeline: Pipeline) -> dict[tuple[str, int], int]:
    """Return how many records each group has left to read of what it reads, where that is not nothing."""
    topics, application = pipeline.topics, pipeline.settings.application
    groups = {
        f"{application}-worker-{topics.signups}": (topics.signups,),
        f"{application}-worker-{topics.signals}": (topics.signals,),
        f"{application}-executors": topics.all_ticks,
        f"{application}-worker-{topics.results}": (topics.results,),
        f"{application}-sink": (topics.results, topics.transitions),
        f"{application}-worker-{topics.commands}": (topics.commands,),
    }
    behind: dict[tuple[str, int], int] = {}
    for group, names in groups.items():
        consumer = Consumer(
            {"bootstrap.servers": pipeline.settings.bootstrap_servers, "group.id": group, "enable.auto.commit": False}
        )
        try:
            asked = [TopicPartition(name, number) for name in names for number in range(PARTITIONS)]
            for position in consumer.committed(asked, timeout=60):
                low, high = consumer.get_watermark_offsets(
                    TopicPartition(position.topic, position.partition), timeout=60
                )
                # ticks go out and results come each second: what has just come may be on its way
                most = 20 if position.topic in (*topics.all_ticks, topics.results) else 0
                left = high - max(position.offset, low)
                if left > most:
                    behind[position.topic, position.partition] = left
        finally:
            consumer.close()
    return behind

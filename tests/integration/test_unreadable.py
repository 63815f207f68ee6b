"""Batches that no consumer can unpack, or that are damaged, on every topic that is read: they alone are passed over."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer
from conftest import NewPipeline
from support.batches import bomb, send_batches
from support.command import run
from support.pipeline import Pipeline, every
from support.process_memory import MB, assert_bounded, resident_bytes
from support.shared_broker import SharedBroker
from support.waiting import now_ms, wait_until

from everwatch.backup.folder import read_manifest
from everwatch.core.clock import SystemClock
from everwatch.diagnosis import System
from everwatch.diagnosis.checks.dead_letters import check_dead_letters
from everwatch.kafka.clients import new_admin
from everwatch.kafka.topic_administration import ensure_topics
from everwatch.model import Result

pytestmark = pytest.mark.integration
# batches that librdkafka unpacks, whatever they unpack to; snappy packs 21 bytes into one, and a topic takes 1 MB
READ = {"gzip": 32 * MB, "lz4": 32 * MB, "snappy": 16 * MB}
# unpacking takes a busy machine seconds
WITHIN_S = 120


def test_a_batch_that_cannot_be_unpacked_or_is_damaged_stops_nothing(
    new_pipeline: NewPipeline, broker: SharedBroker, tmp_path: Path
) -> None:
    pipeline = new_pipeline()
    topics = pipeline.topics
    damaged = damaged_signups(pipeline, broker.folder, 1)
    silent = silent_signals(pipeline, broker.folder, 0)
    pipeline.ensure("worker", "executor", "sink")
    pipeline.wait_until_ready()
    # everything of this user is on partition 1
    pipeline.sign_up(
        "ann", every("tick", "tcp", host="127.0.0.1", port=1), every("job", "heartbeat", period="1h"), partition=1
    )
    pipeline.wait_for_results("ann", "tick")
    wait_until("doctor names the damaged batch", lambda: told_by_doctor(pipeline, topics.signups, "cannot be read"))

    inputs = (topics.signups, topics.commands, topics.signals, *topics.all_ticks, topics.results)
    unpackable = [(topic, 1, bomb("zstd", 90 * MB, now_ms(), honest=3)) for topic in inputs]
    too_large = [
        (topic, 1, bomb(codec, size, now_ms()))
        for topic in (topics.signals, topics.ticks, topics.results)
        for codec, size in READ.items()
    ]
    begun = now_ms()
    before = {name: (process.pid, resident_bytes(process.pid)) for name, process in pipeline.processes.items()}
    at = send_batches(pipeline.settings.bootstrap_servers, unpackable + too_large)
    assert None not in at

    # what comes behind them is taken
    pipeline.send(topics.commands, "ann", {"command": "pause", "user_id": "ann", "monitor_id": "job"}, partition=1)
    pipeline.sign_up("bob", every("tick", "noop"), partition=1)
    pipeline.wait_for_states("bob", WITHIN_S, tick="up")
    pipeline.wait_for_states("ann", WITHIN_S, tick="down", job="paused")
    wait_until("ann's checks go on", lambda: len(results_since(pipeline, begun)) >= 3, WITHIN_S)

    readers = dict.fromkeys((topics.signups, topics.commands, topics.signals), ("worker",))
    readers |= dict.fromkeys(topics.all_ticks, ("executor",)) | {topics.results: ("sink", "worker")}
    expected = Counter([("worker", topics.signups, "1", *map(str, damaged))])
    expected["worker", topics.signals, "0", *map(str, silent)] += 1
    expected.update(
        (reader, topic, str(partition), str(first), str(first + batch.record_count() - 1))
        for (topic, partition, batch), first in zip(unpackable + too_large, at, strict=True)
        for reader in readers[topic]
        if first is not None
    )
    wait_until("each is recorded", lambda: unreadable(pipeline).total() >= expected.total(), WITHIN_S)
    assert unreadable(pipeline) == expected
    print(assert_bounded(before))  # noqa: T201
    for process in pipeline.processes.values():
        assert process.runs
        assert "cannot be read" in process.logged()

    # a backup passes over them too, says so, and keeps in mind what it lacks
    copied = (topics.access, topics.jobs, topics.cancellations)
    begun_at = send_batches(
        pipeline.settings.bootstrap_servers, [(topic, 1, bomb("zstd", 90 * MB, now_ms())) for topic in copied]
    )
    said = run("backup", str(tmp_path / "backup"), environment=pipeline.environment)
    assert said.returncode == 0, said.stderr
    assert "WARNING: 3 batches of records cannot be read by any client, and are not in it" in said.stderr
    lacking = [(each.topic, each.partition, each.begin) for each in read_manifest(tmp_path / "backup").unreadable]
    assert lacking == sorted(zip(("access", "jobs", "cancellations"), (1, 1, 1), begun_at, strict=True))


def damaged_signups(pipeline: Pipeline, kafka_folder: Path, partition: int) -> tuple[int, int]:
    """Send signups, and change a byte of them on the broker's disk; gives the first and last offset of their batch."""
    topic = pipeline.topics.signups
    ensure_topics(new_admin(pipeline.settings, pipeline.settings.bootstrap_servers), pipeline.settings)
    producer = Producer({"bootstrap.servers": pipeline.settings.bootstrap_servers, "linger.ms": 2_000})
    for number in range(3):
        producer.produce(
            topic, key=f"damaged-{number}", value=f'{{"user_id": "damaged-{number}"}}', partition=partition
        )
    # not flushed, which may send the first of them by itself
    wait_until("all are sent, in one batch", lambda: producer.poll(0.1) is not None and not len(producer))
    segment, begin, data = batch_with(kafka_folder, topic, partition, b"damaged-1")
    with segment.open("r+b") as stream:
        stream.seek(begin + data[begin:].index(b"damaged-1"))
        stream.write(b"D")
    first = int.from_bytes(data[begin : begin + 8])
    return first, first + int.from_bytes(data[begin + 23 : begin + 27])


def silent_signals(pipeline: Pipeline, kafka_folder: Path, partition: int) -> tuple[int, int]:
    """Send signals, and have one's length point beyond the segment; gives the first and last offset that is lost.

    For these the broker gives nothing, and no error. Its index has an entry for each 4 KB, and so for each signal.
    """
    topic = pipeline.topics.signals
    producer = Producer({"bootstrap.servers": pipeline.settings.bootstrap_servers})
    for number in range(4):
        producer.produce(topic, key="nobody", value=f"signal-{number} {'x' * 5_000}", partition=partition)
        producer.flush()
    segment, begin, data = batch_with(kafka_folder, topic, partition, b"signal-1")
    with segment.open("r+b") as stream:
        stream.seek(begin + 8)
        stream.write((0x70000000).to_bytes(4))
    first = int.from_bytes(data[begin : begin + 8])
    return first, first


def batch_with(kafka_folder: Path, topic: str, partition: int, content: bytes) -> tuple[Path, int, bytes]:
    """Return the segment of a partition, where in it the batch with this content begins, and all of its bytes."""
    [segment] = kafka_folder.rglob(f"{topic}-{partition}/*.log")
    data, begin = segment.read_bytes(), 0
    place = data.index(content)
    # of a batch: the base offset, 8 bytes; the length of what follows, 4; behind 11 more, how far the last offset lies
    while (end := begin + 12 + int.from_bytes(data[begin + 8 : begin + 12])) <= place:
        begin = end
    return segment, begin, data


def told_by_doctor(pipeline: Pipeline, topic: str, says: str) -> bool:
    """Tell whether a finding on dead letters says so of a topic."""
    system = System(pipeline.settings, pipeline.settings.bootstrap_servers, SystemClock())
    return any(not each.ok and topic in each.says and says in each.says for each in check_dead_letters(system))


def results_since(pipeline: Pipeline, begun: int) -> list[Result]:
    return [result for result in pipeline.results("ann", "tick") if result.scheduled_at > begun]


def unreadable(pipeline: Pipeline) -> Counter[tuple[Any, ...]]:
    """Return who passed over what: topic, partition, first and last offset."""
    letters = (dict(letter.headers()) for letter in pipeline.read(pipeline.topics.dead_letters))
    names = ("refused_by", "source_topic", "source_partition", "source_offset", "source_last_offset")
    return Counter(
        tuple(headers[name].decode() for name in names) for headers in letters if headers["code"] == b"unreadable"
    )

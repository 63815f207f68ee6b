"""Batches that no consumer can unpack, on every topic that a process reads: they alone are passed over."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from conftest import NewPipeline
from support.batches import bomb, send_batches
from support.pipeline import Pipeline, every
from support.waiting import now_ms, wait_until

from everwatch.model import Result

pytestmark = pytest.mark.integration
MB = 1024 * 1024
# unpacking 200 MB takes a busy machine seconds
WITHIN_S = 120


def test_a_batch_that_unpacks_to_more_than_a_consumer_takes_stops_nothing(new_pipeline: NewPipeline) -> None:
    pipeline = new_pipeline()
    pipeline.ensure("worker", "executor", "sink")
    pipeline.wait_until_ready()
    topics = pipeline.topics
    # everything of this user is on partition 1
    pipeline.sign_up(
        "ann", every("tick", "tcp", host="127.0.0.1", port=1), every("job", "heartbeat", period="1h"), partition=1
    )
    pipeline.wait_for_results("ann", "tick")

    inputs = (topics.signups, topics.commands, topics.signals, *topics.all_ticks, topics.results)
    unpackable = [(topic, 1, bomb("zstd", 90 * MB, now_ms(), honest=3)) for topic in inputs]
    too_large = [(topic, 1, bomb("gzip", 200 * MB, now_ms())) for topic in (topics.signals, topics.ticks)]
    begun = now_ms()
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
    expected = Counter(
        (reader, topic, str(first), str(first + batch.record_count() - 1))
        for (topic, _, batch), first in zip(unpackable + too_large, at, strict=True)
        for reader in readers[topic]
        if first is not None
    )
    wait_until("each is recorded", lambda: unreadable(pipeline).total() >= expected.total(), WITHIN_S)
    assert unreadable(pipeline) == expected
    for process in pipeline.processes.values():
        assert process.runs
        assert "cannot be read" in process.logged()
        # one record of 200 MB: unpacked by the client, copied for Python, and let go of
        assert peak_bytes(process.pid) < 700 * MB


def results_since(pipeline: Pipeline, begun: int) -> list[Result]:
    return [result for result in pipeline.results("ann", "tick") if result.scheduled_at > begun]


def unreadable(pipeline: Pipeline) -> Counter[tuple[Any, ...]]:
    """Who passed over what: topic, first and last offset."""
    letters = (dict(letter.headers()) for letter in pipeline.read(pipeline.topics.dead_letters))
    names = ("refused_by", "source_topic", "source_offset", "source_last_offset")
    return Counter(
        tuple(headers[name].decode() for name in names) for headers in letters if headers["code"] == b"unreadable"
    )


def peak_bytes(pid: int) -> int:
    """The most memory that a process has had."""
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))

"""A high tick beside a heap of low ones, on a real broker: ticks are put on their topics as a worker would."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from conftest import NewPipeline
from support.pipeline import PARTITIONS, Pipeline
from support.waiting import PATIENCE, now_ms, wait_until

from everwatch.encoding import codec
from everwatch.kafka.clients import new_admin
from everwatch.kafka.topic_administration import ensure_topics
from everwatch.model import Priority, Result, Status, Tick

pytestmark = pytest.mark.integration
ANSWER_AFTER_S = 0.12
SLOTS = 40
# enough for the client's fetch queue to overflow, again and again
LOW_TICKS = 20_000
HIGH_TICKS = 12
# what an executor begins in a second on an idle machine
OVERTAKEN_BY = 8 * SLOTS


class SlowServer:
    """Answers any request 200, a moment later, however many there are at once."""

    def __init__(self) -> None:
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._listens = threading.Event()
        self._thread = threading.Thread(target=self._run, name="slow server", daemon=True)

    def __enter__(self) -> "SlowServer":
        self._thread.start()
        assert self._listens.wait(10 * PATIENCE)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10 * PATIENCE)

    def _run(self) -> None:
        server = self._loop.run_until_complete(asyncio.start_server(self._answer, "127.0.0.1", 0, backlog=1_000))
        self.port = server.sockets[0].getsockname()[1]
        self._listens.set()
        self._loop.run_forever()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            await asyncio.sleep(ANSWER_AFTER_S)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
            await writer.drain()
        writer.close()


class Results:
    """Results that have come on their topic so far, in the order of its partitions."""

    def __init__(self, pipeline: Pipeline) -> None:
        config = {
            "bootstrap.servers": pipeline.settings.bootstrap_servers,
            "group.id": "t",
            "enable.auto.commit": False,
        }
        self._consumer = Consumer(config)
        self._consumer.assign([TopicPartition(pipeline.topics.results, number, 0) for number in range(PARTITIONS)])
        self.low: list[Result] = []
        self.high: list[Result] = []

    def read(self) -> None:
        """Take in what is new."""
        for message in self._consumer.consume(10_000, 0.05):
            assert message.error() is None, message.error()
            result = codec.decode_result(message.value())
            (self.high if result.user_id.startswith("high") else self.low).append(result)

    def wait_for(self, low: int = 0, high: int = 0) -> None:
        """Wait until so many ticks of either priority have been run."""

        def are_there() -> bool:
            self.read()
            return len(self.low) >= low and len(self.high) >= high

        wait_until(f"{low} low and {high} high ticks are run", are_there, every_s=0)

    def close(self) -> None:
        """Let the broker go."""
        self._consumer.close()


class Rig(NamedTuple):
    """An executor at work and what comes of it."""

    pipeline: Pipeline
    producer: Producer
    results: Results
    port: int

    def produce(self, priority: Priority, number: int) -> None:
        """Put one tick, due now, of a monitor of its own on its topic."""
        partition = number % PARTITIONS
        user = f"{priority}-{number:05d}"
        config = f'{{"url":"http://127.0.0.1:{self.port}/{user}"}}'
        due = now_ms()
        tick = Tick(user, "site", due, "http", config, 10_000, 1, partition)
        topic = self.pipeline.topics.ticks_for(priority)
        while True:
            try:
                self.producer.produce(topic, codec.encode_tick(tick), user, partition, timestamp=due)
                return
            except BufferError:
                self.producer.poll(0.1)


@pytest.fixture
def rig(new_pipeline: NewPipeline) -> Iterator[Rig]:
    pipeline = new_pipeline(max_in_flight=SLOTS)
    servers = pipeline.settings.bootstrap_servers
    ensure_topics(new_admin(pipeline.settings, servers), pipeline.settings)
    producer = Producer({"bootstrap.servers": servers, "linger.ms": 5, "compression.type": "lz4"})
    results = Results(pipeline)
    with SlowServer() as server:
        yield Rig(pipeline, producer, results, server.port)
        pipeline.processes["executor"].stop()
    results.close()


def test_high_ticks_overtake_a_backlog_of_low_ones_which_goes_on(rig: Rig) -> None:
    for number in range(LOW_TICKS):
        rig.produce(Priority.LOW, number)
    assert rig.producer.flush(120) == 0
    rig.pipeline.ensure("executor")
    results = rig.results
    results.wait_for(low=4 * SLOTS)

    low_meanwhile = [len(results.low)]
    for number in range(HIGH_TICKS):
        rig.produce(Priority.HIGH, number)
        assert rig.producer.flush(120) == 0
        results.wait_for(high=number + 1)
        # each at another moment of the executor's taking, pausing and taking again
        results.wait_for(low=low_meanwhile[-1] + SLOTS)
        low_meanwhile.append(len(results.low))

    assert low_meanwhile[-1] < LOW_TICKS / 2, "there was no backlog to overtake"
    results.wait_for(low=low_meanwhile[-1] + 10 * SLOTS)
    # how long it takes depends on the machine; how many are begun before it does not
    begun = [sum(high.scheduled_at <= low.started_at < high.started_at for low in results.low) for high in results.high]
    assert max(begun) < OVERTAKEN_BY, begun
    assert {result.status for result in results.high + results.low} == {Status.SUCCESS}
    assert len({result.user_id for result in results.low}) == len(results.low)

"""A worker's engine in this process, on a broker that does what the test says: loses, keeps waiting, is away.

The engine, its lanes, agents, partitions, timer and store are the real ones; Faust's rebalances and its recovery are
played by ``Life``. There is one partition, number 0. What the broker has outlives the workers.
"""

import asyncio
import threading
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable
from concurrent.futures import Future
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import orjson
import pytest
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.structs import RecordMetadata
from confluent_kafka import OFFSET_BEGINNING, KafkaError, KafkaException, TopicPartition

from everwatch.core.bisection import Bisection
from everwatch.core.clock import SettableClock
from everwatch.core.config import load_settings
from everwatch.core.errors import BrokerUnavailable
from everwatch.kafka.consumed_record import Record
from everwatch.kafka.progress import OWNER_HEADER, Noted
from everwatch.kafka.stamped_batch import StampedBatch
from everwatch.kafka.topics import Topics
from everwatch.rules.changelog_marks import Mark, decode_mark
from everwatch.timetable import Timetable
from streams.app import create_app
from streams.state.entry_store import Store
from streams.state.owned_partitions import OwnedPartition
from support.pipeline import every

START = 1_800_000_000_000
TOPICS = Topics.of(load_settings())
CHANGELOG = TOPICS.monitors_changelog
# far more than a busy machine needs
PATIENCE_S = 60.0
# waits between two looks at a condition, and of a consumer that has nothing to give
LOOK_S = 0.002
IDLE_S = 0.005


async def until(what: str, look: Callable[[], object]) -> None:
    """Wait until ``look`` gives something true. Raises AssertionError if it never does."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not look():
                await asyncio.sleep(LOOK_S)
    except TimeoutError:
        raise AssertionError(f"waited {PATIENCE_S:g} s in vain until {what}") from None


@asynccontextmanager
async def turns() -> AsyncIterator[Callable[[], int]]:
    """How many turns the event loop has given to others so far."""
    given = 0

    async def other() -> None:
        nonlocal given
        while True:
            given += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    try:
        yield lambda: given
    finally:
        task.cancel()


class Sent(NamedTuple):
    """A record that was given to the producer."""

    topic: str
    key: bytes
    value: bytes | None
    on_delivery: Callable[[KafkaError | None, Any], None] | None
    headers: list[tuple[str, bytes]] | None = None


class Message:
    """A record as librdkafka gives it, consumed or delivered."""

    def __init__(self, topic: str, offset: int, key: bytes | None, value: bytes | None) -> None:
        self._topic, self._offset, self._key, self._value = topic, offset, key, value

    def topic(self) -> str:
        return self._topic

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return self._offset

    def timestamp(self) -> tuple[int, int]:
        return 1, START

    def key(self) -> bytes | None:
        return self._key

    def value(self) -> bytes | None:
        return self._value

    def error(self) -> KafkaError | None:
        return None

    def __len__(self) -> int:
        return len(self._value or b"")


class End(Message):
    """The end of the partition, as librdkafka reports it."""

    def error(self) -> KafkaError:
        return KafkaError(KafkaError._PARTITION_EOF)


class Broken(Message):
    """A batch of which the client cannot make records."""

    def error(self) -> KafkaError:
        return KafkaError(KafkaError._BAD_MSG)


class Broker:
    """The topics, and how the broker behaves.

    ``held``: topics whose records it does not answer for yet. ``loses``: says of a record that it is not to be had.
    ``is_away``: what is asked before partitions are opened fails. ``at_progress``: is waited for then, ``at_ticks``:
    before it acknowledges ticks.
    ``broken``: offsets of a topic that lie in one batch that no client can read.
    ``asked``, ``assigned``: how often progress was asked for, and lanes have begun to read.
    """

    def __init__(self) -> None:
        self.logs: defaultdict[str, list[tuple[bytes, bytes | None]]] = defaultdict(list)
        self.committed: dict[str, int] = {}
        self.held: set[str] = set()
        self.loses: Callable[[Sent], bool] = lambda _: False
        self.is_away = False
        self.lanes_away: set[str] = set()
        self.broken: dict[str, range] = {}
        self.asked = 0
        self.assigned = 0
        self.at_progress: Callable[[], Any] | None = None
        self.at_ticks: Callable[[], Any] | None = None
        self.ticks: list[tuple[str, int]] = []
        self.producers: list[Producer] = []
        # which producer the last fence belongs to, and how many transactions were tried in vain
        self.epoch = 0
        self.aborted = 0
        self.changelog_id = "changelog-1"
        # the last owner's mark, as progress has it
        self.owner: Mark | None = None
        self.is_progress_lost = False

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Have every engine made from now on talk to this broker."""
        monkeypatch.setattr("streams.engine.Engine._read_noted", lambda _, numbers: self._read_progress(numbers))

    def take(self, topic: str, value: dict[str, Any]) -> None:
        """A client's record, keyed by its user."""
        self.logs[topic].append((value["user_id"].encode(), orjson.dumps(value)))

    def is_acknowledged(self, topic: str) -> bool:
        """Whether workers have acknowledged everything on a topic."""
        return self.committed.get(topic, 0) == len(self.logs[topic])

    def waiting(self, topic: str) -> int:
        """How many records of a topic the broker does not answer for yet."""
        return sum(sent.topic == topic for producer in self.producers for sent in producer.queue)

    def noted(self) -> int:
        """The progress of the partition."""
        return max((int(value or 0) for _, value in self.logs[TOPICS.progress]), default=START)

    def lose_progress(self) -> None:
        """Delete the topic and create it again."""
        self.logs[TOPICS.progress] = []
        self.owner = None
        self.is_progress_lost = True

    def make_changelog_anew(self) -> None:
        """Delete the changelog and create it again."""
        self.logs[CHANGELOG] = []
        self.changelog_id = f"{self.changelog_id}+"

    async def _read_progress(self, numbers: Iterable[int]) -> dict[int, Noted]:
        self.asked += 1
        if self.at_progress is not None:
            await self.at_progress()
        if self.is_away:
            raise BrokerUnavailable("nobody answers")
        if self.is_progress_lost and not self.logs[TOPICS.progress]:
            return {}
        return dict.fromkeys(numbers, Noted(self.noted(), self.owner))


class BrokerClients:
    """Clients of the broker of a test, as an engine is given them."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    def producer(self, **_: object) -> Any:
        return Producer(self._broker)

    def transactional_producer(self, transactional_id: str) -> Any:
        return LogProducer(self._broker)

    def consumer(self, group_id: str, **_: object) -> Any:
        return Consumer(self._broker, group_id)

    def admin(self) -> Any:
        return Admin(self._broker)

    def batch_producer(self) -> Any:
        return TickProducer(self._broker)


class Admin:
    """An admin client, which may be asked for a topic's id."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    def describe_configs(self, resources: list[Any], **_: object) -> dict[Any, "Future[Any]"]:
        return {}

    def describe_topics(self, topics: Any, **_: object) -> dict[str, "Future[Any]"]:
        described: Future[Any] = Future()
        described.set_result(SimpleNamespace(topic_id=self._broker.changelog_id))
        return dict.fromkeys(topics.topics if hasattr(topics, "topics") else [CHANGELOG], described)


class Producer:
    """A librdkafka producer."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self.queue: list[Sent] = []
        self._lock = threading.Lock()
        self._idle = threading.Event()
        broker.producers.append(self)

    def __len__(self) -> int:
        return len(self.queue)

    def produce(
        self,
        topic: str,
        value: bytes | None = None,
        key: bytes = b"",
        partition: int = 0,
        callback: Callable[[KafkaError | None, Any], None] | None = None,
        on_delivery: Callable[[KafkaError | None, Any], None] | None = None,
        timestamp: int = 0,
        headers: list[tuple[str, bytes]] | None = None,
    ) -> None:
        assert partition == 0
        with self._lock:
            self.queue.append(Sent(topic, key, value, callback or on_delivery, headers))

    def poll(self, timeout: float) -> int:
        with self._lock:
            ready = [sent for sent in self.queue if sent.topic not in self._broker.held]
            self.queue = [sent for sent in self.queue if sent.topic in self._broker.held]
            answers = [(sent, *self._answer(sent)) for sent in ready]
        for sent, error, message in answers:
            if sent.on_delivery is not None:
                sent.on_delivery(error, message)
        if not answers:
            self._idle.wait(min(timeout, IDLE_S))
        return len(answers)

    def flush(self, timeout: float) -> int:
        self.poll(0)
        return len(self.queue)

    def _answer(self, sent: Sent) -> tuple[KafkaError | None, Message]:
        log = self._broker.logs[sent.topic]
        message = Message(sent.topic, len(log), sent.key, sent.value)
        if self._broker.loses(sent):
            return KafkaError(KafkaError._MSG_TIMED_OUT), message
        log.append((sent.key, sent.value))
        return None, message


class LogProducer(Producer):
    """A transactional librdkafka producer: the last one that was initialised fences the others."""

    def __init__(self, broker: Broker) -> None:
        super().__init__(broker)
        self._epoch = -1
        self._delivered: list[tuple[Sent, Message]] = []

    def init_transactions(self, timeout: float) -> None:
        with self._lock:
            self._broker.epoch += 1
            self._epoch = self._broker.epoch

    def begin_transaction(self) -> None:
        assert not self.queue

    def commit_transaction(self, timeout: float) -> None:
        with self._lock:
            if self._epoch != self._broker.epoch:
                raise KafkaException(KafkaError(KafkaError._FENCED, "fenced", True))
            if any(sent.topic in self._broker.held for sent in self.queue):
                self._idle.wait(IDLE_S)
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT, "in progress", False, True))
            if sum(self._broker.loses(sent) for sent in self.queue):
                raise KafkaException(KafkaError(KafkaError._MSG_TIMED_OUT, "lost", False, False, True))
            for sent in self.queue:
                for name, value in sent.headers or ():
                    if name == OWNER_HEADER:
                        self._broker.owner = decode_mark(value)
                self._delivered.append((sent, self._answer(sent)[1]))
            self.queue = []

    def abort_transaction(self, timeout: float) -> None:
        self._broker.aborted += 1
        self.queue = []

    def poll(self, timeout: float) -> int:
        for sent, message in self._delivered:
            if sent.on_delivery is not None:
                sent.on_delivery(None, message)
        self._delivered = []
        return 0

    def purge(self) -> None:
        self.queue = []


class Consumer:
    """A librdkafka consumer of a lane; it reads from where it was acknowledged last whenever it is assigned."""

    def __init__(self, broker: Broker, group: str) -> None:
        self._broker = broker
        self._topic = group.rpartition("-worker-")[2]
        self._position: int | None = None
        self._idle = threading.Event()

    def committed(self, wanted: list[TopicPartition], _: float) -> list[TopicPartition]:
        if self._topic in self._broker.lanes_away:
            raise KafkaException(KafkaError(KafkaError._TRANSPORT))
        for each in wanted:
            each.offset = self._broker.committed.get(self._topic, -1_001)
        return wanted

    def assign(self, positions: list[TopicPartition]) -> None:
        (position,) = positions
        self._broker.assigned += self._topic != CHANGELOG
        self._position = 0 if position.offset == OFFSET_BEGINNING else position.offset

    def unassign(self) -> None:
        self._position = None

    def position(self, wanted: list[TopicPartition]) -> list[TopicPartition]:
        return [TopicPartition(self._topic, 0, self._position or 0) for _ in wanted]

    def seek(self, position: TopicPartition) -> None:
        self._position = position.offset

    def pause(self, _: list[TopicPartition]) -> None:
        self._position = None

    def resume(self, _: list[TopicPartition]) -> None:
        pass

    def get_watermark_offsets(self, _: TopicPartition, timeout: float) -> tuple[int, int]:
        return 0, len(self._broker.logs[self._topic])

    def consume(self, most: int, timeout: float) -> list[Message]:
        if self._position is None or self._position >= len(self._broker.logs[self._topic]):
            self._idle.wait(IDLE_S)
            return [End(self._topic, self._position, None, None)] if self._position is not None else []
        broken = self._broker.broken.get(self._topic, range(0))
        if self._position in broken:
            self._idle.wait(IDLE_S)
            return [Broken(self._topic, broken.start, None, None)]
        if self._position < broken.start:
            most = min(most, broken.start - self._position)
        some = self._broker.logs[self._topic][self._position : self._position + most]
        found = [Message(self._topic, self._position + n, *record) for n, record in enumerate(some)]
        self._position += len(found)
        return found

    def commit(self, offsets: list[TopicPartition], asynchronous: bool) -> None:
        for each in offsets:
            self._broker.committed[self._topic] = each.offset

    def close(self) -> None:
        self._position = None


class TickProducer:
    """An aiokafka producer of stamped batches."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    async def start(self) -> None:
        pass

    async def stop(self) -> None:
        pass

    async def send_batch(self, batch: StampedBatch, topic: str, *, partition: int) -> "asyncio.Future[object]":
        for record in MemoryRecords(bytes(batch._build())).next_batch():
            self._broker.ticks.append((record.key.decode(), record.timestamp))
        answer: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        if self._broker.at_ticks is not None:
            await self._broker.at_ticks()
        answer.set_result(RecordMetadata(topic, partition, TopicPartition(topic, partition), 0, START, 0, 0))
        return answer


class Life:
    """One worker, from its start to its end."""

    def __init__(self, broker: Broker, folder: Path, clock: SettableClock, *, rebuild_changelog: bool = False) -> None:
        self.broker = broker
        self.clock = clock
        self.app, self.engine = create_app(
            load_settings(),
            "127.0.0.1:9",
            clock,
            folder,
            rebuild_changelog=rebuild_changelog,
            clients=BrokerClients(broker),
        )
        self.app.finalize()
        self.app.flow_control.resume()
        self.agents: dict[str, asyncio.Task[None]] = {}
        self.generation = 0
        # which partitions were rebuilt from the table, in order
        self.rebuilt: list[int] = []
        load = self.engine.partitions._load

        def noted(partition: OwnedPartition, generation: int) -> Any:
            self.rebuilt.append(partition.number)
            return load(partition, generation)

        self.engine.partitions._load = noted  # type: ignore[method-assign]

    @property
    def store(self) -> Store:
        return self.engine.table.store

    @property
    def partition(self) -> OwnedPartition:
        return self.engine.partitions[0]

    @property
    def timetable(self) -> Timetable:
        return self.partition.timetable

    async def start(self) -> None:
        """Start the engine and its agents, as Faust does, and own nothing yet."""
        await self.engine.start()
        for topic, name in ((TOPICS.signups, "signups"), (TOPICS.commands, "commands"), (TOPICS.signals, "signals")):
            channel = self.engine.channels[topic]
            self.agents[name] = asyncio.create_task(self.app.agents[name].fun(channel.clone(is_iterator=True)))

    async def assigned(self, *numbers: int) -> None:
        """A rebalance gives the partition to this worker, or others."""
        self.generation += 1
        await self.engine.assigned(set(numbers or (0,)), self.generation)

    async def recovered(self) -> None:
        """A rebalance ends: the table is brought to where the changelog is, then the partition is this worker's."""
        await self.assigned()
        await self.engine.opened()

    async def revoked(self, patience_s: float = PATIENCE_S) -> None:
        """A rebalance begins, and another worker is given the partition."""
        await self.engine.pause(patience_s)
        self.generation += 1
        await self.engine.assigned(set(), self.generation)

    async def paused(self, patience_s: float = PATIENCE_S) -> None:
        """A rebalance begins."""
        await self.engine.pause(patience_s)

    async def command(self, user_id: str, command: str, monitor_id: str = "m") -> bool:
        """Send a command and wait until it is carried out; False if the worker ends before."""
        self.broker.take(
            TOPICS.commands,
            {"user_id": user_id, "command": command} | ({"monitor_id": monitor_id} if monitor_id else {}),
        )
        await until(
            "the command is acknowledged",
            lambda: self.broker.is_acknowledged(TOPICS.commands) or self.engine.crashed,
        )
        return self.broker.is_acknowledged(TOPICS.commands)

    async def handle(self, topic: str, records: Iterable[Record]) -> None:
        """Handle records of a topic as its agent does."""
        await self.engine.isolated[topic].run(Bisection(list(records)))

    async def tick_to(self, instant: int) -> list[tuple[str, int]]:
        """Let time pass until everything due up to ``instant`` is out; gives those ticks, in order."""
        already = len(self.broker.ticks)
        self.clock.set(instant)
        await until("the sweeps have come this far", lambda: self.partition.emitted_to >= instant)
        await until("progress is noted", lambda: self.broker.noted() >= instant - instant % 1_000)
        return self.broker.ticks[already:]

    async def stop(self) -> None:
        """Let the engine stop, then whatever Faust stops after it."""
        await self.engine.stop()
        # on a busy machine a transaction may outlast the engine's patience, and would be seen by the next worker
        await self.engine.logs.close(PATIENCE_S)
        for agent in self.agents.values():
            agent.cancel()
        await asyncio.gather(*self.agents.values(), return_exceptions=True)
        await self.store.stop()

    def put_away(self) -> bool:
        """Whether there is a timetable to take up, as of what is written. Leaves it there."""
        return self.store._db_for_partition(0).get(b"\0Tm") is not None


@asynccontextmanager
async def worker(
    broker: Broker, folder: Path, clock: SettableClock, *, opened: bool = True, rebuild_changelog: bool = False
) -> AsyncIterator[Life]:
    """A worker on the partition, with what its predecessor in ``folder`` left; it stops in the end."""
    life = Life(broker, folder, clock, rebuild_changelog=rebuild_changelog)
    await life.start()
    try:
        if opened:
            await life.recovered()
        yield life
    finally:
        broker.held.clear()
        await life.stop()


def signup(user_id: str, *monitors: str, interval: str = "1s") -> dict[str, Any]:
    """A signup with monitors that are due at an interval."""
    specs = [every(name, "http", interval, url="http://127.0.0.1:1/") for name in monitors or ("m",)]
    return {"user_id": user_id, "monitors": specs}


def users(ticks: Iterable[tuple[str, int]]) -> set[str]:
    """Whose ticks these are."""
    return {user for user, _ in ticks}

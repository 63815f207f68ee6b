"""Topics that are followed or read up to their ends: a stop meanwhile, and a last batch that cannot be read."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition
from support.waiting import PATIENCE, wait_until

from everwatch.core.clock import SettableClock, SystemClock
from everwatch.core.config import load_settings
from everwatch.kafka.consumed_record import Record
from everwatch.kafka.following import LONGEST_PAUSE_S, SHORTEST_PAUSE_S, Follower, Start
from everwatch.kafka.memory import MemoryClients, MemoryKafka
from everwatch.kafka.memory.broker import SentRecord
from everwatch.kafka.reply_topic import ReplyTopic


class SlowConsumer:
    """A consumer whose ``consume`` goes on until it is let go. Used when it is closed, librdkafka would crash."""

    def __init__(self) -> None:
        self.is_consuming, self.let_go = threading.Event(), threading.Event()
        self.is_closed = False

    def assign(self, _: object) -> None: ...

    def get_watermark_offsets(self, *_: object, **__: object) -> tuple[int, int]:
        return 0, 5

    def consume(self, _: int, __: float) -> list[Any]:
        self.is_consuming.set()
        assert self.let_go.wait(30 * PATIENCE)
        assert not self.is_closed
        return []

    def assignment(self) -> list[Any]:
        return []

    def position(self, _: object) -> list[Any]:
        assert not self.is_closed
        return []

    def close(self) -> None:
        self.is_closed = True


class Report:
    """What a consumer says of an offset: that it is the end, or that what stands there cannot be unpacked."""

    def __init__(self, topic: str, offset: int, code: int) -> None:
        self._topic, self._offset, self._error = topic, offset, KafkaError(code)

    def topic(self) -> str:
        return self._topic

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return self._offset

    def error(self) -> KafkaError:
        return self._error

    def __len__(self) -> int:
        return 0


class BrokenEnd:
    """A consumer of a partition of five records, whose last one cannot be unpacked; the others are read already."""

    def __init__(self) -> None:
        self._at = TopicPartition("", 0, 4)

    def assign(self, places: list[TopicPartition]) -> None:
        [place] = places
        self._at = TopicPartition(place.topic, 0, max(place.offset, 4))

    def get_watermark_offsets(self, *_: object, **__: object) -> tuple[int, int]:
        return 0, 5

    def consume(self, _: int, __: float) -> list[Report]:
        is_end = self._at.offset > 4
        code = KafkaError._PARTITION_EOF if is_end else KafkaError._BAD_COMPRESSION
        return [Report(self._at.topic, self._at.offset, code)]

    def assignment(self) -> list[TopicPartition]:
        return [self._at]

    def position(self, places: list[TopicPartition]) -> list[TopicPartition]:
        # as long as nothing is read behind it, librdkafka knows of no position there
        return [TopicPartition(place.topic, place.partition, 4) for place in places]

    def seek(self, place: TopicPartition) -> None:
        self._at = place

    def close(self) -> None: ...


class BrokenClients(MemoryClients):
    def consumer(self, group_id: str, **overrides: object) -> Any:
        return BrokenEnd()


@pytest.fixture
def broken() -> BrokenClients:
    kafka = MemoryKafka()
    for topic in ("access", "replies"):
        kafka.create(topic)
    return BrokenClients(kafka)


async def test_a_last_batch_that_cannot_be_read_is_the_end_of_who_reads_the_topic_up(broken: BrokenClients) -> None:
    topics = {"access": Start.BEGINNING}
    follower = Follower(load_settings(partitions=1), broken, SystemClock(), topics, lambda _: None)
    await asyncio.to_thread(follower.read_up, 30 * PATIENCE)
    await follower.close()


def test_a_last_batch_that_cannot_be_read_is_the_end_of_who_catches_up_with_the_replies(broken: BrokenClients) -> None:
    replies = ReplyTopic(load_settings(partitions=1), broken, SystemClock(), since={0: 4})
    assert replies.catch_up() == []
    assert replies.positions == {0: 5}
    replies.close()


class SlowClients(MemoryClients):
    """Clients of a Kafka in memory, whose consumer is slow."""

    def __init__(self, kafka: MemoryKafka, consumer: SlowConsumer) -> None:
        super().__init__(kafka)
        self._slow = consumer

    def consumer(self, group_id: str, **overrides: object) -> Any:
        return self._slow


async def test_a_stop_waits_for_who_reads_the_topic_up() -> None:
    consumer = SlowConsumer()
    kafka = MemoryKafka()
    kafka.create("access")
    follower = Follower(
        load_settings(partitions=1),
        SlowClients(kafka, consumer),
        SystemClock(),
        {"access": Start.BEGINNING},
        lambda _: None,
    )
    reading = asyncio.create_task(asyncio.to_thread(follower.read_up, 60.0))
    await asyncio.to_thread(consumer.is_consuming.wait, 30 * PATIENCE)
    closing = asyncio.create_task(follower.close())
    await asyncio.sleep(0)
    assert not consumer.is_closed
    consumer.let_go.set()
    async with asyncio.timeout(30 * PATIENCE):
        await asyncio.gather(reading, closing)
    assert consumer.is_closed


async def test_a_record_that_a_follower_cannot_take_takes_no_other_one_with_it() -> None:
    kafka = MemoryKafka(1)
    clients, taken = MemoryClients(kafka), []
    for number in range(5):
        kafka.append(SentRecord("access", 0, b"%d" % number, b"x", 1, []))

    def take(records: Sequence[Record]) -> None:
        for record in records:
            if record.key == b"2":
                raise ValueError("a bug")
            taken.append(record.key)

    topics = {"access": Start.BEGINNING}
    follower = Follower(load_settings(partitions=1), clients, SystemClock(), topics, take)
    await asyncio.to_thread(follower.read_up, 30 * PATIENCE)
    await follower.close()
    assert set(taken) == {b"0", b"1", b"3", b"4"}


class Remade:
    """A consumer of a topic that is deleted and made anew; it says again and again that it is away, until it is there.

    Nothing is read: how many clients are made, and from where the last one reads, is what counts.
    """

    def __init__(self, topic: "RemadeTopic", error_cb: Callable[[KafkaError], None]) -> None:
        self._topic, self._error_cb, self._places = topic, error_cb, [TopicPartition("access", 0, 0)]

    def assign(self, places: list[TopicPartition]) -> None:
        self._places = places
        self._topic.assigned = [place.offset for place in places]

    def get_watermark_offsets(self, *_: object, **__: object) -> tuple[int, int]:
        if self._topic.is_away:
            raise KafkaException(KafkaError(KafkaError._UNKNOWN_PARTITION))
        return self._topic.begin, self._topic.begin + 1

    def consume(self, _: int, __: float) -> list[Any]:
        self._topic.consumed.release()
        if self._topic.is_away:
            self._error_cb(KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART, "access [0]: broker said so"))
        return []

    def assignment(self) -> list[TopicPartition]:
        return self._places

    def position(self, places: list[TopicPartition]) -> list[TopicPartition]:
        return [TopicPartition(place.topic, place.partition, 4) for place in places]

    def close(self) -> None: ...


class RemadeTopic(MemoryClients):
    """Clients of a broker that has lost a topic for a while."""

    def __init__(self, kafka: MemoryKafka) -> None:
        super().__init__(kafka)
        self.is_away, self.begin, self.made = False, 3, 0
        self.assigned: list[int] = []
        self.consumed = threading.Semaphore(0)

    def consumer(self, group_id: str, **overrides: Any) -> Any:
        self.made += 1
        return Remade(self, overrides["error_cb"])

    def wait_for_reads(self, count: int) -> None:
        """Wait until the follower has asked this often once more."""
        for _ in range(count):
            assert self.consumed.acquire(timeout=60 * PATIENCE)


async def test_a_topic_that_was_deleted_is_looked_for_more_and_more_rarely_and_read_anew_when_it_is_there() -> None:
    kafka = MemoryKafka(1)
    kafka.create("access")
    clients, clock = RemadeTopic(kafka), SettableClock(0)
    follower = Follower(load_settings(partitions=1), clients, clock, {"access": Start.BEGINNING}, lambda _: None)
    follower.start()
    try:
        clients.is_away = True
        # one look at once, and no other one however often the client complains
        await asyncio.to_thread(clients.wait_for_reads, 3)
        await asyncio.to_thread(wait_until, "it is looked for", lambda: clients.made == 2, 60)
        for looks in (3, 4):
            clock.advance(int(SHORTEST_PAUSE_S * 1_000) * 2 ** (looks - 3))
            await asyncio.to_thread(wait_until, "it is looked for again", lambda n=looks: clients.made == n, 60)
            await asyncio.to_thread(clients.wait_for_reads, 3)
            assert clients.made == looks
        clients.begin, clients.is_away = 0, False
        clock.advance(int(LONGEST_PAUSE_S * 1_000))
        await asyncio.to_thread(wait_until, "it is read anew", lambda: clients.assigned == [0], 60)
        assert follower.starts == {("access", 0): 0}
    finally:
        await follower.close()

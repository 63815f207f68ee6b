"""Topics that are followed or read up to their ends: a stop meanwhile, and a last batch that cannot be read."""

import asyncio
import threading
from typing import Any

import pytest
from confluent_kafka import KafkaError, TopicPartition
from support.waiting import PATIENCE

from everwatch.core.clock import SystemClock
from everwatch.core.config import load_settings
from everwatch.kafka.following import Follower, Start
from everwatch.kafka.memory import MemoryClients, MemoryKafka
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

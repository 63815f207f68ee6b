"""A topic that is followed: a stop while it is still read up."""

import asyncio
import threading
from typing import Any

from support.waiting import PATIENCE

from everwatch.core.clock import SystemClock
from everwatch.core.config import load_settings
from everwatch.kafka.following import Follower, Start
from everwatch.kafka.memory import MemoryClients, MemoryKafka


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

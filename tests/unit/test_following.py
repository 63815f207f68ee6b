"""A topic that is followed: a stop while it is still read up."""

import asyncio
import threading
from typing import Any

import pytest
from support.waiting import PATIENCE

from everwatch.core.clock import SystemClock
from everwatch.core.config import load_settings
from everwatch.kafka import following
from everwatch.kafka.following import Follower, Start


class SlowConsumer:
    """A consumer whose ``consume`` goes on until it is let go. Used when it is closed, librdkafka would crash."""

    def __init__(self) -> None:
        self.is_consuming, self.let_go = threading.Event(), threading.Event()
        self.is_closed = False

    def assign(self, _: object) -> None: ...

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


async def test_a_stop_waits_for_who_reads_the_topic_up(monkeypatch: pytest.MonkeyPatch) -> None:
    consumer = SlowConsumer()
    monkeypatch.setattr(following, "new_consumer", lambda *_, **__: consumer)
    monkeypatch.setattr(following, "new_admin", lambda *_: None)
    monkeypatch.setattr(following, "expect_topic", lambda *_: 1)
    monkeypatch.setattr(following, "bounds", lambda *_: range(0, 5))
    follower = Follower(load_settings(), "", SystemClock(), {"access": Start.BEGINNING}, lambda _: None)
    reading = asyncio.create_task(asyncio.to_thread(follower.read_up, 60.0))
    await asyncio.to_thread(consumer.is_consuming.wait, 30 * PATIENCE)
    closing = asyncio.create_task(follower.close())
    await asyncio.sleep(0)
    assert not consumer.is_closed
    consumer.let_go.set()
    async with asyncio.timeout(30 * PATIENCE):
        await asyncio.gather(reading, closing)
    assert consumer.is_closed

"""Inputs on their way to the workers, and the answers that come back on ``replies``."""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from typing import Protocol

from everwatch.core.errors import EverwatchError, InvalidInput
from everwatch.core.settled_together import SettledTogether
from everwatch.encoding import codec
from everwatch.kafka.acknowledging import AcknowledgingProducer
from everwatch.kafka.command_client import Asked
from everwatch.kafka.consumed_record import Record
from everwatch.kafka.topics import Topics
from everwatch.model import AskedKey, Reply

KEPT_REPLIES = 20_000


class Commands(Protocol):
    """Sends inputs durably, and waits for what workers answer."""

    async def send(self, inputs: Sequence[Asked]) -> None:
        """Send inputs in this order; returns once the broker has all. Raises BrokerUnavailable, RecordRefused."""
        ...

    async def ask(self, inputs: Sequence[Asked], wait_s: float) -> list[Reply | EverwatchError | None]:
        """Send inputs in this order, and return the outcome of each.

        A reply; None if the broker has the input and no reply came within ``wait_s``; the error of one that the broker
        does not have.
        """
        ...

    def reply(self, user_id: str, command_id: str) -> Reply | None:
        """Return the answer to an earlier command, if it is among the newest that this process has seen."""
        ...


_Awaited = SettledTogether[Reply | EverwatchError]


class KafkaCommands:
    """Commands on Kafka. ``take`` is given all records of ``replies`` by a follower, in its thread."""

    def __init__(self, topics: Topics, producer: AcknowledgingProducer) -> None:
        self._topics = topics
        self._producer = producer
        self._loop = asyncio.get_running_loop()
        self._waiting: dict[AskedKey, list[tuple[_Awaited, int]]] = {}
        self._replies: OrderedDict[tuple[str, str], Reply] = OrderedDict()

    async def send(self, inputs: Sequence[Asked]) -> None:
        for failure in await self._send_each(inputs):
            if failure is not None:
                raise failure

    async def ask(self, inputs: Sequence[Asked], wait_s: float) -> list[Reply | EverwatchError | None]:
        if not inputs:
            return []
        # before they are sent: an answer may come before the acknowledgement
        awaited: _Awaited = SettledTogether(len(inputs), self._loop.create_future())
        for place, each in enumerate(inputs):
            self._waiting.setdefault(each.asker.key, []).append((awaited, place))
        try:
            failures = await self._send_each(inputs)
            for place, failure in enumerate(failures):
                if failure is not None:
                    awaited.settle(place, failure)
            if wait_s > 0 and awaited.left:
                await asyncio.wait([awaited.all_settled], timeout=wait_s)
            return awaited.outcomes
        finally:
            for place, each in enumerate(inputs):
                if not isinstance(awaited.outcomes[place], Reply):
                    self._forget(each.asker.key, (awaited, place))

    def reply(self, user_id: str, command_id: str) -> Reply | None:
        return self._replies.get((user_id, command_id))

    def take(self, records: Sequence[Record]) -> None:
        """Take in answers; called in another thread."""
        found: list[Reply] = []
        for record in records:
            try:
                found.append(codec.decode_reply(record.value))
            except InvalidInput:
                continue  # a record that no worker wrote answers nothing
        if found and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._settle, found)

    async def _send_each(self, inputs: Sequence[Asked]) -> list[EverwatchError | None]:
        partitions = {place: each.partition for place, each in enumerate(inputs) if each.partition is not None}
        return await self._producer.send_each([self._record(each) for each in inputs], partitions)

    def _record(self, asked: Asked) -> tuple[str, bytes, bytes]:
        return asked.topic_of(self._topics), codec.user_key(asked.asker.user_id), asked.value

    def _forget(self, key: AskedKey, one: tuple[_Awaited, int]) -> None:
        waiting = self._waiting.get(key)
        if waiting is not None and one in waiting:
            waiting.remove(one)
            if not waiting:
                del self._waiting[key]

    def _settle(self, replies: Sequence[Reply]) -> None:
        for reply in replies:
            if command_id := reply.command_id or reply.signup_id or reply.signal_id:
                self._replies[reply.user_id, command_id] = reply
            waiting = self._waiting.get(reply.key)
            if waiting:
                awaited, place = waiting.pop(0)
                if not waiting:
                    del self._waiting[reply.key]
                awaited.settle(place, reply)
        while len(self._replies) > KEPT_REPLIES:
            self._replies.popitem(last=False)

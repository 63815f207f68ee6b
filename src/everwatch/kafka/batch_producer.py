"""Sending whole record batches, each acknowledged by itself; a producer that has given up is replaced."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    InvalidTimestampError,
    KafkaError,
    KafkaTimeoutError,
    MessageSizeTooLargeError,
    RecordListTooLargeError,
)
from aiokafka.structs import RecordMetadata

from everwatch.core.errors import BrokerUnavailable
from everwatch.kafka.stamped_batch import StampedBatch

logger = logging.getLogger(__name__)
RETIRED_WITHIN_S = 5.0


def is_too_large(error: BaseException) -> bool:
    """Tell whether a batch was refused because its topic takes only smaller ones."""
    return isinstance(error, MessageSizeTooLargeError | RecordListTooLargeError)


def is_refused(error: BaseException) -> bool:
    """Return whether the broker refused the records themselves: the same batch is refused each time it is sent."""
    return is_too_large(error) or isinstance(error, InvalidTimestampError)


def failure_of(answer: object) -> BaseException | None:
    """Return the reason for a batch without acknowledgement; None for an acknowledged one, and for nothing else.

    ``answer`` is what the future of a batch gave, or raised. aiokafka cancels the futures of a producer that stops.
    """
    if isinstance(answer, RecordMetadata):
        return None
    # a cancelled future must not cancel the task that waits for it
    if isinstance(answer, Exception):
        return answer
    return BrokerUnavailable(f"a batch ended with {answer!r} and not with the broker's acknowledgement")


def is_passing(error: BaseException) -> bool:
    """Tell whether the same producer may send the same batch again."""
    return isinstance(error, KafkaTimeoutError) or bool(getattr(error, "retriable", False))


class BatchSender:
    """An idempotent producer of batches.

    A broker that refuses a batch leaves a gap in its partition's sequence numbers, and would refuse every batch after
    it. The producer is then replaced by one with an id of its own.
    """

    def __init__(self, new_producer: Callable[[], AIOKafkaProducer]) -> None:
        self._new_producer = new_producer
        self._retired: set[asyncio.Task[None]] = set()
        self._turn = asyncio.Lock()
        self.producer: AIOKafkaProducer | None = None

    async def start(self) -> None:
        """Connect. Raises KafkaError."""
        self.producer = await self._started()

    async def stop(self) -> None:
        """Send the queued batches and disconnect."""
        if self.producer is not None:
            await self.producer.stop()
        for task in self._retired:
            task.cancel()

    async def send(self, batch: StampedBatch, topic: str, partition: int) -> "asyncio.Future[Any]":
        """Queue a batch, after those queued before for its partition; the future is done when the broker has it.

        Raises KafkaError.
        """
        if self.producer is None:
            raise KafkaTimeoutError("the producer of ticks is being replaced")
        sent: asyncio.Future[Any] = await self.producer.send_batch(batch, topic, partition=partition)
        return sent

    async def replace(self, broken: AIOKafkaProducer | None) -> bool:
        """Go on with a new producer; False if ``broken`` was replaced already. Raises KafkaError."""
        async with self._turn:
            if self.producer is not broken:
                return False
            self.producer = await self._started()
            logger.warning("the producer of ticks is replaced")
            if broken is not None:
                task = asyncio.create_task(_retire(broken))
                self._retired.add(task)
                task.add_done_callback(self._retired.discard)
            return True

    async def _started(self) -> AIOKafkaProducer:
        producer = self._new_producer()
        try:
            await producer.start()
        except BaseException:
            await producer.stop()
            raise
        return producer


async def _retire(producer: AIOKafkaProducer) -> None:
    try:
        async with asyncio.timeout(RETIRED_WITHIN_S):
            await producer.stop()
    except (KafkaError, TimeoutError) as error:
        logger.info("the old producer of ticks is given up: %r", error)
        await producer.client.close()

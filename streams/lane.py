"""A lane: a consumer of batches that follows the partitions this worker owns and hands them to an agent.

Nothing is read before the partitions are open, and nothing is acknowledged before the agent is done with it. The lane
reads the next batch when the last one is settled, so a slow agent slows the reading down and no queue grows.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition

from everwatch.kafka.records import Record

logger = logging.getLogger(__name__)
MOST_AT_ONCE = 1_000
TURN = 50
RETRY_S = 1.0
# an agent that is stuck must not keep a rebalance waiting until the broker gives up on this worker
LONGEST_BATCH_S = 5.0
T = TypeVar("T")


async def in_turns(items: Iterable[T]) -> AsyncIterator[T]:
    """The items, with a turn for the event loop after every few: a long batch must not make ticks late."""
    for count, item in enumerate(items, 1):
        yield item
        if count % TURN == 0:
            await asyncio.sleep(0)


class Batch:
    """Records of one topic, in order within each partition, and the promise to settle them."""

    def __init__(self, records: list[Record]) -> None:
        self.records = records
        self.taken = False
        self.settled: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @contextmanager
    def handling(self) -> Iterator[list[Record]]:
        """The records to handle. An error is the lane's to see: it logs it and brings the batch again."""
        if self.settled.done():  # withdrawn while it waited
            yield []
            return
        self.taken = True
        try:
            yield self.records
        except Exception as error:
            if not self.settled.done():
                self.settled.set_exception(error)
        else:
            if not self.settled.done():
                self.settled.set_result(None)


class Lane:
    """One topic, read in batches for the owned partitions and put into ``channel``, where an agent takes them."""

    def __init__(self, topic: str, new_consumer: Callable[[], Consumer], channel: Any) -> None:
        self._topic = topic
        self._new_consumer = new_consumer
        self._channel = channel
        self._consumer: Consumer | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"lane-{topic}")
        self._partitions: set[int] = set()
        self._batch: Batch | None = None
        self._task: asyncio.Task[None] | None = None

    async def open(self, partitions: set[int]) -> None:
        """Read these partitions from where they were acknowledged last."""
        if not partitions:
            return
        self._consumer = self._consumer or self._new_consumer()
        wanted = [TopicPartition(self._topic, number) for number in sorted(partitions)]
        committed = await self._in_thread(self._consumer.committed, wanted, 10)
        for position in committed:
            if position.offset < 0:
                position.offset = OFFSET_BEGINNING
        await self._in_thread(self._consumer.assign, committed)
        self._partitions = set(partitions)
        self._task = asyncio.create_task(self._run(), name=f"lane {self._topic}")

    async def close(self) -> None:
        """Stop reading: a batch that the agent is at is finished and acknowledged, one that waits is withdrawn."""
        self._partitions = set()
        if self._batch is not None and not self._batch.taken and not self._batch.settled.done():
            self._batch.settled.cancel()
        task, self._task = self._task, None
        if task is not None:
            await asyncio.wait([task], timeout=LONGEST_BATCH_S)
            task.cancel()
        if self._consumer is not None:
            await self._in_thread(self._consumer.unassign)

    async def stop(self) -> None:
        """Close for good."""
        await self.close()
        if self._consumer is not None:
            await self._in_thread(self._consumer.close)
            self._consumer = None
        self._thread.shutdown(wait=False)

    async def _run(self) -> None:
        while self._partitions:
            records = await self._in_thread(self._read)
            while records and self._partitions:
                if await self._settle(records):
                    break
                await asyncio.sleep(RETRY_S)

    async def _settle(self, records: list[Record]) -> bool:
        """Have the agent handle a batch and acknowledge it; False if it has to be brought again."""
        batch = self._batch = Batch(records)
        await self._channel.put(batch)
        try:
            await batch.settled
        except asyncio.CancelledError:
            if batch.settled.cancelled() and not self._partitions:
                return True  # withdrawn: whoever owns the partitions next reads it again
            raise
        except Exception:
            logger.exception("a batch of %d records of %s failed; it is tried again", len(records), self._topic)
            return False
        finally:
            self._batch = None
        await self._in_thread(self._acknowledge, records)
        return True

    def _read(self) -> list[Record]:
        assert self._consumer is not None
        first = self._consumer.consume(1, 0.5)
        messages = first + self._consumer.consume(MOST_AT_ONCE, 0) if first else []
        return [Record.of(message) for message in messages if self._usable(message)]

    def _usable(self, message: Message) -> bool:
        error = message.error()
        if error is None:
            return True
        if error.code() != KafkaError._PARTITION_EOF:
            logger.warning("reading %s: %s", self._topic, error.str())
        return False

    def _acknowledge(self, records: list[Record]) -> None:
        assert self._consumer is not None
        following = {record.partition: record.offset + 1 for record in records}
        offsets = [TopicPartition(self._topic, number, offset) for number, offset in following.items()]
        try:
            self._consumer.commit(offsets=offsets, asynchronous=False)
        except KafkaException as error:
            # the records are handled; handling them once more after a restart changes nothing
            logger.warning("acknowledging records of %s: %s", self._topic, error.args[0].str())

    async def _in_thread(self, function: Callable[..., T], *arguments: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *arguments)

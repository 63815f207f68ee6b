"""Batch consumers: each reads one topic in batches, for the partitions this worker owns, and hands them to an agent.

A batch consumer reads nothing before the partitions are open, and commits offsets after the agent has handled them.
While the agent handles one batch it reads one more, so a slow agent slows the reading down and no queue grows.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import Any, NamedTuple, TypeVar

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition

from everwatch.core.bisection import Bisection
from everwatch.core.clock import Clock
from everwatch.encoding import registered_schemas
from everwatch.kafka.access_errors import read_of, refused
from everwatch.kafka.consumed_record import Record
from everwatch.kafka.schema_gate import SchemaGate
from everwatch.kafka.unreadable_batches import Sieve, Unreadable
from everwatch.observability.log_throttle import LogThrottle
from everwatch.observability.logs import labelled
from everwatch.observability.metrics import INPUT_LAG, INPUT_RECORDS
from everwatch.timetable import LocalStateWrong

logger = logging.getLogger(__name__)
MOST_AT_ONCE = 10_000
REST_S = 0.02
# errors of a broker that is unavailable: the code that waits for the broker logs them
_PASSING = frozenset({KafkaError._PARTITION_EOF, KafkaError._ALL_BROKERS_DOWN, KafkaError._TRANSPORT})
T = TypeVar("T")


class RecordBatch:
    """One batch of a topic on its way through an agent: the records left to handle, and a future for their end."""

    def __init__(self, rest: Bisection[Record]) -> None:
        self._rest = rest
        self.taken = False
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        # a batch consumer that stopped reading meanwhile does not ask how the batch ended: its partitions are lost, and
        # asyncio would report that as an error without a reader
        self.ended.add_done_callback(lambda ended: ended.cancelled() or ended.exception())

    @contextmanager
    def handling(self) -> Iterator[Bisection[Record]]:
        """Give the records left to handle; none if the batch was withdrawn or taken. An error ends the batch."""
        if self.taken or self.ended.done():
            yield Bisection(())
            return
        self.taken = True
        try:
            yield self._rest
        except BaseException as error:
            if not self.ended.done():
                self.ended.set_exception(error if isinstance(error, Exception) else Interrupted(repr(error)))
            if not isinstance(error, Exception):
                raise
        else:
            if not self.ended.done():
                self.ended.set_result(None)


class Interrupted(Exception):
    """An agent was stopped in the middle of a batch."""


class InputTopic(NamedTuple):
    """A topic and its consumers. ``new_predecessor``: makes one of the group that read the topic before; its offsets
    are used where this group has committed none.
    """

    topic: str
    new_consumer: Callable[..., Consumer]
    new_predecessor: Callable[[], Consumer] | None = None


class BatchConsumer:
    """One topic, read in batches for the owned partitions and put into ``channel``, where an agent takes them.

    ``refuse`` writes a dead letter for each batch that cannot be read; only then is the offset after it committed.
    ``on_failed`` gets the error that ended the reading loop. ``retry_s``: pause between attempts at a batch.
    """

    def __init__(
        self,
        source: InputTopic,
        channel: Any,
        refuse: Callable[[list[Unreadable]], Awaitable[None]],
        on_failed: Callable[[BaseException], None],
        clock: Clock,
        retry_s: float,
    ) -> None:
        self._topic, self._new_consumer, self._new_predecessor = source
        self._retry_s = retry_s
        self._channel = channel
        self._refuse = refuse
        self._clock = clock
        self._on_failed = on_failed
        self._log_throttle = LogThrottle(clock)
        self._consumer: Consumer | None = None
        self._sieve: Sieve | None = None
        self._gate: SchemaGate | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"batches-{source.topic}")
        self._should_read = False
        # counts starts and stops of reading: a slow start compares it to see whether it was overtaken
        self._switched = 0
        self._batch: RecordBatch | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def is_reading(self) -> bool:
        """Tell whether it reads its topic."""
        return self._task is not None

    async def start_reading(self, partitions: set[int]) -> None:
        """Read these partitions from where they were acknowledged last; not if ``stop_reading`` comes first.

        Raises KafkaException.
        """
        assert self._task is None  # it stops reading before it starts again
        if not partitions:
            return
        self._switched += 1
        switched = self._switched
        if self._consumer is None:
            self._consumer = self._new_consumer()
            self._sieve = Sieve(self._consumer, self._new_consumer, self._clock)
            self._gate = SchemaGate(self._consumer, registered_schemas.current, self._clock)
        wanted = [TopicPartition(self._topic, number) for number in sorted(partitions)]
        positions = await self._in_thread(self._positions, self._consumer, wanted)
        if switched != self._switched:
            return
        await self._in_thread(self._assign, self._consumer, positions)
        # offsets that are not committed for a week expire, however long their partition was quiet
        known = [position for position in positions if position.offset >= 0]
        if known and switched == self._switched:
            await self._in_thread(self._commit_positions, known)
        if switched != self._switched:
            return
        self._should_read = True
        self._task = asyncio.create_task(self._run(), name=f"batches of {self._topic}")
        self._task.add_done_callback(self._ended)

    async def stop_reading(self, patience_s: float) -> None:
        """Stop reading: a batch that the agent is at is finished and acknowledged, one that waits is withdrawn.

        Waits ``patience_s`` at most; an agent that takes longer finds its partitions lost.
        """
        self._should_read = False
        self._switched += 1
        # what is left of these partitions is another worker's
        INPUT_LAG.labels(self._topic).set(0)
        if self._batch is not None and not self._batch.taken and not self._batch.ended.done():
            self._batch.ended.cancel()
        task, self._task = self._task, None
        if task is not None:
            await asyncio.wait([task], timeout=patience_s)
            task.cancel()
        if self._consumer is not None:
            unassigned = asyncio.ensure_future(self._in_thread(self._consumer.unassign))
            # one that was about to start has read nothing
            if task is not None:
                await asyncio.wait([unassigned], timeout=1.0)

    async def close(self) -> None:
        """Close the consumer; ``stop_reading`` comes first."""
        if self._consumer is not None:
            closed = asyncio.ensure_future(self._in_thread(self._consumer.close))
            await asyncio.wait([closed], timeout=1.0)
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _run(self) -> None:
        # while the agent is at one batch, the next one is read and the last one acknowledged
        reading = self._in_thread(self._read)
        acknowledged: asyncio.Future[None] = _done()
        try:
            while self._should_read:
                records, unreadable = await reading
                reading = self._in_thread(self._read)
                first_ms = records[0].timestamp_ms if records else 0
                INPUT_LAG.labels(self._topic).set(max(0, self._clock.now_ms() - first_ms) / 1000 if first_ms else 0)
                if records and not await self._settle(records):
                    continue  # the records come again, and so does the unreadable batch after them
                if unreadable:
                    await self._refuse(unreadable)
                if records or unreadable:
                    INPUT_RECORDS.labels(self._topic).inc(len(records))
                    await acknowledged
                    acknowledged = self._in_thread(self._commit, records, unreadable)
        finally:
            await asyncio.gather(reading, acknowledged, return_exceptions=True)

    async def _settle(self, records: list[Record]) -> bool:
        """Have the agent handle a batch; False if it was withdrawn: the next owner of the partitions reads it again."""
        rest = Bisection(records)
        while self._should_read:
            batch = self._batch = RecordBatch(rest)
            try:
                while not batch.ended.done():
                    if not batch.taken:
                        await self._offer(batch)
                    await asyncio.wait([batch.ended], timeout=self._retry_s)
                if not batch.ended.cancelled():
                    batch.ended.result()
                    return True
            except LocalStateWrong:
                raise  # the timetable is not complete: the worker ends, and the next owner rebuilds it
            except Exception as error:
                if self._log_throttle.may_log(type(error).__name__):
                    logger.warning(
                        "a batch of %d records of %s failed; retrying (logged once a minute)",
                        len(records),
                        self._topic,
                        exc_info=error,
                        extra=labelled(topic=self._topic),
                    )
                await asyncio.sleep(self._retry_s)
            finally:
                self._batch = None
        return False

    async def _offer(self, batch: RecordBatch) -> None:
        # when a rebalance ends, Faust empties channels and cancels waiting puts: an offer may be lost, so it is made
        # again until the agent takes the batch. One batch may be in the channel twice then: the agent handles the first
        # and gets nothing of the second (``RecordBatch.handling``)
        offer = asyncio.ensure_future(self._channel.put(batch))
        await asyncio.wait([offer], timeout=self._retry_s)
        offer.cancel()

    def _ended(self, task: asyncio.Task[None]) -> None:
        if self._should_read and not task.cancelled() and task.exception() is not None:
            self._on_failed(task.exception() or Interrupted(self._topic))

    def _assign(self, consumer: Consumer, positions: list[TopicPartition]) -> None:
        assert self._gate is not None
        consumer.assign(positions)
        self._gate.forget()

    def _positions(self, consumer: Consumer, wanted: list[TopicPartition]) -> list[TopicPartition]:
        positions = _committed(consumer, wanted)
        new = [position for position in positions if position.offset < 0]
        if new and self._new_predecessor is not None:
            with closing(self._new_predecessor()) as predecessor:
                inherited = {position.partition: position.offset for position in _committed(predecessor, new)}
            for position in new:
                position.offset = inherited[position.partition]
        for position in new:
            if position.offset < 0:
                position.offset = OFFSET_BEGINNING
        return positions

    def _read(self) -> tuple[list[Record], list[Unreadable]]:
        assert self._sieve is not None
        # the broker collects records on a quiet topic: those of one answer come partition by partition
        messages, unreadable, others = self._sieve.take(MOST_AT_ONCE, 0.5, REST_S)
        for message in others:
            error = message.error()
            if error is None:
                continue
            denied = refused(error, read_of(self._topic))
            if denied is not None:
                raise denied
            if error.code() not in _PASSING:
                logger.warning("reading %s: %s", self._topic, error.str())
        topic = self._topic
        # built inline, as this runs ten thousand times a batch: a message without an error has all of these fields
        records = [
            Record(topic, m.partition(), m.offset(), m.timestamp()[1], m.key(), m.value())  # type: ignore[arg-type]
            for m in messages
        ]
        assert self._gate is not None
        records = self._gate.admit(records)
        return records, [each for each in unreadable if self._gate.passes(topic, each.partition)]

    def _commit(self, records: list[Record], unreadable: list[Unreadable]) -> None:
        following = {record.partition: record.offset + 1 for record in records}
        for each in unreadable:
            following[each.partition] = max(each.end, following.get(each.partition, 0))
        self._commit_positions([TopicPartition(self._topic, number, offset) for number, offset in following.items()])

    def _commit_positions(self, positions: list[TopicPartition]) -> None:
        assert self._consumer is not None
        try:
            self._consumer.commit(offsets=positions, asynchronous=False)
        except KafkaException as error:
            # the records are handled; handling them once more after a restart changes nothing
            logger.warning("acknowledging records of %s: %s", self._topic, error.args[0].str())

    def _in_thread(self, function: Callable[..., T], *arguments: object) -> "asyncio.Future[T]":
        return asyncio.get_running_loop().run_in_executor(self._thread, function, *arguments)


def _committed(consumer: Consumer, wanted: list[TopicPartition]) -> list[TopicPartition]:
    """Return the group's committed offsets, negative where there is none. Raises KafkaException."""
    positions: list[TopicPartition] = consumer.committed(wanted, 10)
    for position in positions:
        if position.error is not None:
            raise KafkaException(position.error)
    return positions


def _done() -> "asyncio.Future[None]":
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    future.set_result(None)
    return future

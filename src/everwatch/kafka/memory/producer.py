"""Producers in memory: librdkafka's, with transactions, and aiokafka's for whole batches."""

import asyncio
from collections.abc import Callable
from typing import Any

from confluent_kafka import KafkaError, KafkaException

from everwatch.kafka.memory.broker import MemoryKafka, SentRecord
from everwatch.kafka.memory.log import Headers, LogTransaction, TransactionState
from everwatch.kafka.memory.message import MemoryMessage
from everwatch.kafka.memory.partitioner import partition_of

OnDelivery = Callable[[KafkaError | None, Any], None]
# what a client waits at a time for a broker that does not answer
_LOOK_S = 0.005


class MemoryProducer:
    """A librdkafka producer. Sent records are acknowledged when it is polled, as there."""

    def __init__(self, kafka: MemoryKafka, max_bytes: int, transactional_id: str = "") -> None:
        self._kafka = kafka
        self._max_bytes = max_bytes
        self._id = transactional_id
        self._epoch = 0
        self._transaction: LogTransaction | None = None
        self._failed = False
        self.queue: list[tuple[SentRecord, OnDelivery | None]] = []
        self._delivered: list[tuple[OnDelivery, KafkaError | None, MemoryMessage]] = []
        with kafka.lock:
            kafka.producers.add(self)

    def __len__(self) -> int:
        return len(self.queue) + len(self._delivered)

    def queued(self, topic: str) -> int:
        """Return the number of records of a topic that wait to be sent."""
        return sum(sent.topic == topic for sent, _ in self.queue)

    def produce(
        self,
        topic: str,
        value: bytes | str | None = None,
        key: bytes | str | None = None,
        partition: int = -1,
        callback: OnDelivery | None = None,
        on_delivery: OnDelivery | None = None,
        timestamp: int = 0,
        headers: Any = None,
    ) -> None:
        """Queue a record. Raises KafkaException if it is too large or there is no such partition."""
        value, key = _bytes(value), _bytes(key)
        if len(value or b"") + len(key or b"") > self._max_bytes:
            raise KafkaException(KafkaError(KafkaError.MSG_SIZE_TOO_LARGE))
        with self._kafka.lock:
            count = len(self._kafka.logs(topic))
            number = partition if partition >= 0 else partition_of(key, count)
            if number >= count:
                raise KafkaException(KafkaError(KafkaError._UNKNOWN_PARTITION))
            self.queue.append(
                (SentRecord(topic, number, key, value, timestamp, _headers(headers)), callback or on_delivery)
            )
            self._send()

    def poll(self, timeout: float = 0) -> int:
        """Send the queued records, and call the callbacks of those that were sent; gives their number."""
        with self._kafka.changed:
            self._send()
            if not self._delivered and timeout:
                self._kafka.changed.wait(min(timeout, _LOOK_S))
                self._send()
            delivered, self._delivered = self._delivered, []
        for call, error, message in delivered:
            call(error, message)
        return len(delivered)

    def flush(self, timeout: float = -1) -> int:
        """Send the queued records; gives how many records are still queued after ``timeout`` seconds."""
        clock = self._kafka.clock
        ends_s = clock.monotonic_s() + max(timeout, 0)
        self.poll(0)
        while len(self) and (timeout < 0 or clock.monotonic_s() < ends_s):
            before = clock.monotonic_s()
            self.poll(_LOOK_S)
            if timeout >= 0 and clock.monotonic_s() == before:
                break  # a clock that stands still
        return len(self)

    def purge(self) -> None:
        """Forget the queued records."""
        with self._kafka.lock:
            self.queue.clear()

    # --- transactions -----------------------------------------------------------------------------------------------

    def init_transactions(self, timeout: float = -1) -> None:
        """Fence every earlier producer of this id. Raises KafkaException, retriable, if no broker answers."""
        self._expect_broker()
        self._epoch = self._kafka.fence(self._id)

    def begin_transaction(self) -> None:
        """Begin a transaction. Raises KafkaException when fenced."""
        with self._kafka.lock:
            self._expect_own()
            self._failed = False
            self._transaction = self._kafka.begin(self._id)

    def commit_transaction(self, timeout: float = -1) -> None:
        """Make the records readable, all at once. Raises KafkaException: retriable, to be aborted, or fenced."""
        with self._kafka.changed:
            self._expect_broker()
            self._expect_own()
            self._send()
            if self.queue:
                self._kafka.changed.wait(_LOOK_S)
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT, "in progress", False, True))
            if self._failed:
                raise KafkaException(KafkaError(KafkaError._MSG_TIMED_OUT, "a record is lost", False, False, True))
            self._kafka.end(self._id, TransactionState.COMMITTED)
            self._transaction = None

    def abort_transaction(self, timeout: float = -1) -> None:
        """Forget the records. Raises KafkaException when fenced."""
        with self._kafka.lock:
            self._expect_own()
            self.queue.clear()
            self._kafka.end(self._id, TransactionState.ABORTED)
            self._transaction = None

    def _expect_own(self) -> None:
        if self._epoch != self._kafka.epochs[self._id]:
            raise KafkaException(KafkaError(KafkaError._FENCED, "fenced by a later producer of its id", True))

    def _expect_broker(self) -> None:
        if self._kafka.is_away:
            with self._kafka.changed:
                self._kafka.changed.wait(_LOOK_S)
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT, "no broker answers", False, True))

    def _send(self) -> None:
        kafka = self._kafka
        if kafka.is_away or not self.queue or (self._id and self._epoch != kafka.epochs[self._id]):
            return
        waiting = []
        for sent, call in self.queue:
            if sent.topic in kafka.held:
                waiting.append((sent, call))
                continue
            error, offset = None, -1001
            limit = kafka.max_bytes.get(sent.topic, self._max_bytes)
            if len(sent.value or b"") + len(sent.key or b"") > limit:
                error = KafkaError(KafkaError.MSG_SIZE_TOO_LARGE)
            elif kafka.loses(sent):
                error = KafkaError(KafkaError._MSG_TIMED_OUT)
            else:
                if self._transaction is not None and self._id in kafka.open:
                    kafka.open[self._id][1].add((sent.topic, sent.partition))
                offset = kafka.append(sent, self._transaction)
            self._failed |= error is not None
            if call is not None:
                message = MemoryMessage(sent.topic, sent.partition, offset, sent.key, sent.value, sent.timestamp_ms)
                self._delivered.append((call, error, message))
        self.queue = waiting


class MemoryBatchProducer:
    """An aiokafka producer for whole record batches."""

    def __init__(self, kafka: MemoryKafka) -> None:
        self._kafka = kafka
        self.client = self

    async def start(self) -> None:
        """Connect."""

    async def stop(self) -> None:
        """Disconnect."""

    async def close(self) -> None:
        """Disconnect at once."""

    async def send_batch(self, batch: Any, topic: str, *, partition: int) -> "asyncio.Future[Any]":
        """Send a batch. It is acknowledged in a later turn of the event loop, once the topic is not held."""
        from aiokafka.errors import KafkaConnectionError  # importing aiokafka takes a while
        from aiokafka.record.memory_records import MemoryRecords
        from aiokafka.structs import RecordMetadata, TopicPartition

        if self._kafka.is_away:
            raise KafkaConnectionError("no broker answers")
        found = MemoryRecords(bytes(batch._build())).next_batch()
        with self._kafka.lock:
            offsets = [
                self._kafka.append(
                    SentRecord(topic, partition, record.key, record.value, record.timestamp, list(record.headers))
                )
                for record in found
            ]
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        first = offsets[0] if offsets else 0
        metadata = RecordMetadata(topic, partition, TopicPartition(topic, partition), first, 0, 0, 0)
        asyncio.get_running_loop().call_soon(self._acknowledge, answer, metadata)
        return answer

    def _acknowledge(self, answer: "asyncio.Future[Any]", metadata: Any) -> None:
        if answer.done():
            return
        if metadata.topic in self._kafka.held:
            asyncio.get_running_loop().call_later(_LOOK_S, self._acknowledge, answer, metadata)
        else:
            answer.set_result(metadata)


def _bytes(data: bytes | str | None) -> bytes | None:
    return data.encode() if isinstance(data, str) else data


def _headers(given: Any) -> Headers:
    pairs = given.items() if isinstance(given, dict) else given or ()
    return [(name, _bytes(value) or b"") for name, value in pairs]

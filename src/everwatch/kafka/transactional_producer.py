"""Transactional producer: what it commits is visible as a whole, and a successor with the same id fences it.

Fencing (KIP-98): ``init_transactions`` of a later producer with the same ``transactional.id`` aborts what an earlier
one has open and refuses all it sends from then on. So a worker that was stopped and continued cannot write behind the
worker that took its partition over, however late its requests arrive.
"""

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import NamedTuple

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from everwatch.core.errors import BrokerUnavailable, RecordRefused
from everwatch.kafka.access_errors import refused
from everwatch.kafka.acl import Right
from everwatch.kafka.consumed_record import Record
from everwatch.observability.metrics import PRODUCER_ERRORS

# each call blocks a thread for this long at most, then looks whether it is still wanted
CALL_S = 2.0
POLL_S = 0.05
# what the topic will never take; everything else (no leader, too few replicas, no permission yet) may pass
_REFUSALS = frozenset(
    {
        KafkaError.MSG_SIZE_TOO_LARGE,
        KafkaError.RECORD_LIST_TOO_LARGE,
        KafkaError.INVALID_TIMESTAMP,
        KafkaError.INVALID_RECORD,
        KafkaError.INVALID_MSG,
        KafkaError.POLICY_VIOLATION,
        KafkaError._INVALID_ARG,
    }
)


class Fenced(Exception):
    """The producer may not write any more: another one has its id, or the broker has given up on it."""


class RecordRun(NamedTuple):
    """Records (key, value, timestamp in ms or 0) for one partition of a topic, in order, all with the same headers.

    One transaction commits several runs, each on a topic of its own.
    """

    topic: str
    records: Sequence[tuple[bytes, bytes | None, int]]
    headers: list[tuple[str, str | bytes | None]] | None = None


class TransactionalProducer:
    """A librdkafka producer with a transactional id, for one partition number.

    Every method blocks: call them in a thread, one at a time. ``abandon`` may be called from any thread.
    """

    def __init__(self, new_producer: Callable[[int], Producer], partition: int, *rights: Right) -> None:
        self._new_producer = new_producer
        self._partition = partition
        self._rights = rights
        self._producer: Producer | None = None
        self._abandoned = threading.Event()

    def initialise(self) -> None:
        """Fence every earlier producer with this id.

        Raises BrokerUnavailable: try again; Fenced when abandoned; AccessError when its user may not use the id.
        """
        self._producer = self._producer or self._new_producer(self._partition)
        try:
            self.call_patiently(self._producer.init_transactions)
        except KafkaException as error:
            # a producer that failed for good is of no use: the next attempt makes another one
            self._discard()
            raise refused(error.args[0], *self._rights) or BrokerUnavailable(
                f"no transaction can be begun on partition {self._partition}: {error.args[0].str()} (is the"
                " broker's topic __transaction_state in order?)"
            ) from None

    def commit(self, runs: Sequence[RecordRun]) -> list[int]:
        """Write all runs in one transaction; gives the offset of each one's last record.

        Raises Fenced; BrokerUnavailable when nothing was committed and it may be tried again; RecordRefused when a
        record can never be written, and nothing was.
        """
        producer = self._producer
        if producer is None or self._abandoned.is_set():
            raise Fenced("the partition was given up")
        offsets: dict[str, int] = {}

        def delivered(error: KafkaError | None, message: Message) -> None:
            if error is None:
                last = Record.of(message)
                offsets[last.topic] = last.offset

        try:
            producer.begin_transaction()
            for run in runs:
                self.enqueue(producer, run, delivered)
            self.call_patiently(producer.commit_transaction)
        except KafkaException as error:
            for run in runs:
                PRODUCER_ERRORS.labels(run.topic).inc(len(run.records))
            raise self._aborted(producer, error.args[0]) from None
        while len(offsets) < len(runs):
            # all of it is committed; librdkafka hands out what it knows of each delivery here
            producer.poll(POLL_S)
        return [offsets[run.topic] for run in runs]

    def abandon(self) -> None:
        """Give the producer up: a call that is under way ends within CALL_S, and no other one begins."""
        self._abandoned.set()

    def close(self) -> None:
        """End the producer. Its successor aborts an open transaction, or the broker does in the end."""
        self._abandoned.set()
        self._discard()

    def enqueue(
        self, producer: Producer, run: RecordRun, delivered: Callable[[KafkaError | None, Message], None]
    ) -> None:
        """Queue the records of a run; ``delivered`` is called for the last one. Waits while the queue is full."""
        produce, topic, number, last = producer.produce, run.topic, self._partition, len(run.records) - 1
        for place, (key, value, timestamp_ms) in enumerate(run.records):
            on_delivery = delivered if place == last else None
            while True:
                try:
                    produce(topic, value, key, number, on_delivery, None, timestamp_ms, run.headers)
                    break
                except BufferError:
                    producer.poll(POLL_S)

    def _aborted(self, producer: Producer, reason: KafkaError) -> Exception:
        """Abort the transaction; gives what to raise for the ``reason`` that it failed for."""
        is_refused = reason.code() in _REFUSALS
        if reason.fatal() or not (reason.txn_requires_abort() or is_refused):
            return Fenced(reason.str())
        try:
            self.call_patiently(producer.abort_transaction)
        except KafkaException as error:
            return Fenced(error.args[0].str())
        if is_refused:
            return RecordRefused(f"Partition {self._partition} does not take a record: {reason.str()}.")
        return BrokerUnavailable(f"Partition {self._partition} cannot be written now: {reason.str()}.")

    def call_patiently(self, call: Callable[[float], None]) -> None:
        """Call again as long as librdkafka says so. Raises KafkaException, Fenced when it is abandoned meanwhile."""
        while not self._abandoned.is_set():
            try:
                call(CALL_S)
                return
            except KafkaException as error:
                if not error.args[0].retriable():
                    raise
        raise Fenced("the partition was given up")

    def _discard(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            # a producer that was fenced says so once more. It ends with its last reference: close() would abort a
            # transaction first, and wait for a broker that is unavailable
            with suppress(KafkaException):
                producer.purge()

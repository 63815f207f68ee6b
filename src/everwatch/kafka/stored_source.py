"""Consumer of a process that stores records: it starts at the offsets in the database."""

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition

from everwatch.core.clock import Clock
from everwatch.core.config import Settings
from everwatch.core.errors import AccessError, BrokerUnavailable
from everwatch.encoding import registered_schemas
from everwatch.kafka.access_errors import refused
from everwatch.kafka.clients import Clients
from everwatch.kafka.consumed_record import Record
from everwatch.kafka.deleted_topics import DeletedTopics
from everwatch.kafka.schema_gate import SchemaGate
from everwatch.kafka.topics import Topics
from everwatch.kafka.unreadable_batches import Sieve, Unreadable
from everwatch.observability.metrics import ASSIGNED
from everwatch.observability.rebalances import Rebalances
from everwatch.store import Partition, StoreBusy

logger = logging.getLogger(__name__)

_AWAY = frozenset({KafkaError._ALL_BROKERS_DOWN, KafkaError._TRANSPORT, KafkaError._RESOLVE})


class StoredOffsets(Protocol):
    """Offsets in the database; see ``ResultStore``."""

    def offsets(self) -> Mapping[Partition, int]:
        """Return the next offset of every partition."""
        ...


class Source:
    """Topics that are stored, in the consumer group ``<application>-<process>``.

    Every method blocks; call them one at a time.
    """

    def __init__(
        self,
        settings: Settings,
        clients: Clients,
        store: StoredOffsets,
        clock: Clock,
        topics: Sequence[str],
        process: str = "sink",
    ) -> None:
        self._store = store
        self._process = process
        self._rebalances = Rebalances(process, clock)
        self._settings = settings
        self._clients = clients
        self._complaints: set[int] = set()
        self._restarted: set[str] = set()
        # partitions of this sink that are not fetched yet: the database did not say where they start
        self._unplaced: list[TopicPartition] = []
        self._refusal: AccessError | None = None
        self._deleted = DeletedTopics()
        # whether the group has assigned partitions to this sink, or none, and they are being read
        self.is_member = False
        self.assigned: frozenset[Partition] = frozenset()
        # topics that have been assigned at any time: a rebalance takes one that was deleted away before it is asked for
        self._once_read: set[str] = set()
        self._consumer = self._new_consumer(
            **{
                # an offset that the log does not hold must be noticed: the database would take what follows for old
                "auto.offset.reset": "error",
                # each sink gets the same partitions of every topic; sticky assignors balance the sum of all topics
                # alone, and one sink might get all results and the other one the rest
                "partition.assignment.strategy": "range",
                "topic.metadata.refresh.interval.ms": 10_000,
            }
        )
        self._gate = gate = SchemaGate(self._consumer, registered_schemas.current, clock)
        self._sieve = Sieve(self._consumer, self._new_consumer, clock, is_paused=lambda at: not gate.passes(*at))
        self._subscribed = list(topics)
        self._headed = Topics.of(settings).dead_letters
        self._consumer.subscribe(self._subscribed, on_assign=self._start_where_stored, on_revoke=self._let_go)

    def take(self, most: int, wait_s: float) -> tuple[list[Record], list[Unreadable], list[Partition]]:
        """Up to ``most`` records that come within about ``wait_s``, offsets behind them that cannot be read, and the
        partitions whose stored offset is not in the log.

        Waits while no broker answers. Raises StoreError when the stored offsets cannot be read (after StoreBusy the
        same call may be made again), AccessError when the broker refuses this user, BrokerUnavailable when a topic that
        is being read was deleted, or made anew: the next process reads what is there.
        """
        lost: list[Partition] = []
        if self._unplaced:
            self._start_where_stored(self._consumer, self._unplaced)
        readable, unreadable, others = self._sieve.take(most, wait_s, wait_s)
        for message in others:
            error = message.error()
            if error is not None and error.code() == KafkaError._AUTO_OFFSET_RESET:
                lost.append(Partition(message.topic() or "", message.partition() or 0))
            elif error is not None:
                self._complain(error)
        if self._refusal is not None:
            raise self._refusal
        for error in self._deleted.take(self._once_read).values():
            raise BrokerUnavailable(
                f"A topic was deleted, or made anew, while it was read: {error.str()}. Started again, the"
                f" {self._process} reads what is there."
            )
        if readable:
            self._complaints.clear()
        records = self._gate.admit([self._record(message) for message in readable])
        return records, [each for each in unreadable if self._gate.passes(each.topic, each.partition)], lost

    def _record(self, message: Message) -> Record:
        # results are many, and their headers are not needed
        return Record.of(message, with_headers=message.topic() == self._headed)

    def restart(self, partitions: Iterable[Partition]) -> None:
        """Read these partitions from the beginning of what the topic holds; the store must have forgotten them."""
        for partition in partitions:
            level = logging.INFO if partition.topic in self._restarted else logging.WARNING
            self._restarted.add(partition.topic)
            logger.log(
                level,
                "Topic %s, partition %d, does not hold the offset that the database has stored: the topic was"
                " recreated, or records were deleted before they could be stored. It is read from its beginning.",
                *partition,
            )
        # a seek is not enough: a partition whose offset was out of range is no longer fetched
        self._unplaced = self._consumer.assignment()

    def commit(self, offsets: Mapping[Partition, int]) -> None:
        """Tell Kafka too how far the database is, for tools that watch the lag; does not wait for an answer."""
        try:
            self._consumer.commit(
                offsets=[TopicPartition(*partition, offset) for partition, offset in offsets.items()],
                asynchronous=True,
            )
        except KafkaException as error:
            logger.debug("the offsets were not committed to Kafka: %s", error)

    def _new_consumer(self, **more: object) -> Consumer:
        group = f"{self._settings.application}-{self._process}"
        return self._clients.consumer(group, error_cb=self._complain, **more)

    def close(self) -> None:
        """Leave the group."""
        self._consumer.close()

    def _start_where_stored(self, consumer: Consumer, assigned: list[TopicPartition]) -> None:
        # also called while records are taken: those that are not stored yet are read again by the new owner
        self._sieve.forget()
        try:
            stored = self._store.offsets()
        except StoreBusy:
            # left alone, the client would start where Kafka's group stands
            self._unplaced = assigned
            consumer.assign([])
            self.is_member = False
            self.assigned = frozenset()
            raise
        self._unplaced = []
        for partition in assigned:
            partition.offset = stored.get(Partition(partition.topic, partition.partition), OFFSET_BEGINNING)
        consumer.assign(assigned)
        self._gate.forget()
        self.is_member = True
        self.assigned = frozenset(Partition(each.topic, each.partition) for each in assigned)
        self._once_read.update(each.topic for each in assigned)
        self._rebalances.assigned()
        held = Counter(partition.topic for partition in assigned)
        for topic in self._subscribed:
            ASSIGNED.labels(topic).set(held[topic])

    def _let_go(self, _: Consumer, __: list[TopicPartition]) -> None:
        # the client itself gives the partitions up, as this does not
        self._rebalances.revoked()

    def _complain(self, error: KafkaError) -> None:
        # one sentence for each kind of trouble until records come again
        away = error.code() in _AWAY
        complaint = KafkaError._ALL_BROKERS_DOWN if away else error.code()
        self._refusal = self._refusal or refused(error)
        self._deleted.note(error)
        if complaint not in self._complaints:
            self._complaints.add(complaint)
            logger.warning(
                "Kafka: %s; the %s waits and goes on.", "no broker answers" if away else error.str(), self._process
            )

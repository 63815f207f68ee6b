"""Keeps back records whose schema is not known while the registry is unavailable; other partitions go on.

A partition with such a record is paused there, in its order, and goes on when the registry has answered. Nothing of it
is refused, and nothing is acknowledged.
"""

import logging
from collections.abc import Callable

from confluent_kafka import Consumer, KafkaException, TopicPartition

from everwatch.core.clock import Clock
from everwatch.core.errors import RegistryUnavailable
from everwatch.encoding.registered_schemas import MAGIC, RegisteredSchemas
from everwatch.kafka.consumed_record import Record
from everwatch.observability.log_throttle import LogThrottle

logger = logging.getLogger(__name__)
ASK_EVERY_S = 2.0
_MAGIC = MAGIC[0]


class SchemaGate:
    """Lets records of one consumer pass. Called in the thread that the consumer is used in."""

    def __init__(self, consumer: Consumer, schemas: Callable[[], RegisteredSchemas | None], clock: Clock) -> None:
        self._consumer = consumer
        self._schemas = schemas
        self._clock = clock
        self._log_throttle = LogThrottle(clock)
        # the first record of each partition that waits, and when the registry is asked next
        self._waiting: dict[tuple[str, int], Record] = {}
        self._ask_at_s = 0.0

    def admit(self, records: list[Record]) -> list[Record]:
        """Return the records that can be decoded; of a partition whose next one cannot, those before it."""
        schemas = self._schemas()
        if schemas is None:
            return records
        schemas.asks_ahead = True
        if self._waiting:
            self._retry(schemas)
        if all(not each.value or each.value[0] != _MAGIC or schemas.is_known(each.value) for each in records):
            return self._without_waiting(records) if self._waiting else records
        admitted = []
        for record in records:
            place = record.topic, record.partition
            if place in self._waiting:
                continue
            if record.value and record.value[0] == _MAGIC and not self._knows(schemas, record.value):
                self._hold(record)
            else:
                admitted.append(record)
        return admitted

    def passes(self, topic: str, partition: int) -> bool:
        """Tell whether nothing of a partition is kept back."""
        return (topic, partition) not in self._waiting

    def forget(self) -> None:
        """Hold nothing back any more: the consumer's partitions are assigned anew."""
        self._resume([TopicPartition(*place) for place in self._waiting])
        self._waiting.clear()

    def _without_waiting(self, records: list[Record]) -> list[Record]:
        return [each for each in records if self.passes(each.topic, each.partition)]

    def _retry(self, schemas: RegisteredSchemas) -> None:
        if self._clock.monotonic_s() < self._ask_at_s:
            return
        known = [place for place, record in self._waiting.items() if self._knows(schemas, record.value or b"")]
        for place in known:
            del self._waiting[place]
        self._resume([TopicPartition(*place) for place in known])
        if known and not self._waiting:
            logger.info("The schema registry answers again; all partitions go on.")

    def _knows(self, schemas: RegisteredSchemas, value: bytes) -> bool:
        if schemas.is_known(value):
            return True
        if self._clock.monotonic_s() < self._ask_at_s:
            return False
        try:
            schemas.learn(value)
        except RegistryUnavailable as error:
            self._ask_at_s = self._clock.monotonic_s() + ASK_EVERY_S
            if self._log_throttle.may_log("registry"):
                logger.warning("%s Records with a schema that is not known yet wait, others go on.", error)
            return False
        return True

    def _hold(self, record: Record) -> None:
        self._waiting[record.topic, record.partition] = record
        place = TopicPartition(record.topic, record.partition, record.offset)
        self._consumer.pause([place])
        # what was fetched behind it is fetched again
        self._consumer.seek(place)

    def _resume(self, places: list[TopicPartition]) -> None:
        try:
            if places:
                self._consumer.resume(places)
        except KafkaException:
            return  # they went elsewhere meanwhile

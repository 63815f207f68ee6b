"""Clients of Kafka in memory, in the place of ``everwatch.kafka.clients.KafkaClients``."""

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import OffsetSpec  # type: ignore[attr-defined]

from everwatch.kafka.admin_client import Admin
from everwatch.kafka.clients import LARGEST_RECORD_BYTES
from everwatch.kafka.memory.broker import MemoryKafka
from everwatch.kafka.memory.consumer import MemoryConsumer
from everwatch.kafka.memory.log import Log
from everwatch.kafka.memory.producer import MemoryBatchProducer, MemoryProducer

if TYPE_CHECKING:
    from aiokafka import AIOKafkaProducer


_EARLIEST: Callable[[], OffsetSpec] = OffsetSpec.earliest
_LATEST: Callable[[], OffsetSpec] = OffsetSpec.latest


class MemoryClients:
    """Makes clients of ``kafka``."""

    def __init__(self, kafka: MemoryKafka) -> None:
        self.kafka = kafka

    def producer(self, **overrides: object) -> Producer:
        return cast(Producer, MemoryProducer(self.kafka, LARGEST_RECORD_BYTES))

    def transactional_producer(self, transactional_id: str) -> Producer:
        return cast(Producer, MemoryProducer(self.kafka, LARGEST_RECORD_BYTES, transactional_id))

    def consumer(self, group_id: str, **overrides: object) -> Consumer:
        return cast(Consumer, MemoryConsumer(self.kafka, group_id, overrides))

    def admin(self) -> Admin:
        return cast(Admin, MemoryAdmin(self.kafka))

    def batch_producer(self) -> "AIOKafkaProducer":
        return cast("AIOKafkaProducer", MemoryBatchProducer(self.kafka))


class MemoryAdmin:
    """The admin client: topics, their ids and offsets, and the size of batches."""

    def __init__(self, kafka: MemoryKafka) -> None:
        self._kafka = kafka

    def list_topics(self, topic: str | None = None, timeout: float = 10.0) -> Any:
        """Return the topics with their partitions."""
        self._expect_broker()
        names = self._kafka.topic_names()
        topics = {name: _listed(len(self._kafka.logs(name))) for name in names if topic in (None, name)}
        if topic is not None and topic not in topics:
            topics[topic] = _listed(0, KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART))
        return SimpleNamespace(topics=topics)

    def create_topics(self, new: Iterable[Any], **_: Any) -> dict[str, "Future[None]"]:
        """Make topics; an error for one that is there."""
        return {topic.topic: self._answer(topic) for topic in new}

    def describe_topics(self, topics: Any, **_: Any) -> dict[str, "Future[Any]"]:
        """Give each topic's id."""
        return {name: self._described(name) for name in topics.topic_names}

    def describe_configs(self, resources: Iterable[Any], **_: Any) -> dict[Any, "Future[Any]"]:
        """Give the largest batch that each topic takes."""
        answers: dict[Any, Future[Any]] = {}
        for resource in resources:
            size = self._kafka.max_bytes.get(resource.name, LARGEST_RECORD_BYTES)
            answers[resource] = _done({"max.message.bytes": SimpleNamespace(value=str(size))})
        return answers

    def list_offsets(self, wanted: Mapping[TopicPartition, OffsetSpec], **_: Any) -> dict[Any, "Future[Any]"]:
        """Give the first, the last or the offset at a time of each partition, as a read_committed consumer sees it."""
        answers: dict[Any, Future[Any]] = {}
        for each, spec in wanted.items():
            log = self._kafka.log(each.topic, each.partition)
            if self._kafka.is_away or log is None:
                code = KafkaError._TIMED_OUT if self._kafka.is_away else KafkaError.UNKNOWN_TOPIC_OR_PART
                answers[each] = _failed(KafkaError(code))
            else:
                answers[each] = _done(SimpleNamespace(offset=_offset_in(log, spec)))
        return answers

    def _answer(self, topic: Any) -> "Future[None]":
        if topic.topic in self._kafka.topic_names():
            return _failed(KafkaError(KafkaError.TOPIC_ALREADY_EXISTS))
        self._kafka.create(topic.topic, topic.num_partitions)
        return _done(None)

    def _described(self, name: str) -> "Future[Any]":
        if self._kafka.is_away:
            return _failed(KafkaError(KafkaError._TIMED_OUT))
        if name not in self._kafka.topic_names():
            return _failed(KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART))
        return _done(SimpleNamespace(topic_id=self._kafka.topic_id(name), authorized_operations=None))

    def _expect_broker(self) -> None:
        if self._kafka.is_away:
            raise KafkaException(KafkaError(KafkaError._TRANSPORT))


def _listed(partitions: int, error: KafkaError | None = None) -> Any:
    return SimpleNamespace(
        error=error, partitions={number: SimpleNamespace(error=None) for number in range(partitions)}
    )


def _offset_in(log: Log, spec: Any) -> int:
    if spec is _EARLIEST():
        return log.start
    if spec is _LATEST():
        return log.stable_end
    later = (log.start + place for place, entry in enumerate(log.entries) if entry.timestamp_ms >= spec.timestamp)
    return next(later, -1)


def _done(result: Any) -> "Future[Any]":
    future: Future[Any] = Future()
    future.set_result(result)
    return future


def _failed(error: KafkaError) -> "Future[Any]":
    future: Future[Any] = Future()
    future.set_exception(KafkaException(error))
    return future

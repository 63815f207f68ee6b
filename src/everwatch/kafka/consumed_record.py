"""A consumed record, as plain values."""

from typing import NamedTuple, Self

from confluent_kafka import Message


class Record(NamedTuple):
    """One record of a topic; ``timestamp_ms`` is its CreateTime."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None

    @classmethod
    def of(cls, message: Message) -> Self:
        """The record in a message that a librdkafka consumer gave (and that is not an error)."""
        topic, partition, offset = message.topic(), message.partition(), message.offset()
        # a consumed message has them
        assert topic is not None
        assert partition is not None
        assert offset is not None
        return cls(topic, partition, offset, message.timestamp()[1], message.key(), message.value())

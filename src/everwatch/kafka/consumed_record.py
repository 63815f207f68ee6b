"""A consumed record, as plain values, and one that was refused."""

from typing import NamedTuple, Self, cast

from confluent_kafka import Message

from everwatch.core.errors import InvalidInput

Headers = tuple[tuple[str, bytes | None], ...]


class Record(NamedTuple):
    """One record of a topic; ``timestamp_ms`` is its CreateTime.

    ``headers``: only where ``of`` takes them.
    """

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: Headers = ()

    @classmethod
    def of(cls, message: Message, *, with_headers: bool = False) -> Self:
        """The record in a message that a librdkafka consumer gave (and that is not an error)."""
        topic, partition, offset = message.topic(), message.partition(), message.offset()
        # a consumed message has them
        assert topic is not None
        assert partition is not None
        assert offset is not None
        headers = tuple(cast(Headers, message.headers() or ())) if with_headers else ()
        return cls(topic, partition, offset, message.timestamp()[1], message.key(), message.value(), headers)


class RefusedRecord(NamedTuple):
    """A record that does not decode, or whose content is not allowed, and the reason."""

    record: Record
    error: InvalidInput

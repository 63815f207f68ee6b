"""A record as librdkafka gives it."""

from confluent_kafka import KafkaError

from everwatch.kafka.memory.log import Headers


class MemoryMessage:
    """A record that was consumed or delivered, or (with ``error``) what a consumer reports in its place."""

    __slots__ = ("_error", "_headers", "_key", "_offset", "_partition", "_timestamp_ms", "_topic", "_value")

    def __init__(
        self,
        topic: str,
        partition: int,
        offset: int,
        key: bytes | None = None,
        value: bytes | None = None,
        timestamp_ms: int = 0,
        headers: Headers | None = None,
        error: KafkaError | None = None,
    ) -> None:
        self._topic, self._partition, self._offset = topic, partition, offset
        self._key, self._value = key, value
        self._timestamp_ms, self._headers, self._error = timestamp_ms, headers, error

    def topic(self) -> str:
        return self._topic

    def partition(self) -> int:
        return self._partition

    def offset(self) -> int:
        return self._offset

    def key(self) -> bytes | None:
        return self._key

    def value(self) -> bytes | None:
        return self._value

    def timestamp(self) -> tuple[int, int]:
        """The kind of the timestamp (1: of the producer), and the timestamp in ms."""
        return 1, self._timestamp_ms

    def headers(self) -> Headers | None:
        return self._headers or None

    def error(self) -> KafkaError | None:
        return self._error

    def __len__(self) -> int:
        return len(self._value or b"")

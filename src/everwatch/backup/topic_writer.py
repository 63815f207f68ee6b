"""Writer of records that were read elsewhere: each to a given partition, with its timestamp and headers."""

from confluent_kafka import KafkaError, Message

from everwatch.core.errors import BrokerUnavailable, EverwatchError
from everwatch.kafka.access_errors import refused
from everwatch.kafka.clients import Clients
from everwatch.kafka.consumed_record import Headers
from everwatch.kafka.full_queue import produce

_FLUSH_S = 600.0
# more than any record has that a consumer takes in (``kafka.clients.MEMORY``)
_LARGEST_BYTES = 128 * 1024 * 1024


class TopicWriter:
    """Writes through one idempotent producer; whatever is not taken is raised by ``check`` or ``flush``."""

    def __init__(self, clients: Clients) -> None:
        self._errors: list[KafkaError] = []
        # keys of any size are copied; the broker bounds a batch by its compressed size, the client by its unpacked one
        self._producer = clients.producer(on_delivery=self._delivered, **{"message.max.bytes": _LARGEST_BYTES})

    def write(
        self, topic: str, number: int, key: bytes | None, value: bytes | None, timestamp_ms: int, headers: Headers = ()
    ) -> None:
        """Queue a record; waits while the queue is full. A timestamp of 0 or less: the time it is sent."""
        produce(self._producer, topic, value, key, number, None, None, max(timestamp_ms, 0), _listed(headers))

    def check(self) -> None:
        """Raise EverwatchError or AccessError if a record was not taken."""
        self._producer.poll(0)
        if self._errors:
            denied = refused(self._errors[0])
            raise denied or EverwatchError(f"Kafka does not take a record that was copied: {self._errors[0].str()}.")

    def flush(self) -> None:
        """Wait until all records are acknowledged. Raises BrokerUnavailable, EverwatchError, AccessError."""
        left = self._producer.flush(_FLUSH_S)
        self.check()
        if left:
            raise BrokerUnavailable(f"Kafka has not taken {left} records within {_FLUSH_S:g} s.")

    def _delivered(self, error: KafkaError | None, _: Message) -> None:
        if error is not None and not self._errors:
            self._errors.append(error)


def _listed(headers: Headers) -> list[tuple[str, str | bytes | None]] | None:
    return [*headers] or None

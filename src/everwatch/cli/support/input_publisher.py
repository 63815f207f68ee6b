"""Publishing input from the command line: validated here first, then sent, and only said to be sent once it is."""

from typing import TYPE_CHECKING

from everwatch.core.errors import BrokerUnavailable, EverwatchError
from everwatch.encoding import codec
from everwatch.kafka.access_errors import refused, write_to
from everwatch.kafka.full_queue import produce

if TYPE_CHECKING:
    from confluent_kafka import KafkaError, Message, Producer

    from everwatch.kafka.clients import Clients

FLUSH_S = 30.0
# librdkafka's word for "where the key leads it"
PARTITION_BY_KEY = -1


class InputPublisher:
    """Sends input records keyed by user_id; ``finish`` waits until the broker has all of them.

    ``partition``: where all of them go; None: where their keys lead them. ``bootstrap_servers`` is for messages.
    """

    def __init__(self, clients: "Clients", bootstrap_servers: str, partition: int | None = None) -> None:
        self._partition = PARTITION_BY_KEY if partition is None else partition
        self._producer: Producer = clients.producer()
        self._bootstrap_servers = bootstrap_servers
        self._failure: EverwatchError | None = None
        self.delivered = 0

    def send(self, topic: str, user_id: str, value: bytes | None) -> None:
        """Queue one record."""
        produce(self._producer, topic, value, codec.user_key(user_id), self._partition, self._count)
        self._producer.poll(0)

    def finish(self) -> None:
        """Wait until everything is durable. Raises BrokerUnavailable, AccessError."""
        left = self._producer.flush(FLUSH_S)
        if left or self._failure:
            raise self._failure or BrokerUnavailable(
                f"{left} records did not reach Kafka at {self._bootstrap_servers} within {FLUSH_S:g} s: is it running?"
            )

    def _count(self, error: "KafkaError | None", message: "Message") -> None:
        if error is None:
            self.delivered += 1
        else:
            topic = message.topic() or ""
            self._failure = refused(error, write_to(topic)) or BrokerUnavailable(
                f"A record for topic {topic} could not be delivered: {error.str()}."
            )

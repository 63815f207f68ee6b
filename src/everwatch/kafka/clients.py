"""Clients of librdkafka; with ``asyncio_clients`` the only place that builds Kafka clients.

So every client gets the same addresses and security.
"""

import logging
from typing import TYPE_CHECKING, Any, Protocol

from confluent_kafka import Consumer, KafkaError, Producer

from everwatch.core.config import Settings
from everwatch.kafka.admin_client import Admin
from everwatch.kafka.tls_files import tls_context

if TYPE_CHECKING:
    from aiokafka import AIOKafkaProducer

# a refused record is kept with headers that say why, so a dead letter may be a little larger than what came in
LARGEST_RECORD_BYTES = 2 * 1024 * 1024
# an owner that died in the middle of a transaction keeps readers from going on for this long at most; its successor
# aborts the transaction at once
TRANSACTION_TIMEOUT_MS = 10_000
MEMORY: dict[str, object] = {
    # compressed bytes of one answer, of all partitions together; a larger batch comes alone
    "fetch.max.bytes": 256 * 1024,
    "max.partition.fetch.bytes": 256 * 1024,
    # librdkafka fetches at least so much, whatever the above says
    "message.max.bytes": 256 * 1024,
    # bytes of one answer at most; also to what a batch of zstd may unpack
    "receive.message.max.bytes": 64 * 1024 * 1024,
    # unpacked bytes that wait to be taken; nothing more is fetched then
    "queued.max.messages.kbytes": 32 * 1024,
}
"""What a consumer may hold in memory: docs/dead-letters.md says what follows."""
# without this librdkafka writes to stderr by itself
_LOGGER = logging.getLogger("librdkafka")
logger = logging.getLogger(__name__)


def log_error(error: KafkaError) -> None:
    """Log an error that a client tells by its ``error_cb``."""
    if error.code() == KafkaError._ALL_BROKERS_DOWN:
        logger.warning("Kafka does not answer (%s); waiting for it", error.str())
    elif error.code() not in (KafkaError._TRANSPORT, KafkaError._RESOLVE):
        logger.error("Kafka: %s", error.str())


def librdkafka_settings(settings: Settings, bootstrap_servers: str) -> dict[str, Any]:
    """Return what every librdkafka client needs: address and security. Holds secrets: never log it.

    Raises SettingsError for a file of TLS that is missing or wrong.
    """
    tls_context(settings)
    config: dict[str, Any] = {
        "bootstrap.servers": bootstrap_servers,
        "client.id": f"everwatch-{settings.instance}",
        "security.protocol": settings.security_protocol.value,
        "logger": _LOGGER,
        "error_cb": log_error,
    }
    if settings.security_protocol.value.startswith("SASL"):
        config["sasl.mechanism"] = settings.sasl_mechanism.value
        config["sasl.username"] = settings.sasl_username
        config["sasl.password"] = settings.sasl_password.get_secret_value()
    if settings.ssl_ca_file:
        config["ssl.ca.location"] = str(settings.ssl_ca_file)
    if settings.ssl_certificate_file:
        config["ssl.certificate.location"] = str(settings.ssl_certificate_file)
        config["ssl.key.location"] = str(settings.ssl_key_file)
        if settings.ssl_key_password.get_secret_value():
            config["ssl.key.password"] = settings.ssl_key_password.get_secret_value()
    return config


def new_admin(settings: Settings, bootstrap_servers: str) -> Admin:
    """A client that creates and describes topics. Raises SettingsError."""
    return Admin(librdkafka_settings(settings, bootstrap_servers), settings, bootstrap_servers)


def producer_config(settings: Settings) -> dict[str, object]:
    """The configuration of a producer, beside address and security.

    Keys without an explicit partition go where Java's default partitioner sends them, so that every way in
    (this client, a Java service, kcat with ``-X partitioner=murmur2_random``) agrees on a user's partition.
    """
    return {
        "enable.idempotence": True,
        "acks": "all",
        "compression.type": settings.compression,
        "partitioner": "murmur2_random",
        "linger.ms": 5,
        "message.max.bytes": LARGEST_RECORD_BYTES,
        "queue.buffering.max.messages": 1_000_000,
        # a broker may be unavailable for minutes; what was accepted here is kept and tried again until then
        "delivery.timeout.ms": 600_000,
    }


TRANSACTIONAL: dict[str, object] = {
    "transaction.timeout.ms": TRANSACTION_TIMEOUT_MS,
    # librdkafka demands that no record waits for longer than its transaction lasts
    "delivery.timeout.ms": TRANSACTION_TIMEOUT_MS,
    # a commit sends what is queued at once; lingering would only delay it
    "linger.ms": 0,
}
"""Configuration of a transactional producer where it differs from that of others."""


def consumer_config(settings: Settings) -> dict[str, object]:
    """The configuration of a consumer, beside address, security and group."""
    return {
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "earliest",
        "isolation.level": "read_committed",
        "session.timeout.ms": settings.session_timeout_ms,
        "heartbeat.interval.ms": settings.session_timeout_ms // 3,
        "partition.assignment.strategy": "cooperative-sticky",
        # what a disk or a network has changed is not taken for what was sent
        "check.crcs": True,
    } | MEMORY


def new_producer(settings: Settings, bootstrap_servers: str, **overrides: object) -> Producer:
    """An idempotent librdkafka producer that waits for all in-sync replicas."""
    return Producer(librdkafka_settings(settings, bootstrap_servers) | producer_config(settings) | overrides)


def new_transactional_producer(settings: Settings, bootstrap_servers: str, transactional_id: str) -> Producer:
    """A producer of transactions, which fences every earlier one with the same id."""
    return new_producer(settings, bootstrap_servers, **TRANSACTIONAL, **{"transactional.id": transactional_id})


def new_consumer(settings: Settings, bootstrap_servers: str, group_id: str, **overrides: object) -> Consumer:
    """A librdkafka consumer that commits nothing by itself and starts at the earliest record."""
    address = librdkafka_settings(settings, bootstrap_servers)
    return Consumer(address | {"group.id": group_id} | consumer_config(settings) | overrides)


class Clients(Protocol):
    """Makes the Kafka clients of a process, which is given this one argument and knows neither address nor security."""

    def producer(self, **overrides: object) -> Producer:
        """Make an idempotent producer."""
        ...

    def transactional_producer(self, transactional_id: str) -> Producer:
        """Make a producer of transactions, which fences every earlier one with the same id."""
        ...

    def consumer(self, group_id: str, **overrides: object) -> Consumer:
        """Make a consumer that commits nothing by itself and starts at the earliest record."""
        ...

    def admin(self) -> Admin:
        """Make a client that creates and describes topics."""
        ...

    def batch_producer(self) -> "AIOKafkaProducer":
        """Make an asyncio producer of whole record batches; the caller starts and stops it."""
        ...


class KafkaClients:
    """Clients of the brokers at ``bootstrap_servers``."""

    def __init__(self, settings: Settings, bootstrap_servers: str) -> None:
        self._settings = settings
        self._bootstrap_servers = bootstrap_servers

    def producer(self, **overrides: object) -> Producer:
        return new_producer(self._settings, self._bootstrap_servers, **overrides)

    def transactional_producer(self, transactional_id: str) -> Producer:
        return new_transactional_producer(self._settings, self._bootstrap_servers, transactional_id)

    def consumer(self, group_id: str, **overrides: object) -> Consumer:
        return new_consumer(self._settings, self._bootstrap_servers, group_id, **overrides)

    def admin(self) -> Admin:
        return new_admin(self._settings, self._bootstrap_servers)

    def batch_producer(self) -> "AIOKafkaProducer":
        from everwatch.kafka.asyncio_clients import new_batch_producer  # importing aiokafka takes a while

        return new_batch_producer(self._settings, self._bootstrap_servers)

"""Clients of aiokafka, which only a worker needs: apart from ``clients``, since importing aiokafka takes a while."""

from typing import Any

from aiokafka import AIOKafkaProducer

from everwatch.core.config import Settings
from everwatch.kafka.tls_files import tls_context

LAST_SEQUENCE = 0x7FFF_FFFF


def connection_settings(settings: Settings) -> dict[str, Any]:
    """Return what every aiokafka client needs: security and identity. Holds secrets: never log it."""
    sasl: dict[str, Any] = {}
    if settings.security_protocol.value.startswith("SASL"):
        sasl = {
            "sasl_mechanism": settings.sasl_mechanism.value,
            "sasl_plain_username": settings.sasl_username,
            "sasl_plain_password": settings.sasl_password.get_secret_value(),
        }
    return {
        "client_id": f"everwatch-{settings.instance}",
        "security_protocol": settings.security_protocol.value,
        "ssl_context": tls_context(settings),
    } | sasl


def new_batch_producer(settings: Settings, bootstrap_servers: str) -> AIOKafkaProducer:
    """An idempotent asyncio producer for whole record batches (``send_batch``); the caller starts and stops it."""
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap_servers,
        enable_idempotence=True,
        acks="all",
        compression_type=None if settings.compression == "none" else settings.compression,
        max_batch_size=512 * 1024,
        linger_ms=0,
        **connection_settings(settings),
    )
    _wrap_sequence_numbers(producer)
    return producer


def _wrap_sequence_numbers(producer: AIOKafkaProducer) -> None:
    """Let sequence numbers go on at 0 after 2^31 - 1, as brokers expect.

    aiokafka goes on at -2^31, which a broker takes for a gap; at 40,000 ticks a second that is every 15 hours.
    """
    manager = producer._txn_manager
    numbers = manager._sequence_numbers

    def increment(topic_partition: Any, count: int) -> None:
        numbers[topic_partition] = (numbers[topic_partition] + count) & LAST_SEQUENCE

    manager.increment_sequence_number = increment

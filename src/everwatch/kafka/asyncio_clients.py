"""Clients of aiokafka, which only a worker needs: apart from ``clients``, since importing aiokafka takes a while."""

from collections.abc import Mapping
from typing import Any

from aiokafka import AIOKafkaProducer

from everwatch.core.config import Settings
from everwatch.kafka.tls_files import tls_context


def new_batch_producer(settings: Settings, bootstrap_servers: str) -> AIOKafkaProducer:
    """An idempotent asyncio producer for whole record batches (``send_batch``); the caller starts and stops it."""
    sasl: Mapping[str, Any] = {}
    if settings.security_protocol.value.startswith("SASL"):
        sasl = {
            "sasl_mechanism": settings.sasl_mechanism.value,
            "sasl_plain_username": settings.sasl_username,
            "sasl_plain_password": settings.sasl_password.get_secret_value(),
        }
    return AIOKafkaProducer(
        bootstrap_servers=bootstrap_servers,
        client_id=f"everwatch-{settings.instance}",
        security_protocol=settings.security_protocol.value,
        ssl_context=tls_context(settings),
        enable_idempotence=True,
        acks="all",
        compression_type=None if settings.compression == "none" else settings.compression,
        max_batch_size=512 * 1024,
        linger_ms=0,
        **sasl,
    )

"""Clients of aiokafka, which only a worker needs: apart from ``clients``, since importing aiokafka takes a while."""

import ssl
from collections.abc import Mapping
from typing import Any

from aiokafka import AIOKafkaProducer

from everwatch.config import SecurityProtocol, Settings


def tls_context(settings: Settings) -> ssl.SSLContext | None:
    """The TLS context for asyncio clients, or None where the brokers are spoken to in the clear."""
    if settings.security_protocol not in (SecurityProtocol.SSL, SecurityProtocol.SASL_SSL):
        return None
    context = ssl.create_default_context(cafile=str(settings.ssl_ca_file) if settings.ssl_ca_file else None)
    if settings.ssl_certificate_file:
        context.load_cert_chain(
            str(settings.ssl_certificate_file),
            str(settings.ssl_key_file),
            settings.ssl_key_password.get_secret_value() or None,
        )
    return context


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

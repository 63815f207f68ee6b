"""A Kafka broker of one's own for a single machine, fetched on first use, started and stopped by Everwatch.

The names below are imported when they are used: most commands only ask for the address of a broker.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from everwatch.kafka.embedded.address import remembered_address

if TYPE_CHECKING:
    from everwatch.kafka.embedded.broker import EmbeddedKafka, EmbeddedKafkaSettings
    from everwatch.kafka.embedded.jars import KAFKA_VERSION, FetchProgress

__all__ = ["KAFKA_VERSION", "EmbeddedKafka", "EmbeddedKafkaSettings", "FetchProgress", "remembered_address"]
_MODULES = {
    "EmbeddedKafka": "broker",
    "EmbeddedKafkaSettings": "broker",
    "FetchProgress": "jars",
    "KAFKA_VERSION": "jars",
}


def __getattr__(name: str) -> Any:
    """Import a name of this package."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)

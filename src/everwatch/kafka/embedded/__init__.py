"""A Kafka broker of one's own for a single machine, fetched on first use, started and stopped by Everwatch."""

from everwatch.kafka.embedded.address import remembered_address
from everwatch.kafka.embedded.broker import EmbeddedKafka, EmbeddedKafkaSettings
from everwatch.kafka.embedded.jars import KAFKA_VERSION, FetchProgress

__all__ = ["KAFKA_VERSION", "EmbeddedKafka", "EmbeddedKafkaSettings", "FetchProgress", "remembered_address"]

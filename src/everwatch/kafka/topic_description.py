"""What the broker says of a topic: its id, and the largest batch that it takes."""

from collections.abc import Iterable

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import ConfigResource  # type: ignore[attr-defined]
from confluent_kafka.cimpl import RESOURCE_TOPIC

from everwatch.core.errors import BrokerUnavailable
from everwatch.kafka.admin_client import Admin

_NO_TOPIC_IDS = frozenset({KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError._UNSUPPORTED_FEATURE})


def largest_batch(admin: Admin, topics: Iterable[str], *, timeout_s: float = 10) -> int | None:
    """The largest record batch that all of these topics take, bytes; None if the broker does not tell."""
    resources = [ConfigResource(RESOURCE_TOPIC, name) for name in topics]
    try:
        described = [
            future.result() for future in admin.describe_configs(resources, request_timeout=timeout_s).values()
        ]
        return min(int(config["max.message.bytes"].value) for config in described)
    except (KafkaException, KeyError, ValueError):
        return None  # this client may not ask; a batch that is too large is refused, and smaller ones follow


def topic_id(admin: Admin, topic: str, *, timeout_s: float = 10) -> str:
    """The id that the broker gave the topic when it was created; "" if the broker does not tell it.

    Raises BrokerUnavailable.
    """
    described = admin.describe_topics(TopicCollection([topic]), request_timeout=timeout_s)[topic]
    try:
        return str(described.result(timeout_s + 1).topic_id)
    except (KafkaException, TimeoutError) as error:
        reason = error.args[0] if isinstance(error, KafkaException) else None
        if reason is not None and reason.code() in _NO_TOPIC_IDS:
            return ""  # this client may not ask, or the broker is older than 2.8 and has none
        raise BrokerUnavailable(
            f"Kafka does not describe topic {topic}: {reason.str() if reason else 'no answer'}."
        ) from None

"""An admin client for a process that outlives brokers: it is replaced once it had no answer.

After the death of the broker that it held for the controller, one of librdkafka 2.16 may never look for another.
"""

from collections.abc import Callable
from typing import TypeVar

from confluent_kafka import KafkaException

from everwatch.core.errors import BrokerUnavailable
from everwatch.kafka.admin_client import Admin

T = TypeVar("T")


class LastingAdmin:
    """Makes an admin client when it is first needed, and a new one after a failure. For several threads."""

    def __init__(self, new_client: Callable[[], Admin]) -> None:
        self._new_client = new_client
        self._client: Admin | None = None

    def ask(self, question: Callable[[Admin], T]) -> T:
        """Return what ``question`` gives for the client; its errors are raised."""
        client = self._client = self._client or self._new_client()
        try:
            return question(client)
        except (BrokerUnavailable, KafkaException):
            self._client = None
            raise

"""Events that kinds write to Kafka: the seam, and a publisher that keeps them in memory."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Event:
    """One record for a topic. Records with the same key keep to one partition."""

    topic: str
    key: bytes | None
    value: bytes
    headers: tuple[tuple[str, bytes], ...] = ()


class NotPublished(Exception):
    """An event is not known to be on its topic; ``str()`` is one sentence."""


class EventPublisher(Protocol):
    """Writes events to the topics that the operator allows."""

    async def publish(self, event: Event) -> None:
        """Return once the event is durable. Raises NotPublished.

        Cancelling it does not take the event back: it may still arrive.
        """
        ...


class MemoryPublisher:
    """Keeps in ``events`` the records that are published to the topics in ``allowed``.

    With none of them it refuses everything.
    """

    def __init__(self, allowed: Sequence[str] = ()) -> None:
        self._allowed = allowed
        self.events: list[Event] = []

    async def publish(self, event: Event) -> None:
        check_allowed(event.topic, self._allowed)
        self.events.append(event)


def check_allowed(topic: str, allowed: Sequence[str]) -> None:
    """Raise NotPublished unless ``topic`` is in ``allowed``. The error names no other topic: users may read it."""
    if topic not in allowed:
        raise NotPublished(not_allowed(topic))


def not_allowed(topic: str) -> str:
    """The sentence for a topic that may not be written to."""
    return f"topic {topic} is not allowed; an operator can allow it with EVERWATCH_PUBLISH_TOPICS"

"""What is refused is kept, with its reason."""

from everwatch.clock import Clock
from everwatch.errors import InvalidInput
from everwatch.kafka.dead_letters import MOST_KEPT_BYTES, refusal_headers
from everwatch.kafka.outbox import Outbox
from everwatch.kafka.records import Record
from everwatch.kafka.topics import Topics


class Refusals:
    """Puts what is refused on the topic ``dead-letters``: original key and bytes, and the reason in headers."""

    def __init__(self, outbox: Outbox, topics: Topics, clock: Clock) -> None:
        self._outbox = outbox
        self._topic = topics.dead_letters
        self._clock = clock

    def refuse(self, source: Record, error: InvalidInput) -> None:
        """Keep a refused input."""
        headers = refusal_headers(
            error,
            topic=source.topic,
            partition=source.partition,
            offset=source.offset,
            refused_at=self._clock.now_ms(),
        )
        # a record that came compressed may be larger than what the dead letters take
        value = source.value[:MOST_KEPT_BYTES] if source.value else source.value
        self._outbox.send(self._topic, partition=source.partition, key=source.key, value=value, headers=headers)

"""A partition that this executor holds."""

from dataclasses import dataclass, field

from confluent_kafka import Message, TopicPartition

from everwatch.executor.watermark import Watermark


@dataclass(slots=True, eq=False)
class HeldPartition:
    """One assignment of one partition; assigned again, it is another object, so old work cannot be mistaken for new.

    Each field is written by one thread only: ``started`` and ``parked`` (how many ticks wait for their host, or for the
    run before them) by the event loop, all else by the consumer's thread.
    """

    topic: str
    partition: int
    watermark: Watermark = field(default_factory=Watermark)
    started: int = 0
    parked: int = 0
    finished: int = 0
    committed: int | None = None
    revoked: bool = False

    @property
    def busy(self) -> bool:
        """Whether something that was started is not durable yet."""
        return self.started > self.finished

    def at(self, offset: int | None = None) -> TopicPartition:
        """librdkafka's name for it."""
        if offset is None:
            return TopicPartition(self.topic, self.partition)
        return TopicPartition(self.topic, self.partition, offset)


Taken = tuple[HeldPartition, Message]

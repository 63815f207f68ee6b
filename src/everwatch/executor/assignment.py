"""A partition that this executor holds."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from confluent_kafka import Message, TopicPartition

from everwatch.executor.watermark import Watermark

STANDSTILL_S = 2.0
"""After a standstill of the process its ticks wait: what was cancelled, and what became due, is still to be read."""


@dataclass(slots=True, eq=False)
class HeldPartition:
    """One assignment of one partition; assigned again, it is another object, so old work cannot be mistaken for new.

    Each field is written by one thread only: ``started`` and ``parked`` (how many ticks wait: for a slot, for their
    host, or for the run before them) by the event loop, all else by the consumer's thread.

    ``is_behind``: there is more to read, so a late tick may be followed by a fresher one; ``behind_since_s``: since
    when the partition has not caught up. ``read_to``, ``read_to_ms``: offset and timestamp of the last record read;
    ``looked_to``: the offset up to which that was judged, ``looked_s``: when. ``end``: where the partition ended when
    the broker was asked last. ``is_unread``: the last record read is late, and more follow it.
    """

    topic: str
    partition: int
    watermark: Watermark = field(default_factory=Watermark)
    started: int = 0
    parked: int = 0
    finished: int = 0
    committed: int | None = None
    revoked: bool = False
    is_behind: bool = True
    behind_since_s: float = 0.0
    read_to: int = -1
    read_to_ms: int = 0
    looked_to: int = -1
    looked_s: float = 0.0
    end: int = 0
    is_unread: bool = False

    @property
    def busy(self) -> bool:
        """Tell whether something that was started is not durable yet."""
        return self.started > self.finished

    def at(self, offset: int | None = None) -> TopicPartition:
        """librdkafka's name for it."""
        if offset is None:
            return TopicPartition(self.topic, self.partition)
        return TopicPartition(self.topic, self.partition, offset)


Taken = tuple[HeldPartition, Message]


def uncommitted(partitions: Iterable[HeldPartition]) -> list[TopicPartition]:
    """Return the offsets to commit. They count as committed from here on, until a callback says otherwise."""
    offsets = []
    for held in partitions:
        low = held.watermark.low
        if low is not None and low != held.committed:
            held.committed = low
            offsets.append(held.at(low))
    return offsets


class ReaderLimits(NamedTuple):
    """Limits of a reader. ``parked``: ticks of the process that are read and not begun, about 1 KB each; they are read
    ahead so that users whose ticks come later on the topic get their share too.

    ``again``: ticks finished behind the oldest unfinished one of a partition, which its next owner would run again.
    ``revoke_wait_s``: longest wait for what runs of a partition that goes. ``standstill_s``: a longer pause between two
    looks is a standstill of the process.
    """

    parked: int = 20_000
    again: int = 100_000
    revoke_wait_s: float = 3.0
    standstill_s: float = STANDSTILL_S


DEFAULT_LIMITS = ReaderLimits()

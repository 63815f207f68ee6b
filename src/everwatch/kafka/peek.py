"""A look at a few records of many partitions, without joining a group and without reading what follows."""

from collections.abc import Mapping
from typing import NamedTuple

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from everwatch.clock import Clock
from everwatch.kafka.groups import Position
from everwatch.kafka.records import Record

# the consumer settings that a look needs: it must see where a partition ends, and fetch little
PEEKING: dict[str, object] = {
    "enable.partition.eof": True,
    "max.partition.fetch.bytes": 64 * 1024,
    "queued.max.messages.kbytes": 4 * 1024,
}
_AT_ONCE = 1_000
_TAKE_S = 0.2
# of a partition whose leader changes, or of a broker that is away: another try may read it
_PASSING = frozenset({
    KafkaError._ALL_BROKERS_DOWN,
    KafkaError._TRANSPORT,
    KafkaError._RESOLVE,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.NOT_LEADER_FOR_PARTITION,
})  # fmt: skip


class Peek(NamedTuple):
    """What was seen of a partition: its first messages from the given offset on, and the error that ended the look.

    ``ended``: the partition holds nothing behind them.
    """

    messages: list[Message]
    ended: bool = False
    error: str = ""

    @property
    def records(self) -> list[Record]:
        """The messages as plain values, without their headers."""
        return [Record.of(message) for message in self.messages]


def peek(
    consumer: Consumer, starts: Mapping[Position, int], most: int, clock: Clock, *, timeout_s: float = 10.0
) -> dict[Position, Peek]:
    """Up to ``most`` records of each partition from its offset in ``starts`` on.

    ``consumer`` is made with ``PEEKING``. A partition that gave nothing within ``timeout_s`` has a Peek without
    records that has not ended.
    """
    seen = {position: Peek([]) for position in starts}
    left = set(starts)
    if not left:
        return seen
    consumer.assign([TopicPartition(topic, number, offset) for (topic, number), offset in starts.items()])
    deadline_s = clock.monotonic_s() + timeout_s
    while left and clock.monotonic_s() < deadline_s:
        for message in consumer.consume(_AT_ONCE, _TAKE_S):
            position = message.topic() or "", message.partition() or 0
            if position not in left:
                continue
            error = message.error()
            if error is None:
                seen[position].messages.append(message)
                done = len(seen[position].messages) >= most
            elif error.code() == KafkaError._PARTITION_EOF:
                seen[position], done = seen[position]._replace(ended=True), True
            else:
                done = error.code() not in _PASSING
                if done:
                    seen[position] = seen[position]._replace(error=error.str())
            if done:
                left.remove(position)
                consumer.pause([TopicPartition(*position)])
    # a partition would stay paused when it is assigned again
    consumer.resume([TopicPartition(*position) for position in starts.keys() - left])
    consumer.unassign()
    return seen

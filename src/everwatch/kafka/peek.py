"""Looks at some records of many partitions, without joining a group: from offsets on, at offsets, or at the ends.

The last record of a partition is found by reading up to its end: markers and aborted transactions take offsets, too.
"""

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple, cast

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from everwatch.core.errors import AccessError, BrokerUnavailable
from everwatch.kafka.access_errors import read_of, refused
from everwatch.kafka.consumed_record import Record
from everwatch.kafka.consumer_groups import Position
from everwatch.kafka.partition_bounds import bounds
from everwatch.kafka.unreadable_batches import is_unreadable

# the consumer settings that a look needs: it must see where a partition ends, and fetch little
PEEKING: dict[str, object] = {
    "enable.partition.eof": True,
    "max.partition.fetch.bytes": 64 * 1024,
    "queued.max.messages.kbytes": 4 * 1024,
}
LOOK_BACK = 100
TIMEOUT_S = 10.0
ENDS_TIMEOUT_S = 20.0
_AT_ONCE = 1_000
_TAKE_S = 0.2
# of a partition whose leader changes, or of a broker that is unavailable: another try may read it
_PASSING = frozenset({
    KafkaError._ALL_BROKERS_DOWN,
    KafkaError._TRANSPORT,
    KafkaError._RESOLVE,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.NOT_LEADER_FOR_PARTITION,
})  # fmt: skip


class Peek(NamedTuple):
    """Messages of a partition from a given offset on, and the error that ended the look.

    ``ended``: the partition holds nothing behind them. ``denied``: the error says that it may not be read.
    ``is_unreadable``: that there are no records to be made of the bytes.
    """

    messages: list[Message]
    ended: bool = False
    error: str = ""
    denied: AccessError | None = None
    is_unreadable: bool = False

    @property
    def records(self) -> list[Record]:
        """The messages as plain values, without their headers."""
        return [Record.of(message) for message in self.messages]


class Tail(NamedTuple):
    """One of the last records of a partition."""

    offset: int
    value: bytes | None
    headers: Mapping[str, bytes]
    timestamp_ms: int = 0


def peek(
    consumer: Consumer,
    starts: Mapping[Position, int],
    most: int | None,
    *,
    stops: Mapping[Position, int] = MappingProxyType({}),
    timeout_s: float = TIMEOUT_S,
) -> dict[Position, Peek]:
    """Up to ``most`` records (None: all) of each partition from its offset in ``starts`` on.

    ``stops``: offsets at which partitions end for this look. The end of one to which something is written all the time
    is reported late, or never.
    ``consumer`` reports the end of partitions (``PEEKING``) and has nothing else to do. Gives up when nothing has come
    for ``timeout_s`` in all; a partition that gave nothing then has a Peek without records that has not ended.
    """
    seen = {position: Peek([]) for position in starts}
    left = set(starts)
    if not left:
        return seen
    consumer.assign([TopicPartition(topic, number, offset) for (topic, number), offset in starts.items()])
    patience = int(timeout_s / _TAKE_S)
    while left and patience:
        messages = consumer.consume(_AT_ONCE, _TAKE_S)
        # transient errors may be reported repeatedly
        patience -= all(message.error() is not None for message in messages)
        for message in messages:
            position = message.topic() or "", message.partition() or 0
            if position not in left:
                continue
            error = message.error()
            if error is None:
                seen[position].messages.append(message)
                done = len(seen[position].messages) == most
                if position in stops and (message.offset() or 0) + 1 >= stops[position]:
                    seen[position], done = seen[position]._replace(ended=True), True
            elif error.code() == KafkaError._PARTITION_EOF:
                seen[position], done = seen[position]._replace(ended=True), True
            else:
                done = error.code() not in _PASSING
                if done:
                    denied = refused(error, read_of(position[0]))
                    seen[position] = seen[position]._replace(
                        error=error.str(), denied=denied, is_unreadable=is_unreadable(message)
                    )
            if done:
                left.remove(position)
                consumer.pause([TopicPartition(*position)])
    # a partition would stay paused when it is assigned again
    consumer.resume([TopicPartition(*position) for position in starts.keys() - left])
    consumer.unassign()
    return seen


def read_at(consumer: Consumer, topic: str, offsets: Mapping[int, int]) -> dict[int, Record]:
    """The record at exactly this offset of each partition; none where it was compacted away, or is a marker, or broken.

    ``consumer`` as for ``peek``. Raises BrokerUnavailable, AccessError.
    """
    seen = peek(consumer, {(topic, number): offset for number, offset in offsets.items()}, 1, timeout_s=ENDS_TIMEOUT_S)
    seen = {position: each for position, each in seen.items() if not each.is_unreadable}
    _expect(seen, lambda each: each.ended or bool(each.messages))
    first = {number: each.records[0] for (_, number), each in seen.items() if each.messages}
    return {number: record for number, record in first.items() if record.offset == offsets[number]}


def read_tails(
    consumer: Consumer,
    topic: str,
    partitions: Iterable[int],
    look_back: int = LOOK_BACK,
    is_wanted: Callable[[Tail], bool] = lambda _: True,
) -> dict[int, list[Tail]]:
    """The last records of each partition, about as many as ``look_back`` offsets hold, but the last one at least.

    None where a partition has none. Records that are not wanted, or cannot be read, do not count. ``consumer`` reads
    committed records, and otherwise is as for ``peek``. Raises BrokerUnavailable, AccessError.
    """
    tails: dict[int, list[Tail]] = {}
    left = list(partitions)
    while left:
        held = {number: bounds(consumer, topic, number) for number in left}
        begins = {number: max(some.start, some.stop - look_back) for number, some in held.items() if some}
        seen = peek_to_ends(consumer, {(topic, n): range(begin, held[n].stop) for n, begin in begins.items()})
        _expect(seen, lambda each: each.ended)
        tails |= {number: [] for number in left}
        for (_, number), each in seen.items():
            tails[number] = [tail for tail in map(_tail, each.messages) if is_wanted(tail)]
        # where a large transaction was aborted, or much was compacted away, the last record lies further back
        left = [number for number, begin in begins.items() if not tails[number] and begin > held[number].start]
        look_back *= 100
    return tails


def peek_to_ends(
    consumer: Consumer, wanted: Mapping[Position, range], timeout_s: float = ENDS_TIMEOUT_S
) -> dict[Position, Peek]:
    """The records of each partition at its offsets in ``wanted``, and perhaps some behind them.

    ``consumer`` as for ``peek``. A batch that cannot be read hides nothing but itself and, where there are several,
    what stands between them.
    """
    begins = {position: some.start for position, some in wanted.items()}
    stops = {position: some.stop for position, some in wanted.items()}
    seen = peek(consumer, begins, None, stops=stops, timeout_s=timeout_s)
    hidden = {position: each for position, each in seen.items() if each.is_unreadable}
    for position, each in hidden.items():
        seen[position] = Peek(each.messages, ended=True)
    length = 1
    while hidden:
        # of what stands behind it, from the end backwards: its own end would take a second client to find
        starts = {position: max(wanted[position].start, wanted[position].stop - length) for position in hidden}
        for position, each in peek(consumer, starts, None, stops=stops, timeout_s=timeout_s).items():
            before = hidden[position].messages
            if each.is_unreadable:
                del hidden[position]
                continue
            seen[position] = each._replace(messages=before + each.messages)
            if not each.ended or starts[position] == wanted[position].start:
                del hidden[position]
        length *= 2
    return seen


def _expect(seen: Mapping[Position, Peek], is_complete: Callable[[Peek], bool]) -> None:
    """Raise AccessError or BrokerUnavailable if a look is not complete."""
    for (topic, number), each in seen.items():
        if each.denied is not None:
            raise each.denied
        if each.error or not is_complete(each):
            reason = each.error or "nothing comes"
            raise BrokerUnavailable(f"Kafka does not give the records of topic {topic}, partition {number}: {reason}.")


def _tail(message: Message) -> Tail:
    record = Record.of(message)
    headers = dict(cast(list[tuple[str, bytes]], message.headers() or ()))
    return Tail(record.offset, record.value, headers, record.timestamp_ms)

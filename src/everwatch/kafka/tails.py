"""The last records of partitions, where offsets do not tell: markers and aborted transactions take offsets, too."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple, cast

from confluent_kafka import Consumer, KafkaError, TopicPartition

from everwatch.errors import BrokerUnavailable
from everwatch.kafka.offsets import bounds
from everwatch.kafka.records import Record

LOOK_BACK = 100
WAIT_S = 0.2
PATIENCE = 100


class Tail(NamedTuple):
    """One of the last records of a partition."""

    offset: int
    value: bytes | None
    headers: Mapping[str, bytes]


def read_tails(
    consumer: Consumer, topic: str, partitions: Iterable[int], look_back: int = LOOK_BACK
) -> dict[int, list[Tail]]:
    """The last records of each partition, about as many as ``look_back`` offsets hold, but the last one at least.

    None where a partition has none. ``consumer`` reads committed records, reports the end of partitions
    (``enable.partition.eof``) and has nothing else to do. Raises BrokerUnavailable.
    """
    tails: dict[int, list[Tail]] = {}
    left = list(partitions)
    while left:
        held = {number: bounds(consumer, topic, number) for number in left}
        begins = {number: max(some.start, some.stop - look_back) for number, some in held.items() if some}
        found = _read_to_end(consumer, topic, begins)
        # where a large transaction was aborted, or much was compacted away, the last record lies further back
        left = [number for number, begin in begins.items() if not found[number] and begin > held[number].start]
        tails |= {number: records for number, records in found.items() if number not in left}
        tails |= {number: [] for number in held.keys() - begins.keys()}
        look_back *= 100
    return tails


def read_at(consumer: Consumer, topic: str, offsets: Mapping[int, int]) -> dict[int, Record]:
    """The record at exactly this offset of each partition; none where it was compacted away, or is a marker.

    ``consumer`` as for ``read_tails``. Raises BrokerUnavailable.
    """
    found: dict[int, Record] = {}
    if not offsets:
        return found
    left = set(offsets)
    consumer.assign([TopicPartition(topic, number, offset) for number, offset in offsets.items()])
    patience = PATIENCE
    while left and patience:
        messages = consumer.consume(1, WAIT_S)
        patience -= not messages
        for message in messages:
            number = message.partition() or 0
            error = message.error()
            if error is None and number in left:
                record = Record.of(message)
                if record.offset == offsets[number]:
                    found[number] = record
                left.discard(number)
                consumer.pause([TopicPartition(topic, number)])
            elif error is not None and error.code() == KafkaError._PARTITION_EOF:
                left.discard(number)
    consumer.unassign()
    if left:
        raise BrokerUnavailable(f"Kafka does not give the records of topic {topic}, partitions {sorted(left)}.")
    return found


def _read_to_end(consumer: Consumer, topic: str, begins: dict[int, int]) -> dict[int, list[Tail]]:
    found: dict[int, list[Tail]] = {number: [] for number in begins}
    if not begins:
        return found
    left = set(begins)
    consumer.assign([TopicPartition(topic, number, begin) for number, begin in begins.items()])
    for _ in range(PATIENCE):
        messages = consumer.consume(LOOK_BACK * len(begins), WAIT_S)
        for message in messages:
            error = message.error()
            if error is None:
                record = Record.of(message)
                headers = dict(cast(list[tuple[str, bytes]], message.headers() or ()))
                found[record.partition].append(Tail(record.offset, record.value, headers))
            elif error.code() == KafkaError._PARTITION_EOF:
                left.discard(message.partition() or 0)
        if not left:
            break
    consumer.unassign()
    if left:
        raise BrokerUnavailable(f"Kafka does not give the last records of topic {topic}, partitions {sorted(left)}.")
    return found

"""The last records of partitions, where offsets do not tell: markers and aborted transactions take offsets, too."""

from collections.abc import Iterable

from confluent_kafka import Consumer, KafkaError, TopicPartition

from everwatch.errors import BrokerUnavailable
from everwatch.kafka.offsets import bounds
from everwatch.kafka.records import Record

LOOK_BACK = 100
WAIT_S = 0.2
PATIENCE = 100


def read_tails(
    consumer: Consumer, topic: str, partitions: Iterable[int], look_back: int = LOOK_BACK
) -> dict[int, list[Record]]:
    """The last records of each partition, about as many as ``look_back`` offsets hold, but the last one at least.

    None where a partition has none. ``consumer`` reads committed records, reports the end of partitions
    (``enable.partition.eof``) and has nothing else to do. Raises BrokerUnavailable.
    """
    tails: dict[int, list[Record]] = {}
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


def _read_to_end(consumer: Consumer, topic: str, begins: dict[int, int]) -> dict[int, list[Record]]:
    found: dict[int, list[Record]] = {number: [] for number in begins}
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
                found[record.partition].append(record)
            elif error.code() == KafkaError._PARTITION_EOF:
                left.discard(message.partition() or 0)
        if not left:
            break
    consumer.unassign()
    if left:
        raise BrokerUnavailable(f"Kafka does not give the last records of topic {topic}, partitions {sorted(left)}.")
    return found

"""How far each partition's ticks are emitted, kept on a compacted topic: key = partition, value = instant in ms."""

import asyncio
from collections.abc import Iterable

from confluent_kafka import Consumer, TopicPartition

from everwatch.errors import BrokerUnavailable
from everwatch.kafka.offsets import bounds
from everwatch.kafka.outbox import Outbox
from everwatch.kafka.records import Record

# after a takeover the old owner's last record may still come in behind the new owner's: look at more than one
LOOK_BACK = 100
PATIENCE = 100


def write_progress(outbox: Outbox, topic: str, partition: int, emitted_to: int) -> None:
    """Note that every tick of the partition due up to ``emitted_to`` is durable."""
    outbox.note(topic, partition=partition, key=b"%d" % partition, value=b"%d" % emitted_to)


async def read_progress(consumer: Consumer, topic: str, partitions: Iterable[int]) -> dict[int, int]:
    """The instant noted last for each of the partitions; one that has none is left out."""
    return await asyncio.to_thread(_read, consumer, topic, list(partitions))


def _read(consumer: Consumer, topic: str, partitions: list[int]) -> dict[int, int]:
    ends: dict[int, int] = {}
    positions = []
    for number in partitions:
        held = bounds(consumer, topic, number)
        if held:
            ends[number] = held.stop
            positions.append(TopicPartition(topic, number, max(held.start, held.stop - LOOK_BACK)))
    progress: dict[int, int] = {}
    if not positions:
        return progress
    consumer.assign(positions)
    for _ in range(PATIENCE):
        if not ends:
            break
        for message in consumer.consume(LOOK_BACK * len(positions), 0.2):
            if message.error() is not None:
                continue
            record = Record.of(message)
            progress[record.partition] = max(int(record.value or 0), progress.get(record.partition, 0))
            if record.offset + 1 >= ends.get(record.partition, 0):
                ends.pop(record.partition, None)
    consumer.unassign()
    if ends:
        # to go on without would be to emit everything since the monitors were put
        raise BrokerUnavailable(f"the progress of partitions {sorted(ends)} cannot be read")
    return progress

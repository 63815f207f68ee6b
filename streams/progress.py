"""How far each partition's ticks are emitted, kept on a compacted topic: key = partition, value = instant in ms."""

import asyncio
from collections.abc import Iterable

from confluent_kafka import Consumer

from everwatch.kafka.tails import read_tails


async def read_progress(consumer: Consumer, topic: str, partitions: Iterable[int]) -> dict[int, int]:
    """The instant noted last for each of the partitions; one that has none is left out. Raises BrokerUnavailable."""
    tails = await asyncio.to_thread(read_tails, consumer, topic, partitions)
    # a worker of a version without fencing may have written behind its successor: the newest instant counts
    return {number: max(int(record.value or 0) for record in records) for number, records in tails.items() if records}

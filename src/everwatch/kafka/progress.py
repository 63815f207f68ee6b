"""How far each partition's ticks are emitted, kept on a compacted topic: key = partition, value = instant in ms.

The header ``changelog`` of a record says whose table it was and how far it had come (``everwatch.changelog.Mark``).
"""

from collections.abc import Iterable
from typing import NamedTuple

from confluent_kafka import Consumer

from everwatch.changelog import Mark, decode_mark
from everwatch.kafka.tails import read_tails

OWNER_HEADER = "changelog"


class Noted(NamedTuple):
    """What was noted last of a partition: the instant, ms (0: none), and the owner's mark, if it is known."""

    emitted_to: int
    owner: Mark | None


def read_progress(consumer: Consumer, topic: str, partitions: Iterable[int]) -> dict[int, Noted]:
    """What was noted last of each of the partitions; one that has none is left out. Raises BrokerUnavailable."""
    tails = read_tails(consumer, topic, partitions)
    # a worker of a version without fencing may have written behind its successor: the newest instant counts
    return {
        number: Noted(
            max(int(record.value or 0) for record in records), decode_mark(records[-1].headers.get(OWNER_HEADER))
        )
        for number, records in tails.items()
        if records
    }

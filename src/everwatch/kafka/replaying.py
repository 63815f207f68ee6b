"""Reads stretches of topics again, as for a client that was disconnected for a moment."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from functools import partial

from everwatch.core.clock import Clock
from everwatch.core.config import Settings
from everwatch.kafka.clients import new_consumer
from everwatch.kafka.consumed_record import Record
from everwatch.kafka.consumer_groups import Position
from everwatch.kafka.partition_bounds import bounds
from everwatch.kafka.to_end import read_to_end
from everwatch.kafka.unreadable_batches import Sieve


def replay(
    settings: Settings, bootstrap_servers: str, clock: Clock, wanted: Mapping[Position, range]
) -> Iterator[Sequence[Record]]:
    """The records of these offsets that topics still hold, in the order of each partition.

    Raises BrokerUnavailable, AccessError.
    """
    group = f"{settings.application}-replaying-{settings.instance}"
    with closing(new_consumer(settings, bootstrap_servers, group, **{"enable.partition.eof": True})) as consumer:
        sieve = Sieve(consumer, partial(new_consumer, settings, bootstrap_servers, group), clock)
        for topic in sorted({topic for topic, _ in wanted}):
            held = {number: bounds(consumer, topic, number) for name, number in wanted if name == topic}
            kept = {
                number: range(max(wanted[topic, number].start, held[number].start), wanted[topic, number].stop)
                for number in held
            }
            for messages in read_to_end(consumer, topic, kept, sieve):
                records = map(Record.of, messages)
                yield [record for record in records if record.offset in kept[record.partition]]

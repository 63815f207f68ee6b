"""Up to which instant each partition's ticks are emitted, as the topic ``progress`` tells."""

from collections.abc import Iterable

from confluent_kafka import Consumer
from confluent_kafka.admin import AdminClient

from everwatch.clock import Clock
from everwatch.kafka.groups import bounds_of
from everwatch.kafka.peek import peek

# after a takeover the old owner's last record may still come in behind the new owner's, and where progress is written
# in transactions half of the offsets are their marks
LOOK_BACK = 50


def read_emitted_to(
    admin: AdminClient, consumer: Consumer, topic: str, partitions: Iterable[int], clock: Clock
) -> dict[int, int]:
    """The instant of each partition, ms; a partition of which no worker has emitted a tick yet is left out.

    ``consumer`` is made with ``PEEKING``. Raises BrokerUnavailable.
    """
    held = bounds_of(admin, [(topic, number) for number in partitions])
    starts = {position: max(each.start, each.stop - LOOK_BACK) for position, each in held.items() if each}
    found: dict[int, int] = {}
    for (_, number), seen in peek(consumer, starts, LOOK_BACK, clock).items():
        instants = [int(record.value) for record in seen.records if record.value and record.value.isdigit()]
        if instants:
            found[number] = max(instants)
    return found

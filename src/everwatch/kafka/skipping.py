"""Skips what a partition holds and no consumer can read, where processes do not pass over it by themselves.

They need an error: for a batch whose length points beyond the end of its segment the broker gives nothing, as where
nothing new has come. Here a person decides: everything up to the first offset that can be read is deleted, so that
every consumer goes on there.
"""

from collections.abc import Callable

from confluent_kafka import Consumer, KafkaException, TopicPartition

from everwatch.core.errors import BrokerUnavailable
from everwatch.kafka.access_errors import missing, refused
from everwatch.kafka.acl import Operation, Resource, Right
from everwatch.kafka.admin_client import Admin
from everwatch.kafka.peek import peek

SILENCE_S = 5.0
"""An offset that gives nothing for so long cannot be read: of a wrong format version librdkafka reports no error."""


def is_readable(consumer: Consumer, topic: str, partition: int, offset: int) -> bool:
    """Tell whether a record, or the end of the partition, comes from ``offset`` on. Raises AccessError.

    ``consumer`` is made with ``PEEKING``.
    """
    [seen] = peek(consumer, {(topic, partition): offset}, 1, timeout_s=SILENCE_S).values()
    if seen.denied is not None:
        raise seen.denied
    return bool(seen.messages) or seen.ended


def first_readable(readable: Callable[[int], bool], offset: int, end: int) -> int:
    """Return the first offset from ``offset`` on that can be read, at most ``end``; ``readable`` is asked rarely."""
    if offset >= end or readable(offset):
        return min(offset, end)
    last, step = offset, 1
    while last + step < end and not readable(last + step):
        last, step = last + step, 2 * step
    found = min(last + step, end)
    while found - last > 1:
        middle = (last + found) // 2
        if readable(middle):
            found = middle
        else:
            last = middle
    return found


def delete_before(admin: Admin, topic: str, partition: int, offset: int, *, timeout_s: float = 30) -> None:
    """Delete the records of a partition before ``offset``, which no consumer sees any more.

    Raises BrokerUnavailable, also where the broker does not do it; AccessError.
    """
    position = TopicPartition(topic, partition, offset)
    [deleted] = admin.delete_records([position], request_timeout=timeout_s).values()
    try:
        deleted.result(timeout_s + 1)
    except KafkaException as error:
        if refused(error.args[0]) is not None:
            raise missing(Right(Operation.DELETE, Resource.TOPIC, topic), admin.settings) from None
        reason = error.args[0].str()
        raise BrokerUnavailable(f"Kafka has deleted no records of {topic}, partition {partition}: {reason}.") from None

"""Reads partitions to where they end, the one way: with a deadline, and with an error for whatever keeps it from that.

A count or a copy of a topic must be complete: less than all of it is an error here, never
a smaller result.
"""

from collections.abc import Callable, Iterator, Mapping

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from everwatch.core.errors import BrokerUnavailable, RecordsUnreadable
from everwatch.kafka.access_errors import read_of, refused
from everwatch.kafka.unreadable_batches import Sieve, Unreadable, is_unreadable

# for what is read as a whole; at the end, where this consumer learns that it is the end, the broker is not to wait for
# more
BULK: dict[str, object] = {
    "enable.partition.eof": True,
    "fetch.wait.max.ms": 10,
    "fetch.max.bytes": 16 * 1024 * 1024,
    "max.partition.fetch.bytes": 1024 * 1024,
}
"""Settings of a consumer for topics that are read as a whole."""
AT_ONCE = 10_000
SILENCE_S = 30.0
_TAKE_S = 0.2


def read_to_end(
    consumer: Consumer,
    topic: str,
    wanted: Mapping[int, range],
    sieve: Sieve | None = None,
    silence_s: float = SILENCE_S,
    on_unreadable: Callable[[Unreadable], object] = lambda _: None,
) -> Iterator[list[Message]]:
    """The records of each partition from the first of its offsets in ``wanted`` to the last, as they come.

    A list may be empty: nothing has come for a moment, and the caller may stop. ``consumer`` reports the end of
    partitions and has nothing else to do. With a ``sieve`` batches that cannot be read are passed over, and each that
    begins within its partition's offsets is given to ``on_unreadable``.

    Raises AccessError; RecordsUnreadable, when all other partitions are read; BrokerUnavailable when nothing has come
    for ``silence_s``.
    """
    left = {number: offsets.stop for number, offsets in wanted.items() if offsets}
    if not left:
        return
    consumer.assign([TopicPartition(topic, number, wanted[number].start) for number in left])
    unreadable: dict[int, tuple[int, str]] = {}
    patience, reason = int(silence_s / _TAKE_S), ""
    while left and patience:
        messages = consumer.consume(AT_ONCE, _TAKE_S)
        if sieve is not None:
            sifted = sieve.sift(messages)
            messages = [*sifted.records, *sifted.errors]
            for each in sifted.unreadable:
                if each.first < wanted[each.partition].stop:
                    on_unreadable(each)
                if each.end >= left.get(each.partition, each.end + 1):
                    del left[each.partition]
        records: list[Message] = []
        for message in messages:
            number, error = message.partition() or 0, message.error()
            if number in unreadable:
                continue  # the client may begin the partition anew behind a wrong checksum
            if error is None:
                records.append(message)
                if (message.offset() or 0) + 1 >= left.get(number, 0):
                    left.pop(number, None)
            elif error.code() == KafkaError._PARTITION_EOF:
                left.pop(number, None)
            elif error.code() == KafkaError.GROUP_AUTHORIZATION_FAILED:
                pass  # the partitions are assigned here, and nothing is committed: no consumer group is needed
            elif denied := refused(error, read_of(topic)):
                raise denied
            elif sieve is None and is_unreadable(message) and number in left:
                unreadable[number] = message.offset() or 0, error.str()
                del left[number]
                # it would be fetched repeatedly
                consumer.pause([TopicPartition(topic, number)])
            else:
                reason = error.str()
        if records:
            patience = int(silence_s / _TAKE_S)
        elif sieve is None or not sieve.is_looking:
            patience -= 1
        yield records
    if left:
        raise BrokerUnavailable(
            f"Topic {topic}, partitions {sorted(left)}: nothing comes for {silence_s:g} s"
            + (f" ({reason})." if reason else ".")
        )
    if unreadable:
        raise RecordsUnreadable(topic, unreadable)

"""Bounds of a partition."""

from collections.abc import Iterable

from confluent_kafka import OFFSET_END, Consumer, KafkaException, TopicPartition

from everwatch.core.errors import BrokerUnavailable
from everwatch.kafka.access_errors import read_of, refused

PATIENCE = 80


def ends(consumer: Consumer, topic: str, partitions: Iterable[int], timeout_s: float) -> dict[int, int]:
    """The offset behind the last committed record of each partition, by its number. Raises KafkaException.

    One request to each broker: it answers a connection's requests one by one, so each that is sent waits until the
    consumer's fetch before it ends, which takes up to half a second where nothing new comes.
    """
    found = consumer.offsets_for_times([TopicPartition(topic, each, OFFSET_END) for each in partitions], timeout_s)
    for each in found:
        if each.error is not None:
            raise KafkaException(each.error)
    return {each.partition: each.offset for each in found}


def bounds(consumer: Consumer, topic: str, partition: int) -> range:
    """The offsets that the partition holds now. Raises BrokerUnavailable.

    Asks again where the broker has no leader for it yet, as in the moment after its creation or after a failover.
    """
    reason = ""
    for _ in range(PATIENCE):
        try:
            low, high = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=10)
        except KafkaException as error:
            denied = refused(error.args[0], read_of(topic))
            if denied is not None:
                raise denied from None
            reason = error.args[0].str()
            consumer.poll(0.25)
        else:
            return range(low, high)
    raise BrokerUnavailable(f"Kafka does not report where partition {partition} of topic {topic} ends: {reason}.")

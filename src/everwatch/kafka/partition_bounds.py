"""Where a partition begins and ends."""

from confluent_kafka import Consumer, KafkaException, TopicPartition

from everwatch.core.errors import BrokerUnavailable
from everwatch.kafka.access_errors import read_of, refused

PATIENCE = 40


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
    raise BrokerUnavailable(f"Kafka does not tell where partition {partition} of topic {topic} ends: {reason}.")

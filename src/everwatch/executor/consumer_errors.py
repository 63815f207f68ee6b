"""Errors of the consumers of ticks: which of them end the executor, and with what sentence."""

from confluent_kafka import KafkaError

from everwatch.core.errors import BrokerUnavailable, Transient
from everwatch.kafka.access_errors import read_by, read_of, refused

# Errors that waiting does not mend: an operator has to act.
_HOPELESS = {
    KafkaError.UNKNOWN_TOPIC_OR_PART: "a tick topic does not exist: run 'everwatch topics create'",
    KafkaError._UNKNOWN_TOPIC: "a tick topic does not exist: run 'everwatch topics create'",
}


def is_hopeless(error: KafkaError) -> bool:
    """Tell whether waiting does not mend it."""
    return error.fatal() or error.code() in _HOPELESS or refused(error) is not None


def unavailable(error: KafkaError, topic: str, group: str) -> Transient:
    """Return the error that the executor ends with."""
    what = _HOPELESS.get(error.code(), "the consumer cannot go on")
    denied = refused(error, read_of(topic), read_by(group))
    return denied or BrokerUnavailable(f"Kafka: {what} ({error.str()}).")

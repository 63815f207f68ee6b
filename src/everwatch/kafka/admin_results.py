"""Results of administrative requests, with the error of a broker that refuses one."""

from concurrent.futures import Future
from typing import TypeVar

from confluent_kafka import KafkaException

from everwatch.core.errors import BrokerUnavailable
from everwatch.kafka.access_errors import refused
from everwatch.kafka.acl import Right

Answered = TypeVar("Answered")


def result_of(future: "Future[Answered]", timeout_s: float, right: Right, refusal: str) -> Answered:
    """Return what Kafka answers to a request that it may take ``timeout_s`` for.

    Raises AccessError if ``right`` is missing, BrokerUnavailable with ``refusal`` ("Kafka does not …") otherwise.
    """
    try:
        return future.result(timeout_s + 1)
    except KafkaException as error:
        denied = refused(error.args[0], right)
        raise denied or BrokerUnavailable(f"{refusal}: {error.args[0].str()}.") from None

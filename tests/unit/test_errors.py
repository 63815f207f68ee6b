"""The judge of what may be retried."""

import pytest
from confluent_kafka import KafkaError, KafkaException
from rocksdict import DbClosedError

from everwatch.core.errors import BrokerUnavailable, InvalidInput, StoreError, is_retryable
from everwatch.store.interface import StoreBusy, Unstorable
from everwatch.timetable import LocalStateWrong
from streams.state.unit_of_work import PartitionLost


def kafka(code: int) -> KafkaException:
    return KafkaException(KafkaError(code))


@pytest.mark.parametrize(
    "error",
    [
        BrokerUnavailable("nobody answers"),
        PartitionLost("it is another worker's"),
        LocalStateWrong("it is to be built anew"),
        StoreError("the disk is full"),
        StoreBusy("it is locked"),
        TimeoutError(),
        ConnectionResetError(),
        MemoryError(),
        Exception("IO error: No space left on device: While appending to file"),
        DbClosedError("DB instance already closed"),
        kafka(KafkaError._ALL_BROKERS_DOWN),
        kafka(KafkaError.NOT_ENOUGH_REPLICAS),
        kafka(KafkaError._FATAL),
    ],
    ids=repr,
)
def test_what_lies_with_no_record_is_retried(error: Exception) -> None:
    assert is_retryable(error)


@pytest.mark.parametrize(
    "error",
    [
        InvalidInput("it is wrong"),
        Unstorable("the database refuses it"),
        OverflowError("int too big to convert"),
        ValueError(),
        KeyError("user_id"),
        RecursionError(),
        AssertionError(),
        Exception("a kind of another package"),
        kafka(KafkaError.MSG_SIZE_TOO_LARGE),
        kafka(KafkaError.INVALID_TIMESTAMP),
        kafka(KafkaError.RECORD_LIST_TOO_LARGE),
        kafka(KafkaError.INVALID_RECORD),
        kafka(KafkaError._INVALID_ARG),
    ],
    ids=repr,
)
def test_what_a_record_may_be_the_cause_of_is_poison(error: Exception) -> None:
    assert not is_retryable(error)

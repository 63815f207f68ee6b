"""Reading partitions to their end, on a consumer that gives what the test says: all of it, or an error."""

from collections.abc import Iterable
from typing import Any

import pytest
from confluent_kafka import KafkaError, TopicPartition

from everwatch.core.errors import AccessError, BrokerUnavailable, RecordsUnreadable
from everwatch.kafka.to_end import read_to_end


class Message:
    def __init__(self, partition: int, offset: int, error: int | None = None) -> None:
        self._at = partition, offset
        self._error = None if error is None else KafkaError(error)

    def error(self) -> KafkaError | None:
        return self._error

    def partition(self) -> int:
        return self._at[0]

    def offset(self) -> int:
        return self._at[1]


class Consumer:
    """Gives ``batches`` one after the other, then nothing."""

    def __init__(self, *batches: list[Message]) -> None:
        self._batches = list(batches)
        self.assigned: list[tuple[int, int]] = []
        self.paused: set[int] = set()

    def assign(self, partitions: Iterable[TopicPartition]) -> None:
        self.assigned = [(part.partition, part.offset) for part in partitions]

    def pause(self, partitions: Iterable[TopicPartition]) -> None:
        self.paused |= {part.partition for part in partitions}

    def consume(self, most: int, wait_s: float) -> list[Message]:
        return self._batches.pop(0) if self._batches else []


def read(consumer: Any, wanted: dict[int, range], found: list[tuple[int, int]] | None = None) -> list[tuple[int, int]]:
    """The places of what was read; in ``found``, too, where it ends with an error."""
    found = [] if found is None else found
    for messages in read_to_end(consumer, "t", wanted, silence_s=1.0):
        found += [(message.partition() or 0, message.offset() or 0) for message in messages]
    return found


def test_each_partition_is_read_to_its_end_and_an_empty_one_not_at_all() -> None:
    # the last offset of partition 1 is a transaction's mark
    consumer = Consumer([Message(0, 3), Message(1, 0)], [], [Message(0, 4), Message(1, 2, KafkaError._PARTITION_EOF)])
    assert read(consumer, {0: range(3, 5), 1: range(0, 2), 2: range(7, 7)}) == [(0, 3), (1, 0), (0, 4)]
    assert consumer.assigned == [(0, 3), (1, 0)]


def test_less_than_all_is_an_error_that_says_what_the_broker_said() -> None:
    consumer = Consumer([Message(0, 3)], [Message(1, 0, KafkaError.LEADER_NOT_AVAILABLE)])
    with pytest.raises(BrokerUnavailable, match=r"t, partitions \[0, 1\]: nothing comes for 1 s \(.*[Ll]eader"):
        read(consumer, {0: range(3, 5), 1: range(0, 2)})


def test_a_user_without_a_right_to_a_consumer_group_reads_all_the_same() -> None:
    refusal = Message(-1, -1, KafkaError.GROUP_AUTHORIZATION_FAILED)
    assert read(Consumer([refusal], [Message(0, 3)], [refusal, Message(0, 4)]), {0: range(3, 5)}) == [(0, 3), (0, 4)]


def test_a_broker_that_only_complains_is_not_waited_for_for_ever() -> None:
    consumer = Consumer(*([Message(0, 3, KafkaError._TRANSPORT)] for _ in range(1_000)))
    with pytest.raises(BrokerUnavailable):
        read(consumer, {0: range(3, 5)})


def test_a_missing_right_is_told_and_not_taken_for_an_empty_topic() -> None:
    consumer = Consumer([Message(0, 3, KafkaError.TOPIC_AUTHORIZATION_FAILED)])
    with pytest.raises(AccessError, match=r"Read .*t"):
        read(consumer, {0: range(3, 5)})


def test_what_cannot_be_read_is_told_when_the_other_partitions_are_read() -> None:
    consumer = Consumer([Message(0, 3, KafkaError._BAD_MSG)], [Message(1, 0)], [Message(1, 1)])
    found: list[tuple[int, int]] = []
    with pytest.raises(RecordsUnreadable, match="t, partition 0 cannot be read from offset 3 on") as raised:
        read(consumer, {0: range(2, 5), 1: range(0, 2)}, found)
    assert found == [(1, 0), (1, 1)]
    assert list(raised.value.offsets) == [0]
    assert consumer.paused == {0}

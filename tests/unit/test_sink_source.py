"""Tests of where a sink starts to read, also while its database is away."""

from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import OFFSET_BEGINNING, KafkaError, Message, TopicPartition

from everwatch.core.clock import SettableClock
from everwatch.core.config import Settings
from everwatch.core.errors import BrokerUnavailable
from everwatch.kafka.stored_source import Source
from everwatch.store import MemoryStore, Partition, SinkBatch, StoreBusy

ONE, TWO = Partition("results", 1), Partition("results", 2)


class Consumer:
    """A consumer that is given two partitions when it is first polled. ``fetched``: from where it reads which."""

    def __init__(self) -> None:
        self.fetched: dict[tuple[str, int], int] | None = None
        self.errors: list[KafkaError] = []
        # assigned next
        self.then: list[TopicPartition] | None = None
        self._given = False
        self.error_cb: Callable[[KafkaError], None] = lambda _: None

    def subscribe(
        self,
        _: list[str],
        on_assign: Callable[["Consumer", list[TopicPartition]], None],
        on_revoke: Callable[["Consumer", list[TopicPartition]], None],
    ) -> None:
        self._on_assign = on_assign

    def consume(self, _most: int, _timeout: float) -> list[Message]:
        if not self._given:
            self._given = True
            self._on_assign(self, [TopicPartition(*each) for each in (ONE, TWO)])
        while self.errors:
            self.error_cb(self.errors.pop())
        if self.then is not None:
            self._on_assign(self, self.then)
        return []

    def assign(self, partitions: list[TopicPartition]) -> None:
        self.fetched = {(each.topic, each.partition): each.offset for each in partitions}

    def assignment(self) -> list[TopicPartition]:
        return [TopicPartition(*place) for place in self.fetched or ()]


class Store(MemoryStore):
    """A store that is away for the first ``busy`` questions."""

    def __init__(self, busy: int) -> None:
        super().__init__()
        self.busy = busy

    def offsets(self) -> dict[Partition, int]:
        if self.busy:
            self.busy -= 1
            raise StoreBusy("the server is away")
        return super().offsets()


class OneClient:
    """Gives one consumer to whoever asks."""

    def __init__(self, consumer: Consumer) -> None:
        self._consumer = consumer

    def consumer(self, group_id: str, **overrides: Any) -> Any:
        self._consumer.error_cb = overrides["error_cb"]
        return self._consumer


@pytest.fixture
def consumer() -> Consumer:
    return Consumer()


def test_partitions_given_while_the_database_is_away_are_read_from_where_it_stands_when_it_is_back(
    consumer: Consumer,
) -> None:
    store = Store(busy=2)
    store.apply(SinkBatch(1, {ONE: 7}))
    source = Source(Settings(), OneClient(consumer), store, SettableClock(0), ["results"])
    for _ in range(2):
        with pytest.raises(StoreBusy):
            source.take(10, 0)
        assert consumer.fetched == {}, "nothing is read from where Kafka's group stands"
    assert source.take(10, 0) == ([], [], [])
    assert consumer.fetched == {ONE: 7, TWO: OFFSET_BEGINNING}


def test_a_partition_whose_offset_is_forgotten_is_read_from_its_beginning_also_if_the_database_goes_away_then(
    consumer: Consumer,
) -> None:
    store = Store(busy=0)
    store.apply(SinkBatch(1, {ONE: 7, TWO: 9}))
    source = Source(Settings(), OneClient(consumer), store, SettableClock(0), ["results"])
    source.take(10, 0)
    store.forget_offsets([ONE])
    source.restart([ONE])
    store.busy = 1
    with pytest.raises(StoreBusy):
        source.take(10, 0)
    source.take(10, 0)
    assert consumer.fetched == {ONE: OFFSET_BEGINNING, TWO: 9}


@pytest.mark.parametrize("code", [KafkaError._UNKNOWN_PARTITION, KafkaError.UNKNOWN_TOPIC_OR_PART])
def test_a_topic_that_is_deleted_while_it_is_read_is_the_end_and_one_that_is_not_there_yet_is_waited_for(
    consumer: Consumer, code: int
) -> None:
    source = Source(Settings(), OneClient(consumer), Store(busy=0), SettableClock(0), ["results", "transitions"])
    source.take(10, 0)
    consumer.errors = [KafkaError(code, "transitions [0]: topic does not exist")]
    assert source.take(10, 0) == ([], [], [])
    consumer.errors = [KafkaError(code, "results [1]: desired partition is no longer available")]
    with pytest.raises(BrokerUnavailable, match=r"deleted, or made anew, while it was read: results \[1\]"):
        source.take(10, 0)


def test_a_deleted_topic_that_a_rebalance_takes_away_at_once_is_the_end_too(consumer: Consumer) -> None:
    source = Source(Settings(), OneClient(consumer), Store(busy=0), SettableClock(0), ["results"])
    source.take(10, 0)
    consumer.errors = [KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART, "results [1]: topic does not exist")]
    consumer.then = []
    with pytest.raises(BrokerUnavailable, match="deleted, or made anew, while it was read"):
        source.take(10, 0)

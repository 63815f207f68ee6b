"""Tests of what Everwatch relies on of Kafka's clients, of a real broker and of the one in memory.

The tests know neither: they are given ``Clients``.
"""

import itertools
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest
from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import NewTopic  # type: ignore[attr-defined]
from support.waiting import wait_until

from everwatch.core.clock import SystemClock
from everwatch.core.config import load_settings
from everwatch.core.errors import BrokerUnavailable
from everwatch.kafka.clients import LARGEST_RECORD_BYTES, Clients, KafkaClients
from everwatch.kafka.memory import MemoryClients, MemoryKafka
from everwatch.kafka.partition_bounds import ends
from everwatch.kafka.topic_administration import expect_topic

NewTopicName = Callable[[], str]
_NUMBERS = itertools.count()


@pytest.fixture(params=["memory", pytest.param("broker", marks=pytest.mark.integration)])
def clients(request: pytest.FixtureRequest) -> Clients:
    if request.param == "memory":
        return MemoryClients(MemoryKafka())
    broker = request.getfixturevalue("broker")
    return KafkaClients(load_settings(session_timeout_ms=6_000), broker.bootstrap_servers)


@pytest.fixture
def topic(clients: Clients) -> str:
    """A new topic of two partitions, which the broker knows of: it answers before that on a busy machine."""
    name = f"contract-{uuid.uuid4().hex[:8]}-{next(_NUMBERS)}"
    admin = clients.admin()  # its answers end with it
    [made] = admin.create_topics([NewTopic(name, 2, 1)]).values()
    made.result(60)

    def is_known() -> bool:
        partitions = admin.list_topics(name, timeout=60).topics[name].partitions.values()
        return len(partitions) == 2 and all(each.error is None for each in partitions)

    wait_until("the broker knows the topic", is_known)
    return name


@pytest.fixture
def reader(clients: Clients) -> Iterator[Any]:
    """A consumer that reports the ends of partitions."""
    with closing(clients.consumer(f"g-{uuid.uuid4().hex[:8]}", **{"enable.partition.eof": True})) as consumer:
        yield consumer


def send(clients: Clients, topic: str, *values: bytes, partition: int = 0, **more: Any) -> None:
    producer = clients.producer()
    for value in values:
        producer.produce(topic, value, partition=partition, **more)
    assert producer.flush(60) == 0


def read_to_end(consumer: Any, topic: str, partition: int = 0, offset: int = OFFSET_BEGINNING) -> list[Any]:
    """The records of a partition up to its end."""
    consumer.assign([TopicPartition(topic, partition, offset)])
    found: list[Any] = []

    def ended() -> bool:
        for message in consumer.consume(100, 0.5):
            if message.error() is None:
                found.append(message)
            elif message.error().code() == KafkaError._PARTITION_EOF:
                return True
        return False

    wait_until("the end is reported", ended, every_s=0)
    return found


def values(messages: list[Any]) -> list[bytes]:
    return [message.value() for message in messages]


def test_records_come_in_order_with_key_headers_and_timestamp(clients: Clients, topic: str, reader: Any) -> None:
    producer = clients.producer()
    delivered: list[int] = []
    for number in range(3):
        producer.produce(
            topic,
            b"%d" % number,
            b"key",
            1,
            on_delivery=lambda error, message: delivered.append(message.offset()),
            timestamp=1_700_000_000_000 + number,
            headers=[("a", b"1")],
        )
    assert producer.flush(60) == 0
    assert delivered == [0, 1, 2]
    found = read_to_end(reader, topic, 1)
    assert [(m.partition(), m.offset(), m.key(), m.value(), m.timestamp()[1], m.headers()) for m in found] == [
        (1, number, b"key", b"%d" % number, 1_700_000_000_000 + number, [("a", b"1")]) for number in range(3)
    ]


def test_a_key_has_the_same_partition_everywhere(clients: Clients, topic: str, reader: Any) -> None:
    producer = clients.producer()
    for key in (b"ann", b"bob", b"eve", b"u-1", b"u-2"):
        producer.produce(topic, None, key)
    assert producer.flush(60) == 0
    # as Java's default partitioner has it
    assert {m.key() for m in read_to_end(reader, topic, 1)} == ON_1
    assert all(m.value() is None for m in read_to_end(reader, topic, 0))


def test_a_group_goes_on_where_it_committed(clients: Clients, topic: str) -> None:
    send(clients, topic, b"0", b"1", b"2")
    group = f"g-{uuid.uuid4().hex[:8]}"
    with closing(clients.consumer(group, **{"enable.partition.eof": True})) as consumer:
        [unknown] = consumer.committed([TopicPartition(topic, 0)], 30)
        assert unknown.offset < 0
        consumer.commit(offsets=[TopicPartition(topic, 0, 2)], asynchronous=False)
    with closing(clients.consumer(group, **{"enable.partition.eof": True})) as consumer:
        [known] = consumer.committed([TopicPartition(topic, 0)], 30)
        assert known.offset == 2
        assert values(read_to_end(consumer, topic, offset=known.offset)) == [b"2"]


def test_seek_position_and_bounds(clients: Clients, topic: str, reader: Any) -> None:
    send(clients, topic, b"0", b"1", b"2")
    assert values(read_to_end(reader, topic)) == [b"0", b"1", b"2"]
    assert reader.get_watermark_offsets(TopicPartition(topic, 0), timeout=30) == (0, 3)
    [position] = reader.position([TopicPartition(topic, 0)])
    assert position.offset == 3
    reader.seek(TopicPartition(topic, 0, 1))
    again: list[Any] = []
    wait_until("two come again", lambda: again.extend(reader.consume(10, 0.5)) or len(again) >= 2, every_s=0)
    assert values(again[:2]) == [b"1", b"2"]


def test_ends_and_times(clients: Clients, topic: str, reader: Any) -> None:
    send(clients, topic, b"0", timestamp=1_700_000_000_000)
    send(clients, topic, b"1", timestamp=1_700_000_060_000)
    assert ends(reader, topic, [0, 1], 30) == {0: 2, 1: 0}
    [later] = reader.offsets_for_times([TopicPartition(topic, 0, 1_700_000_000_001)], 30)
    assert later.offset == 1
    [none] = reader.offsets_for_times([TopicPartition(topic, 0, 1_700_000_060_001)], 30)
    assert none.offset == OFFSET_END


def test_what_is_paused_gives_nothing_until_it_is_resumed(clients: Clients, topic: str, reader: Any) -> None:
    reader.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in (0, 1)])
    reader.pause([TopicPartition(topic, 0)])
    send(clients, topic, b"paused", partition=0)
    send(clients, topic, b"goes on", partition=1)
    found: list[bytes] = []

    def look() -> list[bytes]:
        found.extend(m.value() for m in reader.consume(10, 0.2) if m.error() is None)
        return found

    wait_until("the other partition's record comes", look, every_s=0)
    assert found == [b"goes on"]
    reader.resume([TopicPartition(topic, 0)])
    wait_until("the paused one's comes", lambda: b"paused" in look(), every_s=0)


def test_a_record_that_is_too_large_is_refused_at_once(clients: Clients, topic: str) -> None:
    with pytest.raises(KafkaException) as refusal:
        clients.producer().produce(topic, b"x" * (LARGEST_RECORD_BYTES + 1), partition=0)
    assert refusal.value.args[0].code() == KafkaError.MSG_SIZE_TOO_LARGE


def test_a_transaction_is_seen_as_a_whole_or_not_at_all(clients: Clients, topic: str, reader: Any) -> None:
    producer = clients.transactional_producer(f"{topic}-id")
    producer.init_transactions(30)
    producer.begin_transaction()
    producer.produce(topic, b"aborted", partition=0)
    producer.abort_transaction(30)
    producer.begin_transaction()
    producer.produce(topic, b"one", partition=0)
    producer.produce(topic, b"two", partition=0)
    producer.commit_transaction(30)
    found = read_to_end(reader, topic)
    assert values(found) == [b"one", b"two"]
    # the end of a transaction takes an offset
    assert reader.get_watermark_offsets(TopicPartition(topic, 0), timeout=30)[1] == found[-1].offset() + 2


def test_a_later_producer_of_the_same_id_fences_the_earlier_one(clients: Clients, topic: str, reader: Any) -> None:
    first, second = (clients.transactional_producer(f"{topic}-id") for _ in range(2))
    first.init_transactions(30)
    first.begin_transaction()
    first.produce(topic, b"late", partition=0)
    second.init_transactions(30)
    with pytest.raises(KafkaException) as refusal:
        first.commit_transaction(30)
    assert refusal.value.args[0].fatal()
    second.begin_transaction()
    second.produce(topic, b"new", partition=0)
    second.commit_transaction(30)
    assert values(read_to_end(reader, topic)) == [b"new"]


def test_two_members_share_the_partitions_and_the_last_one_has_them_all(clients: Clients, topic: str) -> None:
    group = f"g-{uuid.uuid4().hex[:8]}"
    first, second = clients.consumer(group), clients.consumer(group)
    try:
        first.subscribe([topic])
        wait_until("the first has both", lambda: first.consume(1, 0.1) is not None and len(first.assignment()) == 2)
        second.subscribe([topic])

        def shared() -> bool:
            for consumer in (first, second):
                consumer.consume(1, 0.1)
            return len(first.assignment()) == len(second.assignment()) == 1

        wait_until("each has one", shared)
        first.close()
        wait_until("the second has both", lambda: second.consume(1, 0.1) is not None and len(second.assignment()) == 2)
    finally:
        second.close()


def test_topics_are_listed_and_have_an_id_that_is_theirs(clients: Clients, topic: str) -> None:
    from everwatch.kafka.topic_administration import largest_batch, topic_id

    admin = clients.admin()
    assert len(admin.list_topics(topic, timeout=30).topics[topic].partitions) == 2
    first = topic_id(admin, topic)
    assert first
    assert topic_id(admin, topic) == first
    assert largest_batch(admin, [topic])
    with pytest.raises(KafkaException) as refusal:
        admin.create_topics([NewTopic(topic, 2, 1)])[topic].result(30)
    assert refusal.value.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS


def test_offsets_are_told_by_place_and_by_time(clients: Clients, topic: str) -> None:
    from everwatch.kafka.consumer_groups import bounds_of, first_since

    admin, began = clients.admin(), SystemClock().now_ms() - 10_000
    for at in (began, began + 1_000, began + 2_000):
        send(clients, topic, b"x", partition=1, timestamp=at)
    places = [(topic, 0), (topic, 1)]
    assert bounds_of(admin, places, timeout_s=30) == {(topic, 0): range(0), (topic, 1): range(3)}
    assert first_since(admin, places, began + 1, timeout_s=30) == {(topic, 1): 1}
    assert first_since(admin, places, began + 2_001, timeout_s=30) == {}


def test_a_topic_that_is_absent_is_said_to_be_and_not_made(clients: Clients) -> None:
    admin, name = clients.admin(), f"contract-{uuid.uuid4().hex[:8]}"
    for _ in range(2):
        with pytest.raises(BrokerUnavailable, match=f"{name} does not exist"):
            expect_topic(admin, load_settings(), name)
    assert name not in admin.list_topics(timeout=30).topics


async def test_a_batch_is_acknowledged_and_read_as_its_records(clients: Clients, topic: str, reader: Any) -> None:
    from aiokafka.producer.message_accumulator import BatchBuilder

    producer = clients.batch_producer()
    await producer.start()
    try:
        batch = BatchBuilder(16_384, 0, is_transactional=False)
        for number in range(3):
            batch.append(timestamp=1_700_000_000_000, key=b"k", value=b"%d" % number)
        acknowledged = await (await producer.send_batch(batch, topic, partition=1))
        assert (acknowledged.topic, acknowledged.partition, acknowledged.offset) == (topic, 1, 0)
    finally:
        await producer.stop()
    assert values(read_to_end(reader, topic, 1)) == [b"0", b"1", b"2"]


# murmur2 as in Kafka's Java client, over two partitions
ON_1 = {b"u-1"}

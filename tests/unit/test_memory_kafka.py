"""Switches of Kafka in memory; what it has in common with a broker is in tests/contract/test_kafka.py."""

import asyncio
from functools import partial

import pytest
from aiokafka.producer.message_accumulator import BatchBuilder
from confluent_kafka import OFFSET_BEGINNING, KafkaError, KafkaException, TopicPartition

from everwatch.core.clock import SettableClock
from everwatch.kafka.memory import MemoryClients, MemoryKafka
from everwatch.kafka.unreadable_batches import Sieve

NOW = 1_800_000_000_000


@pytest.fixture
def kafka() -> MemoryKafka:
    return MemoryKafka(clock=SettableClock(NOW))


@pytest.fixture
def clients(kafka: MemoryKafka) -> MemoryClients:
    return MemoryClients(kafka)


def send(clients: MemoryClients, *values: bytes) -> None:
    producer = clients.producer()
    for value in values:
        producer.produce("t", value, partition=0)
    producer.flush(1)


def test_a_held_topic_has_nothing_until_it_is_released(kafka: MemoryKafka, clients: MemoryClients) -> None:
    kafka.held.add("t")
    delivered: list[int] = []
    producer = clients.producer()
    producer.produce("t", b"1", partition=0, on_delivery=lambda _, message: delivered.append(message.offset()))
    producer.poll(0)
    assert (kafka.queued("t"), kafka.records("t"), delivered) == (1, [], [])
    kafka.held.clear()
    producer.poll(0)
    assert (kafka.queued("t"), delivered) == (0, [0])


async def test_a_batch_of_a_held_topic_is_there_and_not_acknowledged(
    kafka: MemoryKafka, clients: MemoryClients
) -> None:
    kafka.held.add("t")
    batch = BatchBuilder(16_384, 0, is_transactional=False)
    batch.append(timestamp=NOW, key=b"k", value=b"v")
    acknowledged = await clients.batch_producer().send_batch(batch, "t", partition=0)
    await asyncio.sleep(0)
    assert len(kafka.records("t")) == 1
    assert not acknowledged.done()
    kafka.held.clear()
    assert (await acknowledged).offset == 0


def test_a_lost_record_is_told_as_librdkafka_does(kafka: MemoryKafka, clients: MemoryClients) -> None:
    kafka.loses = lambda sent: sent.value == b"2"
    errors: list[KafkaError | None] = []
    producer = clients.producer()
    for value in (b"1", b"2", b"3"):
        producer.produce("t", value, partition=0, on_delivery=lambda error, _: errors.append(error))
    producer.flush(1)
    assert [entry.value for entry in kafka.records("t")] == [b"1", b"3"]
    assert [error and error.code() for error in errors] == [None, KafkaError._MSG_TIMED_OUT, None]


def test_a_damaged_batch_is_found_and_measured_and_what_follows_is_read(
    kafka: MemoryKafka, clients: MemoryClients
) -> None:
    send(clients, *(b"%d" % number for number in range(9)))
    kafka.damaged["t", 0] = range(2, 6)
    consumer = clients.consumer("g")
    consumer.assign([TopicPartition("t", 0, OFFSET_BEGINNING)])
    sieve = Sieve(consumer, partial(clients.consumer, "probe"), SettableClock(NOW))
    sifted = [sieve.take(100, 0.1, 0.1) for _ in range(4)]
    assert [message.offset() for each in sifted for message in each.records] == [0, 1, 6, 7, 8]
    assert [(each.first, each.end) for some in sifted for each in some.unreadable] == [(2, 6)]


def test_a_broker_that_is_away_gives_nothing_and_takes_nothing(kafka: MemoryKafka, clients: MemoryClients) -> None:
    send(clients, b"1")
    kafka.is_away = True
    consumer = clients.consumer("g")
    consumer.assign([TopicPartition("t", 0, OFFSET_BEGINNING)])
    assert consumer.consume(10, 0.01) == []
    with pytest.raises(KafkaException) as refusal:
        consumer.committed([TopicPartition("t", 0)], 1)
    assert refusal.value.args[0].code() == KafkaError._TRANSPORT
    with pytest.raises(KafkaException) as refusal:
        clients.transactional_producer("id").init_transactions(1)
    assert refusal.value.args[0].retriable()
    kafka.is_away = False
    assert [message.value() for message in consumer.consume(10, 0.01)] == [b"1"]

"""Records whose schema nobody can tell while the registry is away wait; all others pass, in their order."""

import pytest
from confluent_kafka import TopicPartition

from everwatch.core.clock import SettableClock
from everwatch.core.errors import InvalidInput, RegistryUnavailable
from everwatch.encoding import avro_schemas
from everwatch.encoding.registered_schemas import REFUSED_S, RegisteredSchema, RegisteredSchemas
from everwatch.kafka.consumed_record import Record
from everwatch.kafka.memory import MemoryClients, MemoryKafka
from everwatch.kafka.schema_gate import ASK_EVERY_S, SchemaGate

SIGNAL = (avro_schemas.schema_folder() / "signal.avsc").read_text()
KNOWN, NEW = 7, 8


class Registry:
    """Knows two schemas, and may be away."""

    def __init__(self) -> None:
        self.away = False
        self.asked = 0

    def fetch(self, number: int) -> RegisteredSchema | None:
        self.asked += 1
        if self.away:
            raise RegistryUnavailable("The registry is away.")
        return RegisteredSchema("AVRO", SIGNAL) if number in (KNOWN, NEW) else None


def wire(number: int) -> bytes:
    return b"\0" + number.to_bytes(4, "big") + b"body"


def test_only_partitions_with_an_unknown_schema_wait_and_nothing_is_lost() -> None:
    kafka, clock, registry = MemoryKafka(2), SettableClock(), Registry()
    clients = MemoryClients(kafka)
    schemas = RegisteredSchemas(registry.fetch, clock)
    schemas.learn(wire(KNOWN))
    consumer = clients.consumer("group")
    gate = SchemaGate(consumer, lambda: schemas, clock)
    kafka.create("signals", 2)
    producer = clients.producer()

    def send(number: int, *values: bytes) -> None:
        for value in values:
            producer.produce("signals", value, b"key", number)
        producer.flush()

    def passed() -> dict[int, list[bytes | None]]:
        found: dict[int, list[bytes | None]] = {}
        for _ in range(5):
            for record in gate.admit([Record.of(message) for message in consumer.consume(100, 0)]):
                found.setdefault(record.partition, []).append(record.value)
        return found

    consumer.assign([TopicPartition("signals", number, 0) for number in range(2)])
    registry.away = True
    send(0, wire(KNOWN), b"{}", wire(NEW), b"{behind it}")
    send(1, b"{}", wire(KNOWN))
    assert passed() == {0: [wire(KNOWN), b"{}"], 1: [b"{}", wire(KNOWN)]}
    assert not gate.passes("signals", 0)
    send(0, b"{later}")
    send(1, b"{more}")
    assert passed() == {1: [b"{more}"]}
    # it is not asked again with each batch
    asked = registry.asked
    clock.advance(int(ASK_EVERY_S * 1000))
    assert passed() == {}
    assert registry.asked == asked + 1
    registry.away = False
    clock.advance(int(ASK_EVERY_S * 1000))
    assert passed() == {0: [wire(NEW), b"{behind it}", b"{later}"]}
    assert gate.passes("signals", 0)


def test_a_schema_that_does_not_exist_keeps_nobody_waiting() -> None:
    kafka, clock, registry = MemoryKafka(1), SettableClock(), Registry()
    schemas = RegisteredSchemas(registry.fetch, clock)
    gate = SchemaGate(MemoryClients(kafka).consumer("group"), lambda: schemas, clock)
    records = [Record("signals", 0, 1, 0, b"k", wire(99)), Record("signals", 0, 2, 0, b"k", b"{}")]
    # its reader refuses it
    assert gate.admit(records) == records


def test_a_record_that_has_passed_is_decoded_without_the_registry() -> None:
    kafka, clock, registry = MemoryKafka(1), SettableClock(), Registry()
    schemas = RegisteredSchemas(registry.fetch, clock, most_unknown=2)
    gate = SchemaGate(MemoryClients(kafka).consumer("group"), lambda: schemas, clock)
    records = [Record("signals", 0, offset, 0, b"k", wire(90 + offset)) for offset in range(3)]
    assert gate.admit(records) == records
    asked = registry.asked
    # the loop gets to it when the refusal has expired, or made room for others, and the registry hangs
    clock.advance(int(REFUSED_S * 1000))
    registry.away = True
    for record in records:
        with pytest.raises(InvalidInput, match=f"the schema registry ha[sd] no .*schema {90 + record.offset}"):
            schemas.plain(record.value or b"")
    assert registry.asked == asked
    # the next one with such an id is asked for again, by the gate
    registry.away = False
    assert gate.admit(records[:1]) == records[:1]
    assert registry.asked == asked + 1

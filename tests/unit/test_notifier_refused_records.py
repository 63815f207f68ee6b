"""What the notifier refuses is in the dead letters, with its reason, and everything else goes on."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
from prometheus_client import REGISTRY
from support.notifying import START, transition
from support.processes import running
from support.waiting import PATIENCE, now_ms

from everwatch.core.clock import SystemClock
from everwatch.core.config import Settings, load_settings
from everwatch.core.errors import RefusalCode
from everwatch.core.output_format import OutputFormat
from everwatch.encoding import codec
from everwatch.kafka.dead_letter_content import decoded, without_secrets
from everwatch.kafka.memory import MemoryClients, MemoryKafka
from everwatch.kafka.topics import Topics
from everwatch.notifier.incident_requests import SubscriptionRequest, encode_request
from everwatch.notifier.notifier_process import Notifier
from everwatch.notifier.rules_file import RulesFile
from everwatch.notifier.storage import Storage, Work, open_storage
from everwatch.notifier.tables import alert_events
from everwatch.store.bulk_statements import Row

TOPICS = Topics.of(Settings())
MONITOR_ID = list(alert_events.c.keys()).index("monitor_id")


class Kafka:
    """Kafka in memory, with the notifier's topics."""

    def __init__(self) -> None:
        self.broker = MemoryKafka(1)
        for topic in TOPICS.all:
            self.broker.create(topic)
        self._producer = MemoryClients(self.broker).producer()

    def send(self, topic: str, value: bytes, key: bytes = b"ann") -> None:
        self._producer.produce(topic, key=key, value=value, partition=0)
        self._producer.flush()

    def letters(self) -> list[dict[str, bytes]]:
        return [dict(each.headers) for each in self.broker.logs(TOPICS.dead_letters)[0].records()]


@asynccontextmanager
async def notifying(
    kafka: Kafka, folder: Path, opened: Callable[[Settings], Storage] = open_storage
) -> AsyncIterator[Notifier]:
    settings = load_settings(partitions=1, data_dir=folder)
    clients = MemoryClients(kafka.broker)
    async with running(Notifier(settings, "localhost:1", SystemClock(), RulesFile(None), clients, opened)) as notifier:
        yield notifier


async def until(look: Callable[[], Any]) -> None:
    async with asyncio.timeout(60 * PATIENCE):
        while not look():
            await asyncio.sleep(0.02)


def counted(topic: str, code: str) -> float:
    labels = {"topic": topic, "code": code}
    return REGISTRY.get_sample_value("everwatch_dead_letters_total", labels) or 0.0


def poison() -> float:
    labels = {"topic": TOPICS.transitions}
    return REGISTRY.get_sample_value("everwatch_poison_records_total", labels) or 0.0


async def test_a_request_that_cannot_be_decoded_is_a_dead_letter_with_its_reason(tmp_path: Path) -> None:
    kafka = Kafka()
    before = counted(TOPICS.incidents, RefusalCode.INVALID)
    async with notifying(kafka, tmp_path):
        kafka.send(TOPICS.incidents, b'{"type": "nonsense"}')
        kafka.send(TOPICS.incidents, b"\xff")
        # the sink reads these, too, and refuses them
        kafka.send(TOPICS.transitions, b"\xff")
        await until(lambda: len(kafka.letters()) == 2)
    first, second = kafka.letters()
    assert first["source_topic"] == TOPICS.incidents.encode()
    assert first["source_offset"] == b"0"
    assert first["refused_by"] == b"notifier"
    assert b"not a request about an incident" in first["reason"]
    assert second["source_offset"] == b"1"
    assert counted(TOPICS.incidents, RefusalCode.INVALID) == before + 2


async def test_a_record_that_the_database_does_not_take_is_a_dead_letter_and_others_are_taken_in(
    tmp_path: Path,
) -> None:
    taken: list[str] = []

    class RefusingWork(Work):
        def put_events(self, rows: list[Row]) -> None:
            ids = [row[MONITOR_ID] for row in rows]
            if "poison" in ids:
                raise ValueError("the database does not take it")
            super().put_events(rows)
            taken.extend(ids)

    class RefusingStorage(Storage):
        new_work = RefusingWork

    kafka = Kafka()
    poisoned = poison()
    for name in ("one", "poison", "two"):
        change = msgspec.structs.replace(transition("up", "down", monitor_id=name), at=now_ms())
        kafka.send(TOPICS.transitions, codec.encode_transition(change, OutputFormat.AVRO))
    async with notifying(kafka, tmp_path, lambda settings: RefusingStorage(open_storage(settings).engine)):
        await until(lambda: {"one", "two"} <= set(taken) and kafka.letters())
    [letter] = kafka.letters()
    assert letter["code"] == RefusalCode.UNHANDLED.encode()
    assert letter["source_offset"] == b"1"
    assert b"the database does not take it" in letter["reason"]
    assert taken == ["one", "two"]
    assert poison() == poisoned + 1


def test_the_link_of_a_subscription_is_not_shown() -> None:
    request = SubscriptionRequest("page", "ann@example.com", "Page", "https://example.com/confirm?code=abc", START)
    shown = without_secrets("", decoded("", encode_request(request)))
    assert "abc" not in str(shown.value)
    assert "ann@example.com" in str(shown.value)

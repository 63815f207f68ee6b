"""The kind publish: what goes to Kafka, and what is told when it does not get there."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException
from support.processes import running

from everwatch.core.clock import SystemClock
from everwatch.core.config import Settings, load_settings
from everwatch.core.errors import InvalidInput, SettingsError
from everwatch.encoding.templates import tick_id
from everwatch.executor.executor_process import Executor
from everwatch.kafka.clients import KafkaClients, new_producer
from everwatch.kafka.event_publisher import KafkaPublisher, open_publisher
from everwatch.kinds import publish, registry
from everwatch.kinds.execution.run_context import open_run_context
from everwatch.kinds.publisher_interface import Event, EventPublisher, MemoryPublisher, NotPublished
from everwatch.model import Outcome, Status, Tick
from everwatch.network.guard import Guard

OnDelivery = Callable[[KafkaError | None, Any], None]
NOT_ALLOWED = "topic orders is not allowed; an operator can allow it with EVERWATCH_PUBLISH_TOPICS"
PATIENCE_S = 10


@pytest.fixture(autouse=True)
def no_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The setting is read once for a process; here it is read again, and is not the developer's own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("EVERWATCH_PUBLISH_TOPICS", raising=False)
    publish.forget_settings()
    yield
    publish.forget_settings()


def due(payload: str = "", attempt: int = 1) -> Tick:
    return Tick("u-1", "remind", 1_763_715_600_000, "publish", "{}", 10_000, 1, 0, attempt=attempt, payload=payload)


async def run(publisher: EventPublisher | None, tick: Tick, **config: object) -> Outcome:
    kind = registry.kind_named("publish")
    assert not kind.inline
    canonical = registry.canonical_config(kind, registry.parse_config(kind, config))
    async with open_run_context(SystemClock(), Guard(), publisher) as context:
        return await kind.run(registry.parse_config(kind, canonical), tick, context)


def test_no_representation_shows_a_secret_header() -> None:
    config = {"topic": "reminders", "secret_headers": {"token": "hunter2"}, "headers": {"a": "hunter2"}}
    shown = repr(registry.parse_config(registry.kind_named("publish"), config))
    assert "reminders" in shown
    assert "hunter2" not in shown


async def test_an_event_has_its_templates_filled_in_and_names_its_tick() -> None:
    publisher = MemoryPublisher(["reminders"])
    outcome = await run(
        publisher, due('{"coupon": "SAVE10", "shop": 7}'), topic="reminders", key="{{user_id}}/{{payload.shop}}",
        template={"code": "{{payload.coupon}}", "shop": "{{payload.shop}}"},
        headers={"b": "{{payload.shop}}", "a": "é"},
    )  # fmt: skip
    assert (outcome.status, outcome.reason) == (Status.SUCCESS, "")
    assert set(outcome.timings) == {"total"}
    (event,) = publisher.events
    assert (event.topic, event.key, json.loads(event.value)) == ("reminders", b"u-1/7", {"code": "SAVE10", "shop": 7})
    assert event.headers == (
        ("everwatch-tick-id", tick_id(due()).encode()), ("everwatch-user-id", b"u-1"),
        ("everwatch-monitor-id", b"remind"), ("a", "é".encode()), ("b", b"7"),
    )  # fmt: skip


async def test_each_attempt_carries_the_same_tick_id() -> None:
    publisher = MemoryPublisher(["reminders"])
    for attempt in (1, 2):
        await run(publisher, due(attempt=attempt), topic="reminders")
    first, second = (dict(event.headers)["everwatch-tick-id"] for event in publisher.events)
    assert first == second


async def test_left_to_its_defaults_an_event_is_keyed_by_user_and_tells_all() -> None:
    publisher = MemoryPublisher(["reminders"])
    await run(publisher, due('{"a": 1}'), topic="reminders")
    await run(publisher, due(), topic="reminders", key="")
    assert [event.key for event in publisher.events] == [b"u-1", None]
    assert json.loads(publisher.events[0].value)["data"] == {
        "user_id": "u-1",
        "monitor_id": "remind",
        "payload": {"a": 1},
    }


@pytest.mark.parametrize("publisher", [None, MemoryPublisher(["reminders"])])
async def test_a_topic_that_is_not_allowed_is_a_failure_that_says_who_can_allow_it(
    publisher: MemoryPublisher | None,
) -> None:
    outcome = await run(publisher, due(), topic="orders")
    assert (outcome.status, outcome.reason) == (Status.FAILURE, NOT_ALLOWED)
    assert publisher is None or publisher.events == []


async def test_a_value_that_is_missing_is_told_and_nothing_is_published() -> None:
    publisher = MemoryPublisher(["reminders"])
    for config in ({"key": "{{payload.x}}"}, {"headers": {"h": "{{payload.x}}"}}, {"template": ["{{payload.x}}"]}):
        outcome = await run(publisher, due("{}"), topic="reminders", **config)
        assert outcome.status is Status.FAILURE
        assert outcome.reason.startswith("{{payload.x}} has no value: payload has no 'x' (at $.config.")
    assert publisher.events == []


# --- publishers -----------------------------------------------------------------------------------------------------


class FakeProducer:
    """Holds what is produced until the test reports it, from another thread as librdkafka does."""

    def __init__(self) -> None:
        self.produced: list[dict[str, Any]] = []
        self.refusal: Exception | None = None
        self._on_delivery: list[OnDelivery] = []
        self._reports: list[Callable[[], None]] = []

    def produce(self, topic: str, *, on_delivery: OnDelivery, **record: Any) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.produced.append({"topic": topic} | record)
        self._on_delivery.append(on_delivery)

    def poll(self, timeout: float) -> int:
        reports, self._reports = self._reports, []
        for report in reports:
            report()
        return len(reports)

    def flush(self, timeout: float) -> int:
        return len(self._on_delivery)

    def report(self, index: int, error: KafkaError | None = None) -> None:
        on_delivery = self._on_delivery[index]
        self._reports.append(lambda: on_delivery(error, None))


@pytest.fixture
def producer() -> FakeProducer:
    return FakeProducer()


@pytest.fixture
async def over_fake(producer: FakeProducer) -> AsyncIterator[KafkaPublisher]:
    publisher = KafkaPublisher(producer, ["orders", "reminders"])  # type: ignore[arg-type]
    yield publisher
    await publisher.close()


@pytest.fixture(params=["memory", "kafka"])
async def publisher(request: pytest.FixtureRequest) -> AsyncIterator[EventPublisher]:
    """Each publisher that there is; the one for Kafka with librdkafka's own cluster in memory behind it."""
    if request.param == "memory":
        yield MemoryPublisher(["reminders"])
        return
    settings = Settings(publish_topics=("reminders",))
    mock = {"test.mock.num.brokers": 1, "enable.idempotence": False}
    kafka = KafkaPublisher(new_producer(settings, "", **mock), settings.publish_topics)
    yield kafka
    await kafka.close()


async def test_every_publisher_takes_what_is_allowed_and_nothing_else(publisher: EventPublisher) -> None:
    async with asyncio.timeout(PATIENCE_S):
        await publisher.publish(Event("reminders", b"k", b"{}", (("a", b"1"),)))
        await publisher.publish(Event("reminders", None, b"{}"))
        with pytest.raises(NotPublished, match=NOT_ALLOWED):
            await publisher.publish(Event("orders", None, b"{}"))


async def test_an_event_is_published_only_once_the_broker_has_it(
    over_fake: KafkaPublisher, producer: FakeProducer
) -> None:
    first = asyncio.create_task(over_fake.publish(Event("orders", b"k", b"1", (("a", b"1"),))))
    second = asyncio.create_task(over_fake.publish(Event("reminders", None, b"2")))
    async with asyncio.timeout(PATIENCE_S):
        while len(producer.produced) < 2:
            await asyncio.sleep(0)
        producer.report(1)
        await second
        assert not first.done()
        producer.report(0)
        await first
    assert producer.produced[0] == {"topic": "orders", "value": b"1", "key": b"k", "headers": [("a", b"1")]}


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (KafkaError._UNKNOWN_TOPIC, "topic orders does not exist"),
        (KafkaError.UNKNOWN_TOPIC_OR_PART, "topic orders does not exist"),
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, "Kafka does not let Everwatch write to topic orders"),
        (KafkaError.MSG_SIZE_TOO_LARGE, "the event is larger than topic orders takes"),
        (KafkaError._MSG_TIMED_OUT, "Kafka did not take the event for topic orders within 30 s"),
        (KafkaError.NOT_LEADER_FOR_PARTITION, "the event for topic orders could not be delivered: "),
    ],
)
async def test_a_failed_event_says_why_and_harms_no_other(
    over_fake: KafkaPublisher, producer: FakeProducer, code: int, reason: str
) -> None:
    failing = asyncio.create_task(over_fake.publish(Event("orders", None, b"1")))
    async with asyncio.timeout(PATIENCE_S):
        while not producer.produced:
            await asyncio.sleep(0)
        producer.report(0, KafkaError(code))
        with pytest.raises(NotPublished, match=reason):
            await failing
        following = asyncio.create_task(over_fake.publish(Event("reminders", None, b"2")))
        while len(producer.produced) < 2:
            await asyncio.sleep(0)
        producer.report(1)
        await following


@pytest.mark.parametrize(
    ("refusal", "reason"),
    [
        (BufferError("Local: Queue full"), "too much is waiting already"),
        (KafkaException(KafkaError(KafkaError.MSG_SIZE_TOO_LARGE)), "larger than topic orders takes"),
    ],
)
async def test_what_the_producer_refuses_outright_is_told_as_well(
    over_fake: KafkaPublisher, producer: FakeProducer, refusal: Exception, reason: str
) -> None:
    producer.refusal = refusal
    with pytest.raises(NotPublished, match=reason):
        await over_fake.publish(Event("orders", None, b"1"))


async def test_a_report_that_comes_after_its_check_was_given_up_does_no_harm(
    over_fake: KafkaPublisher, producer: FakeProducer
) -> None:
    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, complaint: complaints.append(complaint))
    given_up = asyncio.create_task(over_fake.publish(Event("orders", None, b"1")))
    following = asyncio.create_task(over_fake.publish(Event("orders", None, b"2")))
    async with asyncio.timeout(PATIENCE_S):
        while len(producer.produced) < 2:
            await asyncio.sleep(0)
        given_up.cancel()
        with pytest.raises(asyncio.CancelledError):
            await given_up
        producer.report(0)
        producer.report(1)
        await following
    assert complaints == []


# --- settings and configs -------------------------------------------------------------------------------------------


async def test_without_topics_there_is_a_publisher_that_refuses_and_no_connection() -> None:
    async with open_publisher(Settings(), KafkaClients(Settings(), "nowhere.invalid:1")) as publisher:
        assert isinstance(publisher, MemoryPublisher)
        with pytest.raises(NotPublished, match=NOT_ALLOWED):
            await publisher.publish(Event("orders", None, b"{}"))


@pytest.mark.parametrize(
    "topic", ["p.results", "p.ticks", "p.ticks.high", "p.app-monitors-changelog", "p.dead-letters"]
)
async def test_topics_that_only_everwatch_may_write_to_cannot_be_allowed(topic: str) -> None:
    settings = Settings(publish_topics=("orders", topic), topic_prefix="p.", app_id="app")
    with pytest.raises(SettingsError, match=f"EVERWATCH_PUBLISH_TOPICS: only Everwatch itself may write to {topic}"):
        async with open_publisher(settings, KafkaClients(settings, "nowhere.invalid:1")):
            pass


async def test_an_executor_that_is_to_allow_such_a_topic_does_not_start() -> None:
    settings = Settings(publish_topics=("results",))
    executor = Executor(settings, KafkaClients(settings, "127.0.0.1:1"), SystemClock())
    with pytest.raises(SettingsError, match="only Everwatch itself may write to results"):
        async with asyncio.timeout(PATIENCE_S), running(executor):
            pass


def test_the_setting_is_a_list_of_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVERWATCH_PUBLISH_TOPICS", " orders, reminders,")
    assert load_settings().publish_topics == ("orders", "reminders")
    monkeypatch.setenv("EVERWATCH_PUBLISH_TOPICS", "orders,re minders")
    with pytest.raises(SettingsError, match="setting EVERWATCH_PUBLISH_TOPICS"):
        load_settings()


@pytest.mark.parametrize(("setting", "refused"), [("", False), ("orders,x", False), ("reminders", True)])
def test_where_the_setting_is_known_a_monitor_is_refused_when_it_is_put(
    monkeypatch: pytest.MonkeyPatch, setting: str, refused: bool
) -> None:
    monkeypatch.setenv("EVERWATCH_PUBLISH_TOPICS", setting)
    kind = registry.kind_named("publish")
    if not refused:
        assert registry.parse_config(kind, {"topic": "orders"})
        return
    with pytest.raises(InvalidInput) as caught:
        registry.parse_config(kind, {"topic": "orders"})
    assert (caught.value.reason, caught.value.path) == (NOT_ALLOWED, "$.config.topic")


@pytest.mark.parametrize(
    ("config", "path", "reason"),
    [
        ({}, "$.config", "needs the field 'topic'"),
        ({"topic": ""}, "$.config.topic", ""),
        ({"topic": ".."}, "$.config.topic", ""),
        ({"topic": "a b"}, "$.config.topic", ""),
        ({"topic": "a\n"}, "$.config.topic", ""),
        ({"topic": "t" * 250}, "$.config.topic", "249"),
        ({"topic": "t", "key": "{{user_id"}, "$.config.key", "is not followed by"),
        ({"topic": "t", "template": {"a": "{{plan}}"}}, "$.config.template.a", "{{plan}} is not known"),
        ({"topic": "t", "headers": {"h": "{{plan}}"}}, "$.config.headers.h", "{{plan}} is not known"),
        ({"topic": "t", "headers": {"Everwatch-Tick-Id": "1"}}, "$.config.headers", "the kind's own"),
        ({"topic": "t", "headers": {"a\nb": "1"}}, "$.config.headers", "not a header's name"),
        ({"topic": "t", "headers": {str(i): "" for i in range(65)}}, "$.config.headers", "at most 64"),
        ({"topic": "t", "partition": 1}, "$.config.partition", "no field 'partition'; known fields: topic, template"),
    ],
)
def test_a_wrong_config_is_refused_with_reason_and_path(config: dict[str, object], path: str, reason: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        registry.parse_config(registry.kind_named("publish"), config)
    assert caught.value.path == path
    assert reason in caught.value.reason


def test_the_canonical_text_leaves_out_defaults_and_means_the_same() -> None:
    kind = registry.kind_named("publish")
    parsed = registry.parse_config(kind, {"topic": "t", "key": "{{user_id}}", "headers": {}})
    assert registry.canonical_config(kind, parsed) == '{"topic":"t"}'
    assert registry.parse_config(kind, '{"topic":"t"}') == parsed

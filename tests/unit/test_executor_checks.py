"""The checks in flight, with records made by hand and an outbox that only remembers."""

import asyncio
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from everwatch import codec
from everwatch.clock import SystemClock
from everwatch.config import Settings
from everwatch.executor.checks import Checks
from everwatch.executor.held import HeldPartition
from everwatch.kafka.topics import Topics
from everwatch.kinds import registry
from everwatch.kinds.guard import Guard
from everwatch.kinds.protocol import RunContext, open_run_context
from everwatch.model import Outcome, Result, Status, Tick

TOPICS = Topics.of(Settings())


class PlainConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    does: str = "succeeds"


class PlainKind:
    """Does as its config says; counts how many run at once."""

    name = "plain"
    config_type = PlainConfig
    default_schedule_ms = 60_000
    inline = False

    def __init__(self) -> None:
        self.running = self.most_running = 0
        self.may_end = asyncio.Event()
        self.order: list[str] = []

    async def run(self, config: PlainConfig, context: RunContext) -> Any:
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        self.order.append(config.does)
        try:
            match config.does:
                case "raises":
                    raise KeyError("oops")
                case "raises TimeoutError":
                    raise TimeoutError("its own")
                case "gives nothing":
                    return None
                case "gives nonsense":
                    return Outcome(Status.SUCCESS, "", {"a": "not a number"})  # type: ignore[dict-item]
                case "gives too much":
                    return Outcome(Status.FAILURE, "x" * 10_000, {"y" * 300_000: 1.0})
                case "hangs":
                    await asyncio.Event().wait()
                case "waits" | "waits too":
                    await self.may_end.wait()
            return Outcome(Status.SUCCESS, timings={"total": 1.5})
        finally:
            self.running -= 1


class FakeMessage:
    def __init__(self, offset: int, value: bytes, key: bytes = b"user", partition: int = 3) -> None:
        self._fields = offset, value, key, partition

    def offset(self) -> int:
        return self._fields[0]

    def value(self) -> bytes:
        return self._fields[1]

    def key(self) -> bytes:
        return self._fields[2]

    def partition(self) -> int:
        return self._fields[3]

    def topic(self) -> str:
        return TOPICS.ticks

    def timestamp(self) -> tuple[int, int]:
        return 1, 1_700_000_000_000


class FakeOutbox:
    """Remembers what is sent, and delivers at once."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        self._more = asyncio.Event()

    def send(self, topic: str, **record: Any) -> None:
        self.sent.append(record | {"topic": topic})
        record["on_delivered"](None)
        self._more.set()

    async def holds(self, count: int) -> None:
        async with asyncio.timeout(5):
            while len(self.sent) < count:
                self._more.clear()
                await self._more.wait()

    @property
    def results(self) -> list[Result]:
        return [codec.decode_result(record["value"]) for record in self.sent if record["topic"] == TOPICS.results]


@pytest.fixture
def kind(monkeypatch: pytest.MonkeyPatch) -> Iterator[PlainKind]:
    kind = PlainKind()
    monkeypatch.setitem(registry._BUILT_IN, "plain", kind)  # type: ignore[arg-type]
    yield kind
    registry._parse_text.cache_clear()


class Executor:
    def __init__(self, context: RunContext, max_in_flight: int) -> None:
        self.outbox = FakeOutbox()
        self.acknowledged: list[int] = []
        self.held = {topic: HeldPartition(topic, 3) for topic in TOPICS.all_ticks}
        self.checks = Checks(
            Settings(max_in_flight=max_in_flight),
            context,
            self.outbox,  # type: ignore[arg-type]
            lambda held, offset: self.acknowledged.append(offset),
            "executor-1",
        )
        self._offset = 0

    def take(
        self, *configs: str, topic: str = TOPICS.ticks, kind: str = "plain", timeout_ms: int = 5_000, raw: bytes = b""
    ) -> None:
        batch = []
        for config in configs:
            text = config if config.startswith("{") else f'{{"does":"{config}"}}'
            tick = Tick("user", "monitor", 0, kind, text, timeout_ms, 7, 3, attempt=2)
            batch.append((self.held[topic], FakeMessage(self._offset, raw or codec.encode_tick(tick))))
            self._offset += 1
        self.checks.accept(batch)  # type: ignore[arg-type]

    async def sent(self, count: int) -> list[Result]:
        await self.outbox.holds(count)
        return self.outbox.results


@pytest.fixture
async def executor():
    async with open_run_context(SystemClock(), Guard()) as context:
        executor = Executor(context, max_in_flight=2)
        yield executor
        await executor.checks.drain(0)


async def test_a_result_tells_all_about_its_tick(executor: Executor, kind: PlainKind) -> None:
    executor.take("succeeds")
    [result] = await executor.sent(1)
    assert (result.user_id, result.monitor_id, result.scheduled_at) == ("user", "monitor", 1_700_000_000_000)
    assert (result.kind, result.version, result.attempt, result.executor) == ("plain", 7, 2, "executor-1")
    assert (result.status, result.reason, result.timings) == (Status.SUCCESS, "", {"total": 1.5})
    [record] = executor.outbox.sent
    assert (record["key"], record["partition"]) == (b"user", 3)
    assert executor.acknowledged == [0]


@pytest.mark.parametrize(
    ("does", "reason"),
    [
        ("raises", "internal error: KeyError: 'oops'"),
        ("raises TimeoutError", "internal error: TimeoutError: its own"),
        ("gives nothing", "internal error: TypeError: the kind 'plain' gave NoneType instead of an Outcome"),
        ("gives nonsense", "internal error: the outcome cannot be encoded"),
        ("gives too much", "internal error: the outcome cannot be encoded"),
    ],
)
async def test_a_kind_that_misbehaves_harms_only_its_own_check(
    executor: Executor, kind: PlainKind, does: str, reason: str
) -> None:
    executor.take(does, "succeeds")
    results = await executor.sent(2)
    assert {(result.status, result.reason) for result in results} == {(Status.FAILURE, reason), (Status.SUCCESS, "")}
    assert not executor.checks.failed.done()


async def test_the_same_failure_is_logged_once_a_minute(
    executor: Executor, kind: PlainKind, caplog: pytest.LogCaptureFixture
) -> None:
    executor.take(*["raises"] * 20)
    await executor.sent(20)
    assert len(caplog.records) == 1


async def test_a_check_that_takes_too_long_fails_in_time(executor: Executor, kind: PlainKind) -> None:
    executor.take("hangs", timeout_ms=1_500 // 10)
    [result] = await executor.sent(1)
    assert (result.status, result.reason) == (Status.FAILURE, "no answer within 0.15 s")
    assert 150 <= result.duration_ms < 2_000


@pytest.mark.parametrize(
    ("tick", "reason"),
    [
        ({"kind": "nope"}, "there is no kind 'nope'; known kinds: heartbeat, http, noop, plain, tcp (at $.kind)"),
        ({"kind": "heartbeat"}, "the kind 'heartbeat' is judged by workers"),
        ({"kind": "http"}, "no field 'does'"),
    ],
)
async def test_a_tick_that_cannot_be_run_fails_with_the_reason(
    executor: Executor, kind: PlainKind, tick: dict[str, str], reason: str
) -> None:
    config = '{"period":"1m"}' if tick["kind"] == "heartbeat" else "succeeds"
    executor.take(config, **tick)  # type: ignore[arg-type]
    [result] = await executor.sent(1)
    assert result.status is Status.FAILURE
    assert reason in result.reason


@pytest.mark.parametrize("raw", [b"poison", b"\xc3\x01", b"\xc3\x01" + b"\x00" * 8, b"\xc3\x01" + b"\xff" * 40])
async def test_a_poison_tick_becomes_a_dead_letter_and_counts_as_finished(
    executor: Executor, kind: PlainKind, raw: bytes
) -> None:
    executor.take("succeeds", raw=raw)
    [record] = executor.outbox.sent
    assert (record["topic"], record["key"], record["value"]) == (TOPICS.dead_letters, b"user", raw)
    headers = dict(record["headers"])
    assert headers["reason"]
    assert (headers["source_offset"], headers["source_partition"]) == (b"0", b"3")
    assert executor.acknowledged == [0]


async def test_no_more_checks_run_at_once_than_allowed_and_waiting_ones_cost_no_task(
    executor: Executor, kind: PlainKind
) -> None:
    before = len(asyncio.all_tasks())
    executor.take(*["waits"] * 50)
    assert len(asyncio.all_tasks()) == before + 2
    await asyncio.sleep(0)
    assert kind.running == 2
    kind.may_end.set()
    assert len(await executor.sent(50)) == 50
    assert kind.most_running == 2


async def test_urgent_ticks_overtake_those_that_wait(executor: Executor, kind: PlainKind) -> None:
    executor.take("waits", "waits")
    executor.take("low", topic=TOPICS.ticks_low)
    executor.take("normal", topic=TOPICS.ticks)
    executor.take("high", topic=TOPICS.ticks_high)
    await asyncio.sleep(0)
    kind.may_end.set()
    await executor.sent(5)
    assert kind.order == ["waits", "waits", "high", "normal", "low"]


async def test_waiting_ticks_of_a_revoked_partition_are_left_to_its_new_owner(
    executor: Executor, kind: PlainKind
) -> None:
    executor.take("waits", "waits", "succeeds", topic=TOPICS.ticks)
    executor.take("high", topic=TOPICS.ticks_high)
    await asyncio.sleep(0)
    executor.held[TOPICS.ticks].revoked = True
    kind.may_end.set()
    await executor.sent(3)
    assert kind.order == ["waits", "waits", "high"]
    assert sorted(executor.acknowledged) == [0, 1, 3]


async def test_draining_waits_for_what_runs_and_starts_nothing(executor: Executor, kind: PlainKind) -> None:
    executor.take("waits", "waits", "waits too")
    await asyncio.sleep(0)
    asyncio.get_running_loop().call_later(0.05, kind.may_end.set)
    assert await executor.checks.drain(5) == 0
    assert sorted(executor.acknowledged) == [0, 1]
    assert "waits too" not in kind.order


async def test_draining_gives_up_what_does_not_end_without_a_result(executor: Executor, kind: PlainKind) -> None:
    executor.take("hangs")
    await asyncio.sleep(0)
    assert await executor.checks.drain(0.05) == 1
    assert executor.outbox.sent == []
    assert executor.acknowledged == []

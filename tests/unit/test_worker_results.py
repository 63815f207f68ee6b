"""What a worker makes of results that come back, and of inline kinds that do not behave."""

from collections.abc import AsyncIterator
from math import nan
from pathlib import Path

import pytest
from support.pipeline import every
from support.worker import START, TOPICS, Broker, Life, until, worker

from everwatch import codec
from everwatch.clock import SettableClock
from everwatch.config import OutputFormat
from everwatch.kafka.records import Record
from everwatch.model import Monitor, Result, State, Status


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Broker:
    broker = Broker()
    broker.install(monkeypatch)
    return broker


@pytest.fixture
async def life(broker: Broker, tmp_path: Path) -> AsyncIterator[Life]:
    async with worker(broker, tmp_path, SettableClock(START)) as life:
        await sign_up(life, "site", "shop")
        yield life


async def sign_up(life: Life, *names: str) -> None:
    monitors = [every(name, "noop") for name in names]
    life.broker.take(TOPICS.signups, {"user_id": "ann", "monitors": monitors})
    await until("ann is signed up", lambda: life.broker.is_acknowledged(TOPICS.signups))


def state(life: Life, monitor_id: str) -> State:
    key = codec.table_key("ann", monitor_id)
    value = life.store.read(0, key)
    assert value is not None
    entry = codec.decode_entry(key, value)
    assert isinstance(entry, Monitor)
    return entry.state


def result(monitor_id: str, duration_ms: float = 1.0, executor: str = "x-1") -> bytes:
    given = Result(
        user_id="ann",
        monitor_id=monitor_id,
        scheduled_at=START + 10_000,
        kind="noop",
        version=1,
        status=Status.SUCCESS,
        reason="",
        started_at=START + 10_000,
        duration_ms=duration_ms,
        executor=executor,
    )
    return codec.encode_result(given, OutputFormat.AVRO)


def record(value: bytes, offset: int = 0) -> Record:
    return Record(TOPICS.results, 0, offset, START, b"ann", value)


@pytest.mark.parametrize("wrong", [result("site")[:-2], result("site", duration_ms=nan)], ids=["cut", "nan"])
async def test_a_mangled_result_is_kept_aside_and_those_beside_it_count(life: Life, wrong: bytes) -> None:
    life.partition.unanswered_since = START
    await life.engine.feedback.judge([record(wrong), record(result("shop"), 1)])
    assert (state(life, "shop"), state(life, "site")) == (State.UP, State.NEW)
    await until("it is kept", lambda: [value for _, value in life.broker.logs[TOPICS.dead_letters]] == [wrong])
    # the one beside it is an executor's
    assert life.partition.unanswered_since == 0


async def test_a_mangled_result_says_nothing_of_executors(life: Life) -> None:
    life.partition.unanswered_since = START
    await life.engine.feedback.judge([record(result("site")[:-2])])
    assert life.partition.unanswered_since == START

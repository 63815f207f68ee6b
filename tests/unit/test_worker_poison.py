"""A worker and records that no handler can take: they harm nothing but themselves."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest
from support.pipeline import every
from support.worker import START, TOPICS, Broker, Life, until, worker

from everwatch import codec
from everwatch.catalogue import carry_out
from everwatch.clock import SettableClock
from everwatch.errors import BrokerUnavailable, InvalidInput
from everwatch.isolation import Bisection
from everwatch.kafka.records import Record

INPUTS = (TOPICS.signups, TOPICS.commands, TOPICS.signals, TOPICS.results)


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Broker:
    broker = Broker()
    broker.install(monkeypatch)
    return broker


@pytest.fixture
async def life(broker: Broker, tmp_path: Path) -> AsyncIterator[Life]:
    async with worker(broker, tmp_path, SettableClock(START)) as life:
        yield life


def letters(broker: Broker) -> list[bytes | None]:
    return [value for _, value in broker.logs[TOPICS.dead_letters]]


def records(topic: str, count: int) -> list[Record]:
    return [Record(topic, 0, offset, START, b"ann", b"%d" % offset) for offset in range(count)]


Handler = Callable[[Sequence[Record]], Awaitable[None]]


def replace_handler(life: Life, topic: str, handle: Handler) -> None:
    life.engine.isolated[topic]._handle = handle


@pytest.mark.parametrize("topic", INPUTS)
async def test_records_that_fail_each_time_are_refused_once_and_the_others_are_handled(
    life: Life, broker: Broker, topic: str
) -> None:
    handled: list[bytes | None] = []
    poison = {b"3", b"4", b"90"}

    async def handle(part: Sequence[Record]) -> None:
        # one that is refused as it should be, among them
        for record in part:
            if record.value == b"50":
                life.engine._refusals.refuse(record, InvalidInput("it is wrong"))
        if poison & {record.value for record in part}:
            raise OverflowError("int too big to convert")
        handled.extend(record.value for record in part)

    replace_handler(life, topic, handle)
    await life.handle(topic, records(topic, 100))
    assert sorted(letters(broker), key=int) == [b"3", b"4", b"50", b"90"]  # type: ignore[arg-type]
    assert handled == [record.value for record in records(topic, 100) if record.value not in poison]


async def test_a_failure_that_lies_with_no_record_refuses_nothing_and_repeats_nothing(
    life: Life, broker: Broker
) -> None:
    handled: list[bytes | None] = []
    away = True

    async def handle(part: Sequence[Record]) -> None:
        for record in part:
            if record.value in (b"1", b"8"):
                life.engine._refusals.refuse(record, InvalidInput("it is wrong"))
        if any(record.value == b"5" for record in part) and len(part) > 2:
            raise ValueError("poison, it seems")
        if away and any(record.value == b"8" for record in part):
            raise BrokerUnavailable("nobody answers")
        handled.extend(record.value for record in part)

    work = life.engine.isolated[TOPICS.signals]
    work._handle = handle
    bisection = Bisection(records(TOPICS.signals, 10))
    for _ in range(3):
        with pytest.raises(BrokerUnavailable):
            await work.run(bisection)
    assert letters(broker) == [b"1"]
    away = False
    await work.run(bisection)
    assert letters(broker) == [b"1", b"8"]
    assert handled == [record.value for record in records(TOPICS.signals, 10)]


async def test_a_batch_that_fails_for_long_is_logged_once_a_minute(
    life: Life, broker: Broker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("streams.lane.RETRY_S", 0.01)
    tries = 0

    async def handle(_: Sequence[Record]) -> None:
        nonlocal tries
        tries += 1
        raise BrokerUnavailable("nobody answers")

    replace_handler(life, TOPICS.signups, handle)
    broker.take(TOPICS.signups, {"user_id": "ann", "monitors": [every("m", "noop")]})
    await until("it was tried often", lambda: tries > 5)
    assert caplog.text.count("retrying (logged once a minute)") == 1
    assert letters(broker) == []
    assert not broker.is_acknowledged(TOPICS.signups)


async def test_a_command_that_cannot_be_carried_out_is_refused_and_answered(
    life: Life, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker.take(TOPICS.signups, {"user_id": "ann", "monitors": [every("m", "noop"), every("n", "noop")]})
    await until("ann is signed up", lambda: broker.is_acknowledged(TOPICS.signups))

    def fails_for_one(command: Any, *rest: Any) -> Any:
        if command.monitor_id == "m":
            raise OverflowError("int too big to convert")
        return carry_out(command, *rest)

    monkeypatch.setattr("streams.registration.carry_out", fails_for_one)
    given = [
        {"command": "pause", "user_id": "ann", "monitor_id": name, "command_id": f"of-{name}"} for name in ("n", "m")
    ]
    await life.handle(
        TOPICS.commands,
        [Record(TOPICS.commands, 0, number, START, b"ann", orjson.dumps(each)) for number, each in enumerate(given)],
    )
    answers = {
        reply.command_id: (str(reply.answer), reply.code)
        for reply in (codec.decode_reply(value) for _, value in broker.logs[TOPICS.replies])
    }
    assert answers == {"of-n": ("done", ""), "of-m": ("refused", "unhandled")}
    assert letters(broker) == [orjson.dumps(given[1])]

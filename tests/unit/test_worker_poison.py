"""A worker and records that no handler can take: they harm nothing but themselves."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest
from support.pipeline import every
from support.worker import CHANGELOG, START, TOPICS, Broker, Life, until, worker

from everwatch.core.bisection import Bisection
from everwatch.core.clock import SettableClock
from everwatch.core.errors import BrokerUnavailable, InvalidInput
from everwatch.encoding import avro_schemas, codec
from everwatch.kafka.consumed_record import Record
from everwatch.model import At, Monitor, State, Status
from streams.state.unit_of_work import LARGEST_ENTRY_BYTES

INPUTS = (TOPICS.signups, TOPICS.commands, TOPICS.signals, TOPICS.results)


@pytest.fixture
def broker() -> Broker:
    return Broker()


@pytest.fixture
async def life(broker: Broker, tmp_path: Path) -> AsyncIterator[Life]:
    async with worker(broker, tmp_path, SettableClock(START)) as life:
        yield life


def letters(broker: Broker) -> list[bytes | None]:
    return [value for _, value in broker.pairs[TOPICS.dead_letters]]


def records(topic: str, count: int) -> list[Record]:
    return [Record(topic, 0, offset, START, b"ann", b"%d" % offset) for offset in range(count)]


Handler = Callable[[Sequence[Record]], Awaitable[None]]


def replace_handler(life: Life, topic: str, handle: Handler) -> None:
    life.engine.isolations[topic].handle = handle


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
                life.engine.events.refused_inputs().refuse(record, InvalidInput("it is wrong"))
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
                life.engine.events.refused_inputs().refuse(record, InvalidInput("it is wrong"))
        if any(record.value == b"5" for record in part) and len(part) > 2:
            raise ValueError("poison, it seems")
        if away and any(record.value == b"8" for record in part):
            raise BrokerUnavailable("nobody answers")
        handled.extend(record.value for record in part)

    work = life.engine.isolations[TOPICS.signals]
    work.handle = handle
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
    broker: Broker, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tries = 0

    async def handle(_: Sequence[Record]) -> None:
        nonlocal tries
        tries += 1
        raise BrokerUnavailable("nobody answers")

    async with worker(broker, tmp_path, SettableClock(START), retry_s=0.01) as life:
        replace_handler(life, TOPICS.signups, handle)
        broker.take(TOPICS.signups, {"user_id": "ann", "monitors": [every("m", "noop")]})
        await until("it was tried often", lambda: tries > 5)
    assert caplog.text.count("retrying (logged once a minute)") == 1
    assert letters(broker) == []
    assert not broker.is_acknowledged(TOPICS.signups)


async def test_a_command_that_cannot_be_carried_out_is_refused_and_answered(life: Life, broker: Broker) -> None:
    broker.take(TOPICS.signups, {"user_id": "ann", "monitors": [every("m", "noop"), every("n", "noop")]})
    await until("ann is signed up", lambda: broker.is_acknowledged(TOPICS.signups))
    carry_out = life.engine.isolations[TOPICS.commands].handle

    async def fails_for_one(part: Sequence[Record]) -> None:
        if any(b'"m"' in (record.value or b"") for record in part):
            raise OverflowError("int too big to convert")
        await carry_out(part)

    replace_handler(life, TOPICS.commands, fails_for_one)
    given = [
        {"command": "pause", "user_id": "ann", "monitor_id": name, "command_id": f"of-{name}"} for name in ("n", "m")
    ]
    await life.handle(
        TOPICS.commands,
        [Record(TOPICS.commands, 0, number, START, b"ann", orjson.dumps(each)) for number, each in enumerate(given)],
    )
    answers = {
        reply.command_id: (str(reply.answer), reply.code)
        for reply in (codec.decode_reply(value) for _, value in broker.pairs[TOPICS.replies])
    }
    assert answers == {"of-n": ("done", ""), "of-m": ("refused", "unhandled")}
    assert letters(broker) == [orjson.dumps(given[1])]


# --- the poisons by name ----------------------------------------------------------------------------------------------


def result(**changes: Any) -> dict[str, Any]:
    good = {
        "user_id": "ann",
        "monitor_id": "m",
        "scheduled_at": START + 10_000,
        "kind": "noop",
        "version": 1,
        "status": "failure",
        "reason": "",
        "started_at": START + 10_000,
        "duration_ms": 1.0,
    }
    return good | changes


HOURS = 4 * 3_600_000
AVRO_RESULT = avro_schemas.header("result")
POISONOUS_RESULTS = {
    "an id of absurd length": AVRO_RESULT + b"\xfe" * 9 + b"\x01" + b"ann",
    "an id of negative length": AVRO_RESULT + b"\x05" + b"ann",
    "a number without an end": AVRO_RESULT + b"\xff" * 200_000,
    "the store's own key": result(user_id="__everwatch", monitor_id="written__"),
    "Faust's own key": result(user_id="__faust", monitor_id="offset__"),
    "the key of what is remembered of commands": result(monitor_id="\x01commands"),
    "no user": result(user_id=""),
    "no monitor": result(monitor_id=""),
    "an endless run": result(duration_ms=1e300),
    "a run of negative length": result(duration_ms=-1.0),
    "from hours ahead": result(scheduled_at=START + HOURS),
    "skipped until hours ahead": result(status="skipped", skipped_until=START + HOURS),
    "beyond 64 bits": result(scheduled_at=2**64),
    "begun in the year 300,000": result(started_at=2**53),
    "a reason of half a megabyte": result(reason="x" * 500_000),
    "a reason that no entry has room for": result(reason="x" * 5_000),
}


@pytest.mark.parametrize("poison", POISONOUS_RESULTS.values(), ids=POISONOUS_RESULTS.keys())
async def test_a_result_that_cannot_be_judged_is_refused_once_and_those_beside_it_count(
    life: Life, broker: Broker, poison: bytes | dict[str, Any]
) -> None:
    monitors = [every(name, "noop") | {"policy": {"retries": {"max": 3}}} for name in ("m", "good")]
    broker.take(TOPICS.signups, {"user_id": "ann", "monitors": monitors})
    await until("ann is signed up", lambda: broker.is_acknowledged(TOPICS.signups))
    value = poison if isinstance(poison, bytes) else json.dumps(poison).encode()
    some = [
        orjson.dumps(result(monitor_id="good", status="success")),
        value,
        # of no version and for no monitor that there is: passed over
        orjson.dumps(result(version=99)),
        orjson.dumps(result(monitor_id="gone")),
        orjson.dumps(result(user_id="nobody")),
    ]
    await life.handle(
        TOPICS.results, [Record(TOPICS.results, 0, n, START, b"ann", each) for n, each in enumerate(some)]
    )
    assert letters(broker) == [value]
    key = codec.table_key("ann", "good")
    entry = codec.decode_entry(key, life.store.read(0, key) or b"")
    assert isinstance(entry, Monitor)
    assert entry.state is State.UP


async def test_a_retry_is_counted_from_now_whatever_its_result_says_of_its_end(life: Life, broker: Broker) -> None:
    monitor = every("m", "noop") | {"policy": {"retries": {"max": 3}}}
    broker.take(TOPICS.signups, {"user_id": "ann", "monitors": [monitor]})
    await until("ann is signed up", lambda: broker.is_acknowledged(TOPICS.signups))
    said = orjson.dumps(result(started_at=START + 100 * HOURS))
    await life.handle(TOPICS.results, [Record(TOPICS.results, 0, 0, START, b"ann", said)])
    key = codec.table_key("ann", "m")
    entry = codec.decode_entry(key, life.store.read(0, key) or b"")
    assert isinstance(entry, Monitor)
    assert START < entry.agenda.retry_at < START + 120_000


@pytest.mark.parametrize("topic", [TOPICS.signups, TOPICS.commands, TOPICS.signals])
@pytest.mark.parametrize("user_id", ["__everwatch", "__faust"])
async def test_no_input_reaches_the_stores_own_entries(life: Life, broker: Broker, topic: str, user_id: str) -> None:
    rest = {
        TOPICS.signups: {"monitors": [every("written__", "noop")]},
        TOPICS.commands: {"command": "pause", "monitor_id": "written__"},
        TOPICS.signals: {"monitor_id": "written__"},
    }
    value = orjson.dumps({"user_id": user_id, **rest[topic]})
    await life.handle(topic, [Record(topic, 0, 0, START, user_id.encode(), value)])
    assert letters(broker) == [value]


@pytest.mark.parametrize("timestamp", [-1, -(2**62), START + 10 * HOURS, 2**62], ids=str)
@pytest.mark.parametrize("topic", [TOPICS.signups, TOPICS.commands])
async def test_a_delay_counts_from_now_where_a_producers_clock_is_not_to_be_believed(
    life: Life, broker: Broker, topic: str, timestamp: int
) -> None:
    task = {"monitor_id": "t", "kind": "noop", "schedule": {"in": "1h"}}
    value = {TOPICS.signups: {"monitors": [task]}, TOPICS.commands: {"command": "put", "monitor": task}}[topic]
    record = Record(topic, 0, 0, timestamp, b"ann", orjson.dumps({"user_id": "ann", **value}))
    await life.handle(topic, [record])
    key = codec.table_key("ann", "t")
    entry = codec.decode_entry(key, life.store.read(0, key) or b"")
    assert isinstance(entry, Monitor)
    assert entry.spec.schedule == At(START + 3_600_000)
    assert letters(broker) == []


@pytest.mark.parametrize("timestamp", [-1, START, START + 10 * HOURS], ids=str)
async def test_a_run_by_hand_has_a_timestamp_that_the_broker_takes(life: Life, broker: Broker, timestamp: int) -> None:
    later = every("m", "http", url="http://127.0.0.1:1/")
    later["schedule"] |= {"start_at": START + 1_000 * HOURS}
    broker.take(TOPICS.signups, {"user_id": "ann", "monitors": [later]})
    await until("ann is signed up", lambda: broker.is_acknowledged(TOPICS.signups))
    value = orjson.dumps({"command": "run_now", "user_id": "ann", "monitor_id": "m"})
    await life.handle(TOPICS.commands, [Record(TOPICS.commands, 0, 0, timestamp, b"ann", value)])
    await until("it is sent", lambda: broker.records(TOPICS.ticks))
    [instant] = [each.timestamp_ms for each in broker.records(TOPICS.ticks)]
    assert START - 1_000 < instant < START + 3_600_000


async def test_a_run_by_hand_whose_tick_the_topic_refuses_is_a_skipped_result_and_the_worker_goes_on(
    life: Life, broker: Broker
) -> None:
    broker.take(TOPICS.signups, {"user_id": "ann", "monitors": [every("m", "http", "1h", url="http://127.0.0.1:1/")]})
    await until("ann is signed up", lambda: broker.is_acknowledged(TOPICS.signups))
    broker.max_bytes[TOPICS.ticks] = 10
    assert await life.command("ann", "run_now")
    [result] = [codec.decode_result(value) for _, value in broker.pairs[TOPICS.results]]
    assert (result.status, result.manual, result.skipped_count) == (Status.SKIPPED, True, 1)
    assert TOPICS.ticks in result.reason
    # what it sends later is delivered, too
    assert await life.command("ann", "pause")


async def test_an_entry_that_no_record_can_hold_is_refused_before_anything_of_it_is_sent(
    life: Life, broker: Broker
) -> None:
    large = {"user_id": "ann", "attributes": {"notes": "x" * LARGEST_ENTRY_BYTES}, "monitors": [every("m", "noop")]}
    small = {"user_id": "bob", "monitors": [every("m", "noop")]}
    some = [(b"ann", orjson.dumps(large)), (b"bob", orjson.dumps(small))]
    await life.handle(TOPICS.signups, [Record(TOPICS.signups, 0, n, START, *each) for n, each in enumerate(some)])
    assert letters(broker) == [orjson.dumps(large)]
    assert {key.partition(b"\0")[0] for key, _ in broker.pairs[CHANGELOG]} == {b"bob"}


async def test_attempts_that_come_in_one_batch_leave_the_retry_that_is_planned_the_one_that_is_known(
    life: Life, broker: Broker
) -> None:
    monitor = every("m", "noop", "1h") | {"policy": {"retries": {"max": 3, "base": "1s"}}}
    broker.take(TOPICS.signups, {"user_id": "ann", "monitors": [monitor]})
    await until("it is known", lambda: broker.is_acknowledged(TOPICS.signups))
    await until("what is due soon is in the timetable", lambda: life.timetable.loaded_to[0] > START + 60_000)
    # both ended long ago, so both are tried again at the earliest instant
    await life.handle(TOPICS.results, [attempt_of("failure", 1), attempt_of("failure", 2)])
    # this one takes the retry out of the timetable
    await life.handle(TOPICS.results, [attempt_of("success", 3)])
    await life.tick_to(START + 20_000)
    assert broker.ticks == []
    assert not letters(broker)


def attempt_of(status: str, attempt: int) -> Record:
    value = {
        "user_id": "ann",
        "monitor_id": "m",
        "scheduled_at": START + 10_000,
        "kind": "noop",
        "version": 1,
        "status": status,
        "reason": "",
        "started_at": START - 60_000,
        "duration_ms": 1.0,
        "attempt": attempt,
    }
    return Record(TOPICS.results, 0, attempt, START, b"ann", orjson.dumps(value))

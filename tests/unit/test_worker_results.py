"""Tests of what a worker makes of results that come back, and of inline kinds that do not behave."""

from collections.abc import AsyncIterator, Callable, Iterator
from math import nan
from pathlib import Path
from typing import Any

import msgspec
import pytest
from prometheus_client import REGISTRY
from support.kinds import kind_given
from support.pipeline import every
from support.worker import START, TOPICS, Broker, Life, until, worker

from everwatch.core.clock import SettableClock
from everwatch.core.output_format import OutputFormat
from everwatch.encoding import codec, table_records
from everwatch.kafka.compression import codec_named
from everwatch.kafka.consumed_record import Record
from everwatch.kinds.execution.config_secrets import ConfigSecrets
from everwatch.kinds.execution.result_builder import ResultBuilder
from everwatch.kinds.protocol import InlineView
from everwatch.model import INLINE_EXECUTOR, Misfire, Monitor, Outcome, Result, State, Status
from everwatch.timetable import BatchKey, Destination, Firing, chunk_of, framed
from everwatch.timetable.record_framing import FramedRecord
from streams.outputs.worker_results import WorkerResults
from streams.state.owned_partition import UnansweredTicks
from streams.ticking.inline_evaluator import InlineEvaluator

UNANSWERED = "everwatch_unanswered_seconds"
REGIONS = ("", "eu", "us")


@pytest.fixture
def broker() -> Broker:
    return Broker()


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


def result(
    monitor_id: str,
    duration_ms: float = 1.0,
    executor: str = "x-1",
    region: str = "",
    *,
    at: int = START + 10_000,
    status: Status = Status.SUCCESS,
) -> bytes:
    given = Result(
        user_id="ann",
        monitor_id=monitor_id,
        scheduled_at=at,
        kind="noop",
        version=1,
        status=status,
        reason="",
        started_at=at,
        duration_ms=duration_ms,
        executor=executor,
        region=region,
    )
    return codec.encode_result(given, OutputFormat.AVRO)


def record(value: bytes, offset: int = 0) -> Record:
    return Record(TOPICS.results, 0, offset, START, b"ann", value)


@pytest.mark.parametrize("wrong", [result("site")[:-2], result("site", duration_ms=nan)], ids=["cut", "nan"])
async def test_a_mangled_result_is_kept_aside_and_those_beside_it_count(life: Life, wrong: bytes) -> None:
    life.partition.unanswered[""] = UnansweredTicks(START, START)
    await life.handle(TOPICS.results, [record(wrong), record(result("shop"), 1)])
    assert (state(life, "shop"), state(life, "site")) == (State.UP, State.NEW)
    await until("it is kept", lambda: [value for _, value in life.broker.pairs[TOPICS.dead_letters]] == [wrong])
    # the one beside it is an executor's
    assert life.partition.unanswered == {}


async def test_results_of_one_monitor_in_one_batch_count_in_their_order(life: Life) -> None:
    ends = [Status.SUCCESS, Status.FAILURE, Status.SUCCESS, Status.SUCCESS, Status.FAILURE]
    come = [result("site", at=START + 10_000 * (number + 1), status=end) for number, end in enumerate(ends)]
    await life.handle(TOPICS.results, [record(come[0])])
    # read while the entry says "up": the success behind a failure of the same batch changes the state all the same
    behind = [*come[1:], result("shop")]
    await life.handle(TOPICS.results, [record(value, offset) for offset, value in enumerate(behind, 1)])
    told = [codec.decode_transition(value) for _, value in life.broker.pairs[TOPICS.transitions]]
    assert [(each.monitor_id, each.to_state, (each.at - START) // 10_000) for each in told] == [
        ("site", State.UP, 1),
        ("site", State.DOWN, 2),
        ("site", State.UP, 3),
        ("site", State.DOWN, 5),
        ("shop", State.UP, 1),
    ]
    assert (state(life, "site"), state(life, "shop")) == (State.DOWN, State.UP)


async def test_a_mangled_result_says_nothing_of_executors(life: Life) -> None:
    life.partition.unanswered[""] = UnansweredTicks(START, START)
    await life.handle(TOPICS.results, [record(result("site")[:-2])])
    assert life.partition.unanswered == {"": UnansweredTicks(START, START)}


@pytest.fixture
async def far(broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Life]:
    """A worker with a monitor in two regions, and one in none."""
    monkeypatch.setenv("EVERWATCH_REGIONS", "eu,us")
    async with worker(broker, tmp_path, SettableClock(START)) as life:
        monitors = [
            every("site", "http", url="https://example.com/"),
            every("shop", "http", url="https://example.com/"),
        ]
        monitors[0]["policy"] = {"regions": ["eu", "us"]}
        life.broker.take(TOPICS.signups, {"user_id": "ann", "monitors": monitors})
        await until("ann is signed up", lambda: life.broker.is_acknowledged(TOPICS.signups))
        yield life


def silent(life: Life) -> dict[str, float]:
    """Seconds of silence of each region that owes an answer."""
    found = {region: REGISTRY.get_sample_value(UNANSWERED, {"partition": "0", "region": region}) for region in REGIONS}
    return {region: seconds for region, seconds in found.items() if seconds}


async def test_a_silence_is_over_with_the_first_result_although_no_tick_is_due_for_an_hour(
    broker: Broker, tmp_path: Path
) -> None:
    async with worker(broker, tmp_path, SettableClock(START)) as life:
        rare = every("rare", "http", "1h", url="https://example.com/")
        broker.take(TOPICS.signups, {"user_id": "ann", "monitors": [rare]})
        await until("ann is signed up", lambda: broker.is_acknowledged(TOPICS.signups))
        hour_ms = 3_600_000
        for hours in range(1, 4):
            await life.tick_to(START + hours * hour_ms)
        assert silent(life)[""] >= hour_ms / 1000
        await life.handle(TOPICS.results, [record(result("rare", at=START + 3 * hour_ms - 1))])
        await life.tick_to(START + 3 * hour_ms + 1_000)
        assert silent(life) == {}


async def test_the_silence_of_a_region_is_counted_whatever_others_answer(far: Life) -> None:
    await far.tick_to(START + 4_000)
    assert set(far.partition.unanswered) == set(REGIONS)
    more = [result("site", region="eu", at=START + 3_000)] + 30 * [result("site", region="eu", at=START + 2_000)]
    await far.handle(TOPICS.results, [record(value, offset) for offset, value in enumerate(more)])
    # those of a region say nothing of executors without one
    assert set(far.partition.unanswered) == {"", "us"}
    await far.handle(TOPICS.results, [record(result("shop", at=START + 3_000))])
    assert set(far.partition.unanswered) == {"us"}
    await far.tick_to(START + 15_000)
    await far.tick_to(START + 30_000)
    assert silent(far).keys() == set(REGIONS)
    # one among many, after a long silence
    few = [result("shop", at=START + 20_000)] + 30 * [result("site", region="eu", at=START + 20_000)]
    await far.handle(TOPICS.results, [record(value, offset) for offset, value in enumerate(few)])
    assert set(far.partition.unanswered) == {"us"}
    await far.tick_to(START + 31_000)
    found = silent(far)
    assert found["us"] > 25
    assert found.get("", 0) < 2
    # no monitor names it any more
    far.broker.take(TOPICS.signups, {"user_id": "ann", "monitors": [every("shop", "http", url="https://example.com/")]})
    await until("it is changed", lambda: far.broker.is_acknowledged(TOPICS.signups))
    for instant in range(START + 32_000, START + 3 * 3_600_000, 1_200_000):
        await far.tick_to(instant)
    assert "us" not in far.partition.unanswered
    assert "us" not in silent(far)


class Unruly:
    """An inline kind of another package, and what it does when it is asked."""

    name = "unruly"
    inline = True
    default_schedule_ms = 1_000

    class config_type(msgspec.Struct, frozen=True):
        pass

    def __init__(self) -> None:
        self.answer: Callable[[], Any] = lambda: None

    def judge(self, config: Any, view: InlineView, at: int) -> Any:
        return self.answer()


@pytest.fixture
def unruly() -> Iterator[Unruly]:
    kind = Unruly()
    with kind_given(kind):
        yield kind


def _raises() -> Outcome:
    raise KeyError("colour")


@pytest.mark.parametrize("by", ["its schedule", "command"])
@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (_raises, "the kind 'unruly' failed: KeyError: 'colour'"),
        (lambda: None, "the kind 'unruly' failed: TypeError: the kind 'unruly' gave NoneType instead of an Outcome"),
        (lambda: Outcome(Status.SUCCESS, "", {"n": "x"}), "the kind 'unruly' failed: its outcome cannot be sent"),  # type: ignore[dict-item]
        (
            lambda: Outcome(Status.SUCCESS, 7),
            "the kind 'unruly' failed: TypeError: the kind 'unruly' gave int as the reason of its outcome",
        ),  # type: ignore[arg-type]
        (
            lambda: Outcome(Status.SUCCESS, "", dict.fromkeys(map(str, range(2**18)), 1.0)),
            "the kind 'unruly' failed: its outcome cannot be sent",
        ),
    ],
    ids=["raises", "says nothing", "says what is no number", "says what is no text", "says too much"],
)
async def test_an_inline_kind_that_fails_harms_its_own_monitors_only(
    life: Life,
    unruly: Unruly,
    caplog: pytest.LogCaptureFixture,
    by: str,
    answer: Callable[[], Any],
    reason: str,
) -> None:
    unruly.answer = answer
    interval = "1s" if by == "its schedule" else "100d"
    monitors = [every("odd", "unruly", interval), every("job", "heartbeat", "1s", period="1h")]
    life.broker.take(TOPICS.signups, {"user_id": "bob", "monitors": monitors})
    await until("bob is signed up", lambda: life.broker.is_acknowledged(TOPICS.signups))
    if by == "command":
        assert await life.command("bob", "run_now", "odd")
    await life.tick_to(START + 4_000)
    told = [codec.decode_result(value) for _, value in life.broker.pairs[TOPICS.results]]
    odd = [result for result in told if result.monitor_id == "odd"]
    assert {(result.status, result.reason) for result in odd} == {(Status.FAILURE, reason)}
    assert {result.manual for result in odd} == {by == "command"}
    assert {result.status for result in told if result.monitor_id == "job"} == {Status.SUCCESS}
    assert not life.engine.crashed
    assert sum("'unruly'" in message for message in caplog.messages) == 1


async def test_of_an_inline_kind_the_detail_is_kept_and_a_long_reason_is_cut(life: Life, unruly: Unruly) -> None:
    unruly.answer = lambda: Outcome(Status.FAILURE, "x" * 2**20, {}, "what it saw")
    life.broker.take(TOPICS.signups, {"user_id": "bob", "monitors": [every("odd", "unruly", "1s")]})
    await until("bob is signed up", lambda: life.broker.is_acknowledged(TOPICS.signups))
    await life.tick_to(START + 4_000)
    results = [codec.decode_result(value) for _, value in life.broker.pairs[TOPICS.results]]
    assert {(result.reason, result.detail) for result in results if result.monitor_id == "odd"} == {
        ("x" * 1_000, "what it saw")
    }


class Room:
    """Outbox that counts the records between two questions for room."""

    def __init__(self) -> None:
        self.runs = [0]

    def send(self, *_: object, **__: object) -> None:
        self.runs[-1] += 1

    async def room(self) -> None:
        self.runs.append(0)


async def test_however_many_instants_are_judged_others_have_their_turn_in_between(life: Life) -> None:
    monitors = [every(f"job-{number}", "heartbeat", "1s", period="1h") for number in range(3)]
    life.broker.take(TOPICS.signups, {"user_id": "bob", "monitors": monitors})
    await until("bob is signed up", lambda: life.broker.is_acknowledged(TOPICS.signups))
    packing, room = codec_named("none"), Room()
    builder = ResultBuilder(INLINE_EXECUTOR, OutputFormat.AVRO, SettableClock(START))
    inline = InlineEvaluator(life.store, WorkerResults(room, TOPICS, builder), packing, ConfigSecrets())  # type: ignore[arg-type]
    found = [codec.decode_entry(key, value) for key, value in life.store.scan(0, b"bob\0")]
    ticks = [table_records.tick_value(entry) for entry in found if isinstance(entry, Monitor)]
    chunk = chunk_of([FramedRecord(0, framed(b"bob", tick)) for tick in ticks], packing)
    outage = Firing(
        BatchKey(Destination.INLINE, Misfire.FIRE_ALL, 60_000), chunk, range(START, START + 1_000_000, 1_000)
    )
    await inline.evaluate(life.partition, [outage], START + 1_000_000)
    assert sum(room.runs) == 3_000
    assert max(room.runs) <= 200

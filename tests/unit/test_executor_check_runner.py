"""The checks in flight, with records made by hand and an outbox that only remembers.

All in one file: one class, which moves ticks between parts that are tested on their own.
"""

import asyncio
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from confluent_kafka import KafkaException
from support.executing import AT, PATIENCE_S, TOPICS, Executor
from support.kinds import kind_given
from support.waiting import PATIENCE

from everwatch.core.clock import SettableClock, SystemClock
from everwatch.encoding.cancellation_records import Cancellation
from everwatch.executor.assignment import HeldPartition
from everwatch.executor.check_runner import CheckLimits
from everwatch.kinds.execution.config_secrets import ConfigSecrets
from everwatch.kinds.execution.kind_runner import job_of, target_of
from everwatch.kinds.execution.run_context import open_run_context
from everwatch.kinds.protocol import RunContext
from everwatch.model import Misfire, Outcome, Status, Tick
from everwatch.network.guard import Guard


class PlainConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    does: str = "succeeds"
    host: str = ""

    def __post_init__(self) -> None:
        if self.does == "raises as it is read":
            raise KeyError("colour")


class PlainKind:
    """Does as its config says; counts how many run at once."""

    name = "plain"
    config_type = PlainConfig
    default_schedule_ms = 60_000
    inline = False

    def target(self, config: PlainConfig) -> str:
        return config.host

    def __init__(self) -> None:
        self.running = self.most_running = 0
        self.may_end = asyncio.Event()
        self.order: list[str] = []
        self.ticks: list[Tick] = []

    async def run(self, config: PlainConfig, tick: Tick, context: RunContext) -> Any:
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        self.order.append(config.does)
        self.ticks.append(tick)
        try:
            match config.does:
                case "raises":
                    raise KeyError("oops")
                case "raises CancelledError":
                    raise asyncio.CancelledError
                case "raises TimeoutError":
                    raise TimeoutError("its own")
                case "gives nothing":
                    return None
                case "gives nonsense":
                    return Outcome(Status.SUCCESS, "", {"a": "not a number"})  # type: ignore[dict-item]
                case "skips with nonsense":
                    return Outcome(Status.SKIPPED, "not today", {"a": "not a number"})  # type: ignore[dict-item]
                case "tells all":
                    return Outcome(Status.FAILURE, "no", detail="HTTP/1.1 503\n\nsorry" + "!" * 100_000)
                case "gives too much":
                    return Outcome(Status.FAILURE, "x" * 10_000, {"y" * 300_000: 1.0})
                case "waited for nan":
                    return Outcome(Status.SUCCESS, waited_ms=float("nan"))
                case "waited for ever":
                    return Outcome(Status.SUCCESS, waited_ms=1e300)
                case "waited for text":
                    return Outcome(Status.SUCCESS, waited_ms="long")  # type: ignore[arg-type]
                case "had to wait":
                    return Outcome(Status.SUCCESS, waited_ms=3_600_000.0)
                case "hangs":
                    await asyncio.Event().wait()
                case "waits" | "waits too":
                    await self.may_end.wait()
            return Outcome(Status.SUCCESS, timings={"total": 1.5})
        finally:
            self.running -= 1


@pytest.fixture
def kind() -> Iterator[PlainKind]:
    kind = PlainKind()
    with kind_given(kind):
        yield kind


@pytest.fixture
async def executor():
    async with open_run_context(SystemClock(), Guard()) as context:
        executor = Executor(context, max_in_flight=3)  # of which two are for normal ticks
        yield executor
        await executor.checks.drain(0)


@pytest.fixture
async def wide_executor():
    """Ten slots: eight for low ticks, nine for low and normal ones."""
    async with open_run_context(SystemClock(), Guard()) as context:
        executor = Executor(context, max_in_flight=10)
        yield executor
        await executor.checks.drain(0)


async def test_a_result_tells_all_about_its_tick(executor: Executor, kind: PlainKind) -> None:
    executor.take("succeeds", monitor_id="monitor", attempt=2)
    [result] = await executor.sent(1)
    assert (result.user_id, result.monitor_id, result.scheduled_at) == ("user", "monitor", AT)
    assert (result.kind, result.version, result.attempt, result.executor) == ("plain", 7, 2, "executor-1")
    assert (result.status, result.reason, result.timings) == (Status.SUCCESS, "", {"total": 1.5})
    [record] = executor.outbox.sent
    assert (record["key"], record["partition"]) == (b"user", 3)
    assert executor.acknowledged == [0]
    assert not result.manual


async def test_what_waited_for_its_turn_began_later_and_did_not_take_longer(
    executor: Executor, kind: PlainKind
) -> None:
    executor.take("succeeds", "had to wait")
    plain, waited = sorted(await executor.sent(2), key=lambda result: result.started_at)
    assert 3_600_000 <= waited.started_at - plain.started_at < 7_200_000
    assert waited.duration_ms < 3_600_000


async def test_a_kind_is_given_its_tick(executor: Executor, kind: PlainKind) -> None:
    executor.take("succeeds", monitor_id="monitor", attempt=2, payload='{"n":1}')
    await executor.sent(1)
    [tick] = kind.ticks
    assert (tick.user_id, tick.monitor_id, tick.scheduled_at, tick.attempt) == ("user", "monitor", AT, 2)
    assert tick.payload == '{"n":1}'


async def test_the_detail_of_a_failure_is_in_its_result_up_to_a_length(executor: Executor, kind: PlainKind) -> None:
    executor.take("tells all")
    [result] = await executor.sent(1)
    assert result.detail.startswith("HTTP/1.1 503\n\nsorry!!!")
    assert len(result.detail) == 40_000


async def test_the_result_of_a_manual_tick_says_that_it_was_one(executor: Executor, kind: PlainKind) -> None:
    executor.take("succeeds", manual=True)
    [result] = await executor.sent(1)
    assert result.manual


WRONG_WAIT = "internal error: TypeError: the kind 'plain'"


@pytest.mark.parametrize(
    ("does", "reason"),
    [
        ("raises", "internal error: KeyError: 'oops'"),
        ("raises TimeoutError", "internal error: TimeoutError: its own"),
        ("gives nothing", "internal error: TypeError: the kind 'plain' gave NoneType instead of an Outcome"),
        ("gives nonsense", "the kind 'plain' failed: its outcome cannot be sent"),
        ("gives too much", "the kind 'plain' failed: its outcome cannot be sent"),
        ("waited for nan", f"{WRONG_WAIT} gave nan as the waited_ms of its outcome"),
        ("waited for ever", f"{WRONG_WAIT} gave 1e+300 as the waited_ms of its outcome"),
        ("waited for text", f"{WRONG_WAIT} gave 'long' as the waited_ms of its outcome"),
    ],
)
async def test_a_kind_that_misbehaves_harms_only_its_own_check(
    executor: Executor, kind: PlainKind, does: str, reason: str
) -> None:
    executor.take(does, "succeeds")
    results = await executor.sent(2)
    assert {(result.status, result.reason) for result in results} == {(Status.FAILURE, reason), (Status.SUCCESS, "")}
    assert not executor.checks.failed.done()


async def test_a_skipped_outcome_that_cannot_be_sent_is_a_failure_and_counts_as_one(
    executor: Executor, kind: PlainKind
) -> None:
    executor.take("skips with nonsense")
    [result] = await executor.sent(1)
    assert (result.status, result.skipped_count, result.skipped_until) == (Status.FAILURE, 0, 0)


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


async def test_a_kind_that_keeps_time_and_does_not_end_is_cancelled_in_the_end(
    kind: PlainKind,
) -> None:
    kind.keeps_time = True
    async with open_run_context(SystemClock(), Guard()) as context:
        executor = Executor(context, max_in_flight=3, check_limits=CheckLimits(longest_wait_s=0.2))
        executor.take("hangs", timeout_ms=100)
        [result] = await executor.sent(1)
    assert (result.status, result.reason) == (Status.FAILURE, "no answer within 0.1 s, after it had 0.2 s to begin")
    assert kind.running == 0


@pytest.mark.parametrize(
    ("tick", "reason"),
    [
        (
            {"kind": "nope"},
            "there is no kind 'nope'; known kinds: "
            "dns, heartbeat, http, noop, plain, publish, python, tcp, threshold, tls, webhook (at $.kind)",
        ),
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


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"user_id": "u" * 3_000_000}, "the key has 3000000 bytes"),
        ({"user_id": "__everwatch"}, "__everwatch"),
        ({"monitor_id": "\x01commands"}, "control"),
        ({"monitor_id": "m" * 129}, "at most 128"),
        ({"timeout_ms": 2**31 - 1}, "at most"),
        ({"timeout_ms": -1}, "at least 1"),
        ({"version": -1}, "at least 0"),
        ({"attempt": -1}, "at least 0"),
        ({"at": 2**62}, "at most"),
        ({"at": -1}, "at least 0"),
    ],
    ids=[
        "key of 3 MB",
        "reserved user",
        "reserved monitor",
        "long monitor",
        "long time-out",
        "negative time-out",
        "negative version",
        "negative attempt",
        "instant beyond the calendar",
        "no instant",
    ],
)
async def test_a_tick_that_no_worker_sends_is_refused_and_the_next_one_runs(
    executor: Executor, kind: PlainKind, wrong: dict[str, Any], reason: str
) -> None:
    executor.take("succeeds", **wrong)
    [record] = executor.outbox.sent
    assert record["topic"] == TOPICS.dead_letters
    assert reason in dict(record["headers"])["reason"].decode()
    assert dict(record["headers"])["refused_by"] == b"executor"
    assert len(record["key"]) <= 500_000
    executor.take("succeeds")
    await executor.has_run(kind, 1)


async def test_a_tick_that_cannot_be_started_is_refused_and_the_next_one_runs(
    executor: Executor, kind: PlainKind
) -> None:
    executor.take("raises as it is read")
    [record] = executor.outbox.sent
    assert dict(record["headers"])["code"] == b"unhandled"
    assert executor.acknowledged == [0]
    executor.take("succeeds")
    await executor.has_run(kind, 1)


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


# --- priority ---------------------------------------------------------------------------------------------------------


async def test_urgent_ticks_overtake_those_that_wait(executor: Executor, kind: PlainKind) -> None:
    executor.take("waits", "waits", "waits", topic=TOPICS.ticks_high)
    executor.take("low", topic=TOPICS.ticks_low)
    executor.take("normal", topic=TOPICS.ticks)
    executor.take("high", topic=TOPICS.ticks_high)
    await asyncio.sleep(0)
    kind.may_end.set()
    await executor.sent(6)
    assert kind.order == ["waits", "waits", "waits", "high", "normal", "low"]


async def test_a_high_tick_starts_at_once_while_low_ones_hold_all_that_they_may(
    wide_executor: Executor, kind: PlainKind
) -> None:
    wide_executor.take(*["waits"] * 1_000, topic=TOPICS.ticks_low)
    await asyncio.sleep(0)
    assert kind.running == 8
    wide_executor.take("high", topic=TOPICS.ticks_high)
    wide_executor.take("normal", topic=TOPICS.ticks)
    results = await wide_executor.sent(2)
    assert {result.monitor_id for result in results} == {"monitor-1000", "monitor-1001"}
    assert kind.running == 8


async def test_normal_and_low_ticks_together_leave_a_slot_for_a_high_one(
    wide_executor: Executor, kind: PlainKind
) -> None:
    wide_executor.take(*["waits"] * 100, topic=TOPICS.ticks)
    wide_executor.take(*["waits"] * 100, topic=TOPICS.ticks_low)
    await asyncio.sleep(0)
    assert kind.running == 9
    wide_executor.take("high", topic=TOPICS.ticks_high)
    [result] = await wide_executor.sent(1)
    assert result.monitor_id == "monitor-200"


async def test_low_ticks_proceed_under_a_steady_stream_of_high_ones(wide_executor: Executor, kind: PlainKind) -> None:
    wide_executor.take(*["waits"] * 10, topic=TOPICS.ticks_high)
    wide_executor.take(*["low"] * 50, topic=TOPICS.ticks_low)
    wide_executor.take(*["high"] * 1_000, topic=TOPICS.ticks_high)
    kind.may_end.set()
    await wide_executor.has_run(kind, 10 + 9 * 50)
    assert 48 <= kind.order.count("low") <= 50  # eight high ones for each


@pytest.mark.parametrize("topic", TOPICS.all_ticks)
async def test_an_executor_with_a_single_slot_runs_ticks_of_every_priority(topic: str, kind: PlainKind) -> None:
    async with open_run_context(SystemClock(), Guard()) as context:
        executor = Executor(context, max_in_flight=1)
        executor.take(*["succeeds"] * 5, topic=topic)
        assert len(await executor.sent(5)) == 5
        assert kind.most_running == 1


# --- overlap ----------------------------------------------------------------------------------------------------------


async def test_a_tick_is_skipped_while_its_monitors_run_before_goes_on(executor: Executor, kind: PlainKind) -> None:
    executor.take("waits", monitor_id="m")
    executor.take("waits too", monitor_id="m", at=AT + 1_000)
    [skipped] = await executor.sent(1)
    assert (skipped.monitor_id, skipped.scheduled_at, skipped.status) == ("m", AT + 1_000, Status.SKIPPED)
    assert skipped.reason == "the run of 2096-10-02T07:06:40Z was still going on (overlap: skip)"
    assert (skipped.skipped_until, skipped.skipped_count, skipped.duration_ms) == (AT + 1_000, 1, 0)
    assert (skipped.kind, skipped.version, skipped.executor) == ("plain", 7, "executor-1")
    assert executor.acknowledged == [1]

    kind.may_end.set()
    [_, run] = await executor.sent(2)
    assert (run.scheduled_at, run.status, run.skipped_count) == (AT, Status.SUCCESS, 0)
    assert "waits too" not in kind.order


async def test_ticks_that_come_late_run_one_after_the_other_and_none_is_skipped_the_freshest_first(
    wide_executor: Executor, kind: PlainKind
) -> None:
    for number in range(5):
        wide_executor.take("succeeds", monitor_id="m", at=1_700_000_000_000 + number)
    results = await wide_executor.sent(5)
    assert [result.scheduled_at - 1_700_000_000_000 for result in results] == [0, 4, 1, 2, 3]
    assert {result.status for result in results} == {Status.SUCCESS}
    assert sorted(wide_executor.acknowledged) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("tick", [{"manual": True, "at": AT + 1}, {"attempt": 2}, {"topic": TOPICS.ticks_high}])
async def test_manual_ticks_retries_and_ticks_of_another_priority_are_skipped_too(
    executor: Executor, kind: PlainKind, tick: dict[str, Any]
) -> None:
    executor.take("waits", monitor_id="m")
    executor.take("succeeds", monitor_id="m", **{"at": AT + 2} | tick)
    [skipped] = await executor.sent(1)
    assert skipped.status is Status.SKIPPED
    assert (skipped.manual, skipped.attempt) == (tick.get("manual", False), tick.get("attempt", 1))


async def test_a_tick_that_may_overlap_runs_beside_the_one_before(executor: Executor, kind: PlainKind) -> None:
    executor.take("waits", monitor_id="m", may_overlap=True)
    executor.take("succeeds", monitor_id="m", may_overlap=True, at=AT + 1_000)
    [result] = await executor.sent(1)
    assert (result.scheduled_at, result.status) == (AT + 1_000, Status.SUCCESS)


async def test_monitors_and_users_do_not_stand_in_each_others_way(wide_executor: Executor, kind: PlainKind) -> None:
    wide_executor.take("waits", user_id="a", monitor_id="m")
    wide_executor.take("succeeds", user_id="a", monitor_id="n")
    wide_executor.take("succeeds", user_id="b", monitor_id="m")
    results = await wide_executor.sent(2)
    assert {(result.user_id, result.monitor_id) for result in results} == {("a", "n"), ("b", "m")}
    assert {result.status for result in results} == {Status.SUCCESS}


@pytest.mark.parametrize("does", ["succeeds", "raises", "raises CancelledError", "gives nonsense", "hangs"])
async def test_however_a_run_ends_the_next_tick_of_its_monitor_is_run(
    executor: Executor, kind: PlainKind, does: str
) -> None:
    executor.take(does, monitor_id="m", timeout_ms=50)
    await executor.sent(1)
    async with asyncio.timeout(PATIENCE_S):
        while len(executor.checks.running):
            await asyncio.sleep(0)
    executor.take("succeeds", monitor_id="m", at=AT + 1_000)
    assert (await executor.sent(2))[-1].status is Status.SUCCESS


async def test_skipped_ticks_hold_no_slot(executor: Executor, kind: PlainKind) -> None:
    executor.take("waits", monitor_id="m")
    for number in range(20):
        executor.take("waits", monitor_id="m", at=AT + 1 + number)
    executor.take("succeeds")
    results = await executor.sent(21)
    assert [result.status for result in results] == [Status.SKIPPED] * 20 + [Status.SUCCESS]
    assert executor.acknowledged == list(range(1, 22))


@pytest.mark.parametrize("may_overlap", [False, True])
async def test_the_very_same_tick_delivered_again_is_answered_after_the_run_and_every_record_is_acknowledged(
    executor: Executor, kind: PlainKind, may_overlap: bool
) -> None:
    executor.take("waits", monitor_id="m", may_overlap=may_overlap)
    executor.take("waits", "waits", monitor_id="m", may_overlap=may_overlap)
    executor.take("succeeds")
    await executor.sent(1)
    assert executor.acknowledged == [3]  # were it to die now, another executor would have all three again

    kind.may_end.set()
    [_, *same] = await executor.sent(4)
    assert {(result.monitor_id, result.scheduled_at, result.attempt) for result in same} == {("m", AT, 1)}
    assert [result.status for result in same] == [Status.SUCCESS, Status.SKIPPED, Status.SKIPPED]
    assert "delivered again" in same[-1].reason
    assert executor.acknowledged == [3, 0, 1, 2]
    assert kind.order.count("waits") == 1


async def test_a_repetition_of_what_is_given_up_is_left_to_another_executor_too(
    executor: Executor, kind: PlainKind
) -> None:
    executor.take("hangs", "hangs", monitor_id="m")
    await asyncio.sleep(0)
    assert await executor.checks.drain(0.05) == 1
    assert executor.outbox.sent == []
    assert executor.acknowledged == []
    assert len(executor.checks.running) == 0


async def test_a_skipped_tick_whose_result_cannot_be_handed_over_ends_the_executor(
    executor: Executor, kind: PlainKind
) -> None:
    executor.take("waits", monitor_id="m")
    executor.outbox.broken = True
    executor.take("waits", monitor_id="m", at=AT + 1_000)
    with pytest.raises(KafkaException):
        await asyncio.wait_for(executor.checks.failed, 5 * PATIENCE)


# --- politeness -------------------------------------------------------------------------------------------------------


def at_host(host: str, does: str = "waits") -> str:
    return f'{{"does":"{does}","host":"{host}"}}'


@pytest.fixture
async def polite_executor():
    """Ten slots, at most two checks of one host at once, and no limit on how fast."""
    async with open_run_context(SystemClock(), Guard()) as context:
        executor = Executor(context, max_in_flight=10, target_in_flight=2, target_per_s=0)
        yield executor
        await executor.checks.drain(0)


async def test_thousands_of_ticks_of_one_slow_host_hold_up_no_others(
    polite_executor: Executor, kind: PlainKind
) -> None:
    before = len(asyncio.all_tasks())
    polite_executor.take(*[at_host("slow.example")] * 5_000)
    polite_executor.take(*[at_host(f"host-{number}.example", "succeeds") for number in range(500)])
    results = await polite_executor.sent(500)
    assert {result.status for result in results} == {Status.SUCCESS}
    assert (kind.running, len(asyncio.all_tasks()) - before) == (2, 2)
    assert polite_executor.held[TOPICS.ticks].parked == 4_998


async def test_what_waits_for_its_host_is_run_as_checks_of_that_host_end(
    polite_executor: Executor, kind: PlainKind
) -> None:
    polite_executor.take(*[at_host("slow.example")] * 50)
    await polite_executor.has_run(kind, 2)
    kind.may_end.set()
    results = await polite_executor.sent(50)
    assert kind.most_running == 2
    assert {result.status for result in results} == {Status.SUCCESS}
    assert sorted(polite_executor.acknowledged) == list(range(50))
    assert polite_executor.held[TOPICS.ticks].parked == 0


async def test_waiting_for_a_host_does_not_count_towards_the_timeout_and_shows_as_lateness(
    polite_executor: Executor, kind: PlainKind
) -> None:
    polite_executor.take(*[at_host("slow.example", "hangs")] * 2, timeout_ms=200)
    polite_executor.take(at_host("slow.example", "succeeds"), timeout_ms=50)
    results = await polite_executor.sent(3)
    [late] = [result for result in results if result.status is Status.SUCCESS]
    hanging = min(result.started_at for result in results)
    assert late.started_at - hanging >= 190
    assert late.duration_ms < 50


async def test_urgent_ticks_of_a_host_overtake_those_that_wait_for_it(
    polite_executor: Executor, kind: PlainKind
) -> None:
    polite_executor.take(*[at_host("slow.example")] * 2)
    polite_executor.take(at_host("slow.example", "low"), topic=TOPICS.ticks_low)
    polite_executor.take(at_host("slow.example", "normal"), topic=TOPICS.ticks)
    polite_executor.take(at_host("slow.example", "high"), topic=TOPICS.ticks_high)
    await asyncio.sleep(0)
    kind.may_end.set()
    await polite_executor.sent(5)
    assert kind.order[2:] == ["high", "normal", "low"]


async def test_starts_at_one_host_are_spread_by_a_single_timer(kind: PlainKind) -> None:
    async with open_run_context(SystemClock(), Guard()) as context:
        executor = Executor(context, max_in_flight=100, target_in_flight=0, target_per_s=50)
        began_s = SystemClock().monotonic_s()
        executor.take(*[at_host("a.example", "succeeds")] * 20, *[at_host("b.example", "succeeds")] * 20)
        await executor.sent(40)
        # the first five at once, the others 20 ms apart
        assert SystemClock().monotonic_s() - began_s >= 14 * 0.02
        await executor.checks.drain(0)


async def test_without_limits_nothing_waits_for_its_host(kind: PlainKind) -> None:
    async with open_run_context(SystemClock(), Guard()) as context:
        executor = Executor(context, max_in_flight=100, target_in_flight=0, target_per_s=0)
        executor.take(*[at_host("a.example")] * 80)
        await executor.has_run(kind, 80)
        await executor.checks.drain(0)


async def test_of_ticks_that_become_due_while_their_monitor_waits_for_its_host_the_freshest_is_run(
    polite_executor: Executor, kind: PlainKind
) -> None:
    polite_executor.take(*[at_host("slow.example")] * 2)
    for number in range(3):
        polite_executor.take(at_host("slow.example"), monitor_id="m", at=AT + 1_000 * number)
    skipped = await polite_executor.sent(2)
    assert [(each.status, each.scheduled_at - AT) for each in skipped] == [(Status.SKIPPED, 0), (Status.SKIPPED, 1_000)]
    assert {each.reason for each in skipped} == {
        "it was still waiting for its turn at slow.example when the next one was due (overlap: skip)"
    }
    kind.may_end.set()
    results = await polite_executor.sent(5)
    assert [(each.status, each.scheduled_at - AT) for each in results if each.monitor_id == "m"][2:] == [
        (Status.SUCCESS, 2_000)
    ]
    assert polite_executor.held[TOPICS.ticks].parked == 0


async def test_the_very_same_tick_delivered_again_while_it_waits_for_its_host_is_run_once(
    polite_executor: Executor, kind: PlainKind
) -> None:
    polite_executor.take(*[at_host("slow.example")] * 2)
    polite_executor.take(*[at_host("slow.example", "succeeds")] * 2, monitor_id="m")
    await asyncio.sleep(0)
    # the one waits for its host and the other for the one: neither blocks a partition
    assert polite_executor.held[TOPICS.ticks].parked == 2
    kind.may_end.set()
    results = await polite_executor.sent(4)
    assert [result.status for result in results if result.monitor_id == "m"] == [Status.SUCCESS, Status.SKIPPED]
    assert polite_executor.held[TOPICS.ticks].parked == 0
    assert sorted(polite_executor.acknowledged) == [0, 1, 2, 3]


async def test_ticks_of_a_revoked_partition_that_wait_for_their_host_are_left_to_its_new_owner(
    polite_executor: Executor, kind: PlainKind
) -> None:
    polite_executor.take(*[at_host("slow.example")] * 2, topic=TOPICS.ticks_high)
    polite_executor.take(*[at_host("slow.example", "revoked")] * 100, monitor_id="m", may_overlap=True, at=AT + 1)
    former = polite_executor.held[TOPICS.ticks]
    assert not former.busy  # a rebalance does not wait for them
    former.revoked = True
    # the partition comes back, and with it the first of these ticks
    polite_executor.held[TOPICS.ticks] = HeldPartition(TOPICS.ticks, 3)
    polite_executor.take(at_host("slow.example", "again"), monitor_id="m", may_overlap=True, at=AT + 1)
    kind.may_end.set()
    results = await polite_executor.sent(3)
    assert [result.status for result in results] == [Status.SUCCESS] * 3
    assert kind.order == ["waits", "waits", "again"]
    assert sorted(polite_executor.acknowledged) == [0, 1, 102]


async def test_draining_leaves_what_waits_for_its_host_to_others(polite_executor: Executor, kind: PlainKind) -> None:
    polite_executor.take(*[at_host("slow.example")] * 10)
    await asyncio.sleep(0)
    asyncio.get_running_loop().call_later(0.02, kind.may_end.set)
    assert await polite_executor.checks.drain(5) == 0
    assert sorted(polite_executor.acknowledged) == [0, 1]


async def test_a_kind_that_cannot_tell_its_target_is_run_all_the_same(
    polite_executor: Executor, kind: PlainKind
) -> None:
    kind.target = lambda config: 1 / 0
    polite_executor.take("succeeds")
    kind.target = lambda config: None
    polite_executor.take("succeeds")
    assert [result.status for result in await polite_executor.sent(2)] == [Status.SUCCESS] * 2


@pytest.mark.parametrize(
    ("kind_name", "config", "host"),
    [
        ("http", {"url": "https://Shop.Example:8443/a"}, "shop.example"),
        ("http", {"url": "http://[2001:DB8::7]/"}, "2001:db8::7"),
        ("webhook", {"url": "https://shop.example./hooks"}, "shop.example"),
        ("tcp", {"host": "Cache.example", "port": 80}, "cache.example"),
        ("tls", {"host": "shop.example"}, "shop.example"),
        ("dns", {"name": "a.example", "server": "NS1.example:53"}, "ns1.example"),
        ("dns", {"name": "a.example"}, ""),
        ("publish", {"topic": "orders"}, ""),
        ("tcp", {"host": "no port"}, ""),
        ("nope", {}, ""),
    ],
)
def test_the_target_of_a_check_is_its_host_as_it_is_written(
    kind_name: str, config: dict[str, object], host: str
) -> None:
    tick = Tick("user", "m", 0, kind_name, msgspec.json.encode(config).decode(), 1_000, 1, 0)
    assert target_of(job_of(tick, ConfigSecrets())) == host


# --- coming and going -------------------------------------------------------------------------------------------------


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


# --- late ticks -------------------------------------------------------------------------------------------------------


def ago(seconds: float) -> int:
    return SystemClock().now_ms() - round(seconds * 1_000)


LAST = {"misfire": Misfire.FIRE_LAST, "misfire_grace_ms": 60_000}


async def test_of_late_ticks_the_freshest_is_run_first_and_what_is_older_than_the_grace_is_one_skipped_result(
    executor: Executor, kind: PlainKind
) -> None:
    executor.held[TOPICS.ticks].is_behind = True
    # on a busy machine half a minute may pass until they are judged
    late, ran = [ago(seconds) for seconds in range(125, 60, -10)], [ago(seconds) for seconds in (25, 15, 5)]
    for at in late + ran:
        executor.take("succeeds", monitor_id="m", at=at, **LAST)
    executor.held[TOPICS.ticks].is_behind = False
    executor.checks.accept([])
    results = await executor.sent(len(ran) + 1)
    [skipped] = [result for result in results if result.status is Status.SKIPPED]
    assert (skipped.scheduled_at, skipped.skipped_until) == (late[0], late[-1])
    assert skipped.skipped_count == len(late)
    assert "longer than the grace of 60 s" in skipped.reason
    run = [result.scheduled_at for result in results if result.status is not Status.SKIPPED]
    assert run == [ran[-1], *ran[:-1]]
    assert sorted(executor.acknowledged) == list(range(len(late) + len(ran)))


async def test_a_late_tick_is_not_begun_while_its_partition_has_more_to_read(
    executor: Executor, kind: PlainKind
) -> None:
    executor.held[TOPICS.ticks].is_behind = True
    executor.take("late", monitor_id="m", at=ago(300), **LAST)
    executor.take("succeeds", monitor_id="other", at=ago(0), **LAST)
    [other] = await executor.sent(1)
    assert other.monitor_id == "other"
    executor.take("fresh", monitor_id="m", at=ago(0), **LAST)
    results = await executor.sent(3)
    assert kind.order == ["succeeds", "fresh"]
    assert [result.status for result in results if result.monitor_id == "m"] == [Status.SKIPPED, Status.SUCCESS]


async def test_a_late_tick_that_nothing_follows_is_run_when_its_partition_is_read(
    executor: Executor, kind: PlainKind
) -> None:
    executor.held[TOPICS.ticks].is_behind = True
    executor.take("late", monitor_id="m", at=ago(300), **LAST)
    executor.take("task", monitor_id="t", at=ago(80_000), **LAST)
    executor.take("skipped", monitor_id="s", at=ago(300), misfire=Misfire.SKIP)
    assert executor.outbox.sent == []
    executor.held[TOPICS.ticks].is_behind = False
    executor.checks.accept([])
    results = await executor.sent(3)
    assert {result.monitor_id: result.status for result in results} == {
        "m": Status.SUCCESS,
        "t": Status.SUCCESS,
        "s": Status.SKIPPED,
    }


async def test_a_tick_that_becomes_due_while_a_late_one_of_its_monitor_runs_is_run_after_it(
    executor: Executor, kind: PlainKind
) -> None:
    executor.take("waits", monitor_id="m", at=ago(30), **LAST)
    await executor.has_run(kind, 1)
    executor.take("fresh", monitor_id="m", at=ago(-1), **LAST)
    assert executor.outbox.sent == []
    kind.may_end.set()
    results = await executor.sent(2)
    assert [result.status for result in results] == [Status.SUCCESS] * 2


async def test_where_memory_is_short_only_the_newest_of_a_monitors_late_ticks_is_kept(kind: PlainKind) -> None:
    async with open_run_context(SystemClock(), Guard()) as context:
        executor = Executor(context, max_in_flight=3, check_limits=CheckLimits(crowded=2))
        executor.take("waits", "waits", at=ago(0))
        for seconds in (50, 40, 30, 20):
            executor.take("late", monitor_id="m", at=ago(seconds), **LAST)
        skipped = await executor.sent(1)
        assert {result.status for result in skipped} == {Status.SKIPPED}
        assert "more than 2 ticks wait for an executor" in skipped[0].reason
        assert executor.held[TOPICS.ticks].parked <= 3
        await executor.checks.drain(0)


# --- after a standstill -----------------------------------------------------------------------------------------------


@pytest.fixture
async def stopped(kind: PlainKind, request: pytest.FixtureRequest):
    """An executor whose ticks wait in it, and its clock. A parameter is how long it waits for cancellations, s."""
    limits = CheckLimits(look_every_s=0.01, cancellations_within_s=getattr(request, "param", PATIENCE_S))
    clock = SettableClock(AT)
    async with open_run_context(clock, Guard()) as context:
        executor = Executor(context, max_in_flight=3, check_limits=limits)
        executor.knows_all = False
        for held in executor.held.values():
            held.looked_s = 0.0
        executor.take("waits", "waits", at=AT)  # all slots that normal ticks may have
        executor.take("queued", monitor_id="m", at=AT, **LAST)
        executor.take("task", monitor_id="task", at=AT, misfire=Misfire.FIRE_ALL)
        await executor.has_run(kind, 2)
        yield executor, clock
        await executor.checks.drain(0)


async def go_on(executor: Executor, clock: SettableClock, kind: PlainKind) -> None:
    """It stands still; then slots are free, and that is noticed."""
    clock.advance(125_000)
    kind.may_end.set()
    await executor.sent(2)
    async with asyncio.timeout(PATIENCE_S):
        while not executor.asked:
            await asyncio.sleep(0)


def look(executor: Executor, clock: SettableClock) -> None:
    """The consumer has looked at the partition: there is no more to read of it."""
    held = executor.held[TOPICS.ticks]
    held.is_behind, held.looked_s = False, clock.monotonic_s()
    executor.checks.accept([])


async def test_what_waited_through_a_standstill_is_not_begun_before_it_is_known_what_was_cancelled(
    stopped: tuple[Executor, SettableClock], kind: PlainKind
) -> None:
    executor, clock = stopped
    await go_on(executor, clock, kind)
    look(executor, clock)
    assert kind.order == ["waits"] * 2
    executor.checks.cancel([(("user", "task"), Cancellation(AT + 1, is_deleted=True))])
    executor.asked[0].set_result(None)
    results = await executor.sent(4)
    assert kind.order == ["waits", "waits", "queued"]
    assert {each.monitor_id: each.status for each in results[2:]} == {"task": Status.SKIPPED, "m": Status.SUCCESS}


async def test_what_waited_through_a_standstill_is_superseded_by_what_is_fresh_on_its_topic(
    stopped: tuple[Executor, SettableClock], kind: PlainKind
) -> None:
    executor, clock = stopped
    await go_on(executor, clock, kind)
    executor.asked[0].set_result(None)
    # the partition was not looked at since, and then it has more to read
    await asyncio.sleep(0.05)
    executor.held[TOPICS.ticks].is_behind = True
    executor.held[TOPICS.ticks].looked_s = clock.monotonic_s()
    executor.checks.accept([])
    assert kind.order == ["waits"] * 2
    executor.take("fresh", monitor_id="m", at=AT + 125_000, **LAST)
    look(executor, clock)
    results = await executor.sent(5)
    assert sorted(kind.order[2:]) == ["fresh", "task"]
    assert [each.scheduled_at for each in results if each.status is Status.SKIPPED] == [AT]


async def test_what_is_known_of_a_first_standstill_does_not_end_the_wait_after_a_second(
    stopped: tuple[Executor, SettableClock], kind: PlainKind
) -> None:
    executor, clock = stopped
    await go_on(executor, clock, kind)
    clock.advance(125_000)
    async with asyncio.timeout(PATIENCE_S):
        while len(executor.asked) < 2:
            await asyncio.sleep(0)
    look(executor, clock)
    executor.asked[0].set_result(None)
    await asyncio.sleep(0.05)
    assert kind.order == ["waits"] * 2
    executor.asked[1].set_result(None)
    await executor.sent(4)
    assert sorted(kind.order[2:]) == ["queued", "task"]


async def test_what_came_within_its_grace_is_begun_at_once_when_it_is_known_what_was_cancelled(
    stopped: tuple[Executor, SettableClock], kind: PlainKind
) -> None:
    executor, clock = stopped
    await go_on(executor, clock, kind)
    # read to its end: the newest tick of the monitor is late, and within its grace
    executor.take("newest", monitor_id="n", at=AT + 118_000, **LAST)
    look(executor, clock)
    assert kind.order == ["waits"] * 2
    executor.asked[0].set_result(None)
    await executor.has_run(kind, 5)
    assert sorted(kind.order[2:]) == ["newest", "queued", "task"]


@pytest.mark.parametrize("stopped", [0.05], indirect=True)
async def test_cancellations_that_cannot_be_read_are_not_waited_for_for_ever(
    stopped: tuple[Executor, SettableClock], kind: PlainKind
) -> None:
    executor, clock = stopped
    await go_on(executor, clock, kind)
    look(executor, clock)
    await executor.sent(4)
    assert sorted(kind.order[2:]) == ["queued", "task"]


# --- what is paused or deleted ----------------------------------------------------------------------------------------

ALL = {"misfire": Misfire.FIRE_ALL, "may_overlap": True}


async def test_ticks_of_a_monitor_that_was_paused_are_skipped_in_bulk_and_runs_by_hand_are_not(
    executor: Executor, kind: PlainKind
) -> None:
    now = SystemClock().now_ms()
    executor.take("waits", "waits")  # all slots that low and normal ticks may have
    for seconds in (30, 20, 10):
        executor.take("late", monitor_id="m", at=now - 1_000 * seconds, **ALL)
    executor.take("by hand", monitor_id="m", at=now - 8_000, manual=True, **ALL)
    executor.take("retry", monitor_id="m", at=now - 9_000, attempt=2, **ALL)
    executor.take("resumed", monitor_id="m", at=now, **ALL)
    executor.checks.cancel([(("user", "m"), Cancellation(now - 5_000))])
    kind.may_end.set()
    results = [result for result in await executor.sent(6) if result.monitor_id == "m"]
    assert kind.order[2:] in (["by hand", "resumed"], ["resumed", "by hand"])
    skipped = [result for result in results if result.status is Status.SKIPPED]
    assert sorted((each.attempt, each.skipped_count) for each in skipped) == [(1, 3), (2, 1)]
    assert {each.reason for each in skipped} == {"its monitor was paused before an executor came to it"}
    assert sorted(executor.acknowledged) == list(range(8))


async def test_nothing_of_a_user_who_was_deregistered_is_run_before_the_user_is_back(
    executor: Executor, kind: PlainKind
) -> None:
    executor.checks.cancel([(("user", ""), Cancellation(ago(5), is_deleted=True))])
    executor.take("late", monitor_id="m", at=ago(30), **ALL)
    executor.take("by hand", monitor_id="m", at=ago(8), manual=True, **ALL)
    executor.take("back", monitor_id="m", at=ago(1), **ALL)
    executor.take("another", monitor_id="m", at=ago(30), user_id="user-2", **ALL)
    results = await executor.sent(4)
    assert sorted(kind.order) == ["another", "back"]
    assert {result.reason for result in results if result.status is Status.SKIPPED} == {
        "its monitor was deleted before an executor came to it"
    }


async def test_late_ticks_that_wait_are_left_to_the_partitions_new_owner(executor: Executor, kind: PlainKind) -> None:
    executor.held[TOPICS.ticks].is_behind = True
    executor.take("late", monitor_id="m", at=ago(300), **LAST)
    executor.held[TOPICS.ticks].revoked = True
    executor.checks.accept([])
    executor.take("succeeds", topic=TOPICS.ticks_high)
    await executor.sent(1)
    assert kind.order == ["succeeds"]


async def test_quick_checks_of_many_users_do_not_wait_behind_slow_ones(kind: PlainKind) -> None:
    async with open_run_context(SystemClock(), Guard()) as context:
        executor = Executor(context, max_in_flight=200, target_in_flight=0, target_per_s=0)
        for user in range(12):
            executor.take(*["waits"] * 40, user_id=f"slow-{user}")
        for user in range(50):
            executor.take("succeeds", user_id=f"healthy-{user}")
        results = await executor.sent(50)
        assert {result.user_id.partition("-")[0] for result in results} == {"healthy"}
        await executor.checks.drain(0)

"""Trials in an executor: the whole process over Kafka in memory, and checks of a server of this machine."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
from support.processes import running
from support.target import Target
from support.waiting import PATIENCE

from everwatch.core.clock import SettableClock, SystemClock
from everwatch.core.config import Settings, load_settings
from everwatch.core.errors import InvalidInput
from everwatch.encoding.trial_records import TrialOutcome, TrialRequest, decode_trial, encode_trial
from everwatch.executor.executor_process import Executor
from everwatch.executor.trials import AT_ONCE, MOST_WAITING, Trials
from everwatch.kafka.memory import MemoryClients, MemoryKafka
from everwatch.kafka.topics import Topics
from everwatch.model import Outcome, Status

TOPICS = Topics.of(Settings())


def request(url: str, number: int = 0, **more: Any) -> TrialRequest:
    """A check of a web page."""
    given = {"timeout_ms": 5_000, "expires_at": 4_000_000_000_000} | more
    return TrialRequest(f"t-{number}", "http", msgspec.json.encode({"url": url}).decode(), **given)


class Executing:
    """An executor that runs, and its Kafka."""

    def __init__(self, kafka: MemoryKafka) -> None:
        self.kafka = kafka
        self._producer = MemoryClients(kafka).producer()
        self._number = 0

    def send(self, value: bytes) -> None:
        self._producer.produce(TOPICS.trials, key=b"t", value=value, partition=0)
        self._producer.flush()

    def outcomes(self) -> list[TrialOutcome]:
        """Return what was found so far."""
        return [
            decode_trial(each.value, TrialOutcome)
            for each in self.kafka.records(TOPICS.trial_results)
            if b'"trial_id"' in (each.value or b"")  # executors note on this topic that they are at work
        ]

    async def tried(self, url: str, **more: Any) -> TrialOutcome:
        """Ask until it is answered: an executor that joins its group sees what is asked for from then on."""
        async with asyncio.timeout(30 * PATIENCE):
            while True:
                self._number += 1
                asked = request(url, self._number, **more)
                self.send(encode_trial(asked)[1])
                for _ in range(100):
                    await asyncio.sleep(0.01)
                    found = [each for each in self.outcomes() if each.trial_id == asked.trial_id]
                    if found:
                        return found[0]


@asynccontextmanager
async def executing(**more: Any) -> AsyncIterator[Executing]:
    settings = load_settings(partitions=1, **more)
    kafka = MemoryKafka(1)
    for topic in TOPICS.all:
        kafka.create(topic)
    async with running(Executor(settings, MemoryClients(kafka), SystemClock(), "executor-1")):
        yield Executing(kafka)


async def test_a_trial_is_run_and_nothing_of_it_is_a_result() -> None:
    with Target() as target:
        async with executing(allow_networks="127.0.0.0/8") as executor:
            found = await executor.tried(target.url("/ok"))
            assert (found.status, found.executor) == (Status.SUCCESS, "executor-1")
            assert found.timings
            broken = await executor.tried(target.url("/broken"))
            assert (broken.status, broken.reason) == (Status.FAILURE, "status 500, expected 200-299")
            assert executor.kafka.records(TOPICS.results) == []
            assert executor.kafka.records(TOPICS.transitions) == []


async def test_the_guard_of_the_executor_holds_for_trials_and_a_wrong_record_harms_no_other() -> None:
    with Target() as target:
        async with executing() as executor:
            executor.send(b"{")
            executor.send(msgspec.json.encode({"trial_id": "x", "timeout_ms": 10**9}))
            found = await executor.tried(target.url("/ok"))
            assert found.status is Status.FAILURE
            assert "127.0.0.1" in found.reason
            assert not target.hits


class SlowKind:
    """Runs of these tests: each waits until ``go`` is set."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.owners: list[tuple[str, str]] = []
        self.go = asyncio.Event()

    async def run(self, job: Any, tick: Any, context: Any, on_error: Any) -> Outcome:
        self.begun.append(tick.config)
        self.owners.append((tick.user_id, tick.monitor_id))
        await self.go.wait()
        return Outcome(Status.SUCCESS)


class Outbox:
    def __init__(self) -> None:
        self.sent: list[TrialOutcome] = []

    def send(self, topic: str, *, partition: int, key: bytes, value: bytes) -> None:
        self.sent.append(decode_trial(value, TrialOutcome))


async def test_only_some_trials_run_at_once_and_those_that_nobody_waits_for_are_dropped() -> None:
    slow, outbox, clock = SlowKind(), Outbox(), SettableClock(1_000)
    context: Any = type("Context", (), {"clock": clock})()
    made = Trials(Settings(), context, outbox, "e", slow.run)  # type: ignore[arg-type]
    made.accept([(0, request("http://a", n, expires_at=1_000_000)) for n in range(AT_ONCE + 3)])
    made.accept([(0, request("http://a", 99, expires_at=9_000_000))])
    await asyncio.sleep(0)
    assert len(slow.begun) == AT_ONCE
    clock.advance(5_000_000)
    slow.go.set()
    async with asyncio.timeout(10 * PATIENCE):
        while len(outbox.sent) <= AT_ONCE:
            await asyncio.sleep(0)
    assert len(set(slow.owners)) == AT_ONCE + 1, "kinds keep connections by them: no trial has another's"
    assert [each.trial_id for each in outbox.sent] == [*(f"t-{n}" for n in range(AT_ONCE)), "t-99"]
    slow.go.clear()
    made.accept([(0, request("http://a", n)) for n in range(AT_ONCE + MOST_WAITING + 50)])
    await asyncio.sleep(0)
    await made.close()
    assert len(outbox.sent) == AT_ONCE + 1


async def test_a_trial_gives_up_its_place_when_nobody_waits_for_it_any_more() -> None:
    slow, outbox = SlowKind(), Outbox()
    context: Any = type("Context", (), {"clock": SettableClock(1_000)})()
    made = Trials(Settings(), context, outbox, "e", slow.run)  # type: ignore[arg-type]
    made.accept([(0, request("http://a", n, expires_at=1_020)) for n in range(AT_ONCE)])
    made.accept([(0, request("http://a", 99))])
    async with asyncio.timeout(10 * PATIENCE):
        while len(slow.begun) <= AT_ONCE:
            await asyncio.sleep(0.01)
    slow.go.set()
    async with asyncio.timeout(10 * PATIENCE):
        while not outbox.sent:
            await asyncio.sleep(0)
    await made.close()
    assert [each.trial_id for each in outbox.sent] == ["t-99"]


def test_what_is_no_trial_is_refused_with_its_reason() -> None:
    for value in (None, b"{", b"[]", b'{"trial_id": ""}', b"\xff"):
        with pytest.raises(InvalidInput, match="not a trial"):
            decode_trial(value, TrialRequest)

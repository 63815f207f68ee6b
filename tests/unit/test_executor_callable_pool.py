"""Callables in an executor: noisy, slow and trivial ones beside each other, from their ticks to their results."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import Future
from math import inf
from pathlib import Path
from typing import Any

import msgspec
import pytest

from everwatch.core.clock import SystemClock
from everwatch.core.config import Settings
from everwatch.encoding import codec
from everwatch.executor.assignment import HeldPartition
from everwatch.executor.callable_pool import budgets_of, open_callables
from everwatch.executor.check_runner import CheckOutputs, Checks
from everwatch.executor.result_sender import ResultSender
from everwatch.kafka.topics import Topics
from everwatch.kinds import callable_interface as found_callables
from everwatch.kinds.execution.run_context import open_run_context
from everwatch.model import Result, Status, Tick
from everwatch.network.guard import Guard

SETTINGS = Settings(max_in_flight=10, python_processes=2, python_output_kb=16, python_output_kb_per_min=64)
TOPICS = Topics.of(SETTINGS)
SOURCE = """
import os, time

def noisy(arguments, context):
    for _ in range(50):
        os.write(2, b"noise!!\\n" * (1 << 17))

def slow(arguments, context):
    while not os.path.exists(arguments["until"]):
        time.sleep(0.05)

def trivial(arguments, context):
    return "well"
"""
NAMES = ("noisy", "slow", "trivial")


class Message:
    """A tick's record."""

    def __init__(self, offset: int, tick: Tick) -> None:
        self._offset, self._tick = offset, tick

    def topic(self) -> str:
        return TOPICS.ticks

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return self._offset

    def key(self) -> bytes:
        return b"crowd"

    def value(self) -> bytes:
        return codec.encode_tick(self._tick)

    def timestamp(self) -> tuple[int, int]:
        return 1, self._tick.scheduled_at


class Outbox:
    """Delivers at once."""

    def __init__(self) -> None:
        self.results: list[Result] = []
        self.more = asyncio.Event()

    def send(self, topic: str, **record: Any) -> None:
        assert topic == TOPICS.results
        self.results.append(codec.decode_result(record["value"]))
        record["on_delivered"](None)
        self.more.set()

    async def holds(self, name: str, count: int) -> list[Result]:
        """Wait for so many results of a callable."""
        async with asyncio.timeout(300):
            while len(found := [each for each in self.results if each.monitor_id.startswith(name)]) < count:
                self.more.clear()
                await self.more.wait()
            return found


@pytest.fixture(autouse=True)
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "crowd.py").write_text(SOURCE)
    info = tmp_path / "crowd-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: crowd\nVersion: 1.0\n")
    points = "".join(f"{name} = crowd:{name}\n" for name in NAMES)
    (info / "entry_points.txt").write_text(f"[everwatch.callables]\n{points}")
    monkeypatch.syspath_prepend(str(tmp_path))
    found_callables.forget()
    yield
    found_callables.forget()


async def test_noisy_and_slow_callables_neither_fill_the_log_nor_keep_a_trivial_one_from_its_time(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The slow ones end when all others have, so each of the others is one that did not have to wait for them."""
    # a busy machine is slow with what is quick
    clock, outbox, go = SystemClock(), Outbox(), tmp_path / "go"
    # on a busy machine this process may stand still, too: that is nothing to wait for
    held, all_is_known = HeldPartition(TOPICS.ticks, 0, is_behind=False, looked_s=inf), Future[None]()
    all_is_known.set_result(None)
    async with (
        open_callables(clock, SETTINGS.python_processes, 0, budgets_of(SETTINGS), quick_s=5.0) as callables,
        open_run_context(clock, Guard(), callables=callables) as context,
    ):
        sender = ResultSender(SETTINGS, outbox, clock, "executor-1")  # type: ignore[arg-type]
        checks = Checks(SETTINGS, context, CheckOutputs(outbox, lambda *_: None, sender), lambda: all_is_known)  # type: ignore[arg-type]
        offset = 0

        def take(name: str, count: int) -> int:
            nonlocal offset
            config = msgspec.json.encode({"callable": name, "arguments": {"until": str(go)}}).decode()
            now = clock.now_ms()
            ticks = [Tick("crowd", f"{name}-{offset + i}", now, "python", config, 600_000, 1, 0) for i in range(count)]
            messages = [Message(offset + i, tick) for i, tick in enumerate(ticks)]
            offset += count
            checks.accept([(held, message) for message in messages])  # type: ignore[misc]
            return now

        # many more than there are slots
        asked_at = take("slow", 20)
        await asyncio.sleep(6)  # by then what runs is slow
        take("noisy", 4)
        take("trivial", 20)
        trivial, noisy = await outbox.holds("trivial", 20), await outbox.holds("noisy", 4)
        assert {result.status for result in (*trivial, *noisy)} == {Status.SUCCESS}
        assert not await outbox.holds("slow", 0)
        go.touch()
        slow = await outbox.holds("slow", 20)
        await checks.drain(5)
    assert {result.status for result in slow} == {Status.SUCCESS}
    # of 200 MiB
    assert len(capfd.readouterr().err) < 100_000
    # all of them were asked for at once, and for those that had to wait for the first one's process that is delay
    waited = [result for result in slow if result.timings["wait"] > 5_000]
    assert waited
    for result in waited:
        assert result.started_at - asked_at >= result.timings["wait"] - 1
        assert result.duration_ms < result.timings["wait"]
    # the others waited without a slot
    assert all(result.started_at - asked_at > 6_000 for result in slow[1:])

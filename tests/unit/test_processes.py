"""The life of a process: how it starts, what ends it, and what probes are told meanwhile.

All in one file: one skeleton, in the order of its life.
"""

import asyncio
import os
import random
import signal
import subprocess
import sys
import threading
from typing import ClassVar

import pytest
from support.waiting import PATIENCE, wait_until

from everwatch.core.clock import SettableClock, SystemClock
from everwatch.core.config import Settings
from everwatch.core.errors import BrokerUnavailable, StoreError
from everwatch.processes import Process
from everwatch.processes.health import Health
from everwatch.processes.running import live


class Steps(Process):
    """Notes its steps, and waits or fails where it is told to."""

    name: ClassVar[str] = "steps"

    def __init__(self, **errors: Exception) -> None:
        super().__init__(Settings(), SystemClock())
        self.seen: list[str] = []
        self.errors = errors
        self.waits: dict[str, asyncio.Event] = {}

    async def _step(self, name: str) -> None:
        self.seen.append(name)
        if name in self.waits:
            try:
                await self.waits[name].wait()
            except asyncio.CancelledError:
                self.seen.append(f"{name} cancelled")
                raise
        if name in self.errors:
            raise self.errors[name]

    async def start(self) -> None:
        await self._step("start")

    async def run(self) -> None:
        await self._step("run")
        await self.stopping.wait()

    async def stop(self) -> None:
        await self._step("stop")


async def reached(process: Steps, step: str) -> None:
    async with asyncio.timeout(30 * PATIENCE):
        while step not in process.seen:
            await asyncio.sleep(0)


def forbidden(status: int) -> None:
    raise AssertionError(f"ended with status {status}")


@pytest.fixture
def clock() -> SettableClock:
    return SettableClock(1_000_000)


# --- its life ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_ends_it_in_order(number: signal.Signals) -> None:
    process = Steps()
    life = asyncio.create_task(live(process, forbidden))
    await reached(process, "run")
    os.kill(os.getpid(), number)
    await life
    assert process.seen == ["start", "run", "stop"]


async def test_what_fails_at_the_start_is_raised_after_a_stop() -> None:
    process = Steps(start=StoreError("the database is gone"))
    with pytest.raises(StoreError, match="the database is gone"):
        await live(process, forbidden)
    assert process.seen == ["start", "stop"]


async def test_a_signal_while_it_starts_does_not_wait_for_the_start() -> None:
    process = Steps()
    process.waits["start"] = asyncio.Event()
    life = asyncio.create_task(live(process, forbidden))
    await reached(process, "start")
    os.kill(os.getpid(), signal.SIGTERM)
    await life
    assert process.seen == ["start", "start cancelled", "stop"]


async def test_a_second_signal_ends_it_at_once() -> None:
    process = Steps()
    process.waits["stop"] = asyncio.Event()
    statuses: list[int] = []

    def end(status: int) -> None:
        statuses.append(status)
        process.waits["stop"].set()

    life = asyncio.create_task(live(process, end))
    await reached(process, "run")
    os.kill(os.getpid(), signal.SIGTERM)
    await reached(process, "stop")
    assert statuses == []
    os.kill(os.getpid(), signal.SIGINT)
    await life
    assert statuses == [130]


async def test_a_part_that_dies_ends_the_process_with_its_sentence() -> None:
    process = Steps()

    async def dies() -> None:
        raise BrokerUnavailable("topic results is gone")

    life = asyncio.create_task(live(process, forbidden))
    await reached(process, "run")
    process.begin("reader", dies())
    with pytest.raises(BrokerUnavailable, match="topic results is gone"):
        await life
    assert process.seen[-1] == "stop"


async def test_work_that_does_not_end_after_a_part_has_died_is_ended() -> None:
    loop, let_go, statuses = asyncio.get_running_loop(), asyncio.Event(), []

    class Stuck(Steps):
        async def run(self) -> None:
            self.seen.append("run")
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                await let_go.wait()

    def end(status: int) -> None:
        statuses.append(status)
        loop.call_soon_threadsafe(let_go.set)

    process = Stuck()
    life = asyncio.create_task(live(process, end, stop_within_s=0.1))
    await reached(process, "run")
    process.fail(BrokerUnavailable("topic results is gone"))
    await asyncio.wait({life}, timeout=10 * PATIENCE)
    assert statuses == [BrokerUnavailable.exit_code]
    with pytest.raises(BrokerUnavailable):
        await life


async def test_a_part_that_ends_before_the_process_is_told_by_name() -> None:
    process = Steps()
    life = asyncio.create_task(live(process, forbidden))
    await reached(process, "run")
    process.begin("reader", asyncio.sleep(0))
    with pytest.raises(RuntimeError, match="steps: reader ended although the process did not"):
        await life


async def test_parts_live_until_the_process_has_stopped() -> None:
    process = Steps()
    process.waits["stop"] = asyncio.Event()
    life = asyncio.create_task(live(process, forbidden))
    await reached(process, "run")
    part = process.begin("reader", asyncio.sleep(3_600))
    process.stopping.set()
    await reached(process, "stop")
    assert not part.done()
    process.waits["stop"].set()
    await life
    assert part.cancelled()


async def test_the_first_failure_is_the_one_that_is_raised() -> None:
    process = Steps(run=BrokerUnavailable("no broker answers"), stop=StoreError("the database is gone, too"))
    with pytest.raises(BrokerUnavailable, match="no broker answers"):
        await live(process, forbidden)


async def test_a_stop_that_only_repeats_the_failure_logs_no_stack_of_it(caplog: pytest.LogCaptureFixture) -> None:
    refused = BrokerUnavailable("no broker answers")
    with pytest.raises(BrokerUnavailable):
        await live(Steps(run=refused, stop=refused), forbidden)
    assert not caplog.records
    with pytest.raises(BrokerUnavailable):
        await live(Steps(run=refused, stop=StoreError("the database is gone, too")), forbidden)
    assert "stopping the steps failed, too" in caplog.text


async def test_a_stop_that_fails_is_told() -> None:
    process = Steps(stop=StoreError("the database is gone"))
    process.stopping.set()
    with pytest.raises(StoreError):
        await live(process, forbidden)


@pytest.mark.parametrize(("failure", "status"), [(None, 0), (StoreError("gone"), 6), (ValueError("odd"), 1)])
async def test_a_stop_that_takes_too_long_is_given_up_with_the_status_of_its_cause(
    failure: Exception | None, status: int
) -> None:
    process = Steps(**({} if failure is None else {"run": failure}))
    process.waits["stop"] = asyncio.Event()
    loop = asyncio.get_running_loop()
    statuses: list[int] = []

    def end(status: int) -> None:
        statuses.append(status)
        loop.call_soon_threadsafe(process.waits["stop"].set)

    life = asyncio.create_task(live(process, end, stop_within_s=0.05))
    await reached(process, "run")
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.wait({life})
    life.exception()
    assert statuses == [status]


@pytest.mark.parametrize("seed", range(40))
async def test_whenever_a_signal_and_a_failure_come_it_stops_once_and_tells_the_failure(seed: int) -> None:
    """Signals, failing parts and failing steps at random moments of its life."""
    chance = random.Random(seed)
    error = BrokerUnavailable("no broker answers")
    process = Steps(**({chance.choice(["start", "run"]): error} if chance.random() < 0.3 else {}))
    for step in ("start", "stop"):
        if chance.random() < 0.5:
            process.waits[step] = asyncio.Event()
    life = asyncio.create_task(live(process, forbidden))

    async def fails(after: int) -> None:
        for _ in range(after):
            await asyncio.sleep(0)
        raise error

    for _ in range(chance.randrange(6)):
        await asyncio.sleep(0)
    fails_too = chance.random() < 0.5
    if fails_too and not life.done():
        process.begin("part", fails(chance.randrange(6)))
    for _ in range(chance.randrange(6)):
        await asyncio.sleep(0)
    if not life.done():
        os.kill(
            os.getpid(), signal.SIGTERM
        ) if chance.random() < 0.5 and "run" in process.seen else process.stopping.set()
    for _ in range(chance.randrange(6)):
        await asyncio.sleep(0)
    for event in process.waits.values():
        event.set()
    async with asyncio.timeout(30 * PATIENCE):
        await asyncio.wait({life})
    assert process.seen.count("stop") == 1
    assert process.seen[-1] == "stop"
    assert life.exception() is process.failure
    assert process.failure in (None, error)
    # nothing of it is left
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("steps")]
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_the_processes_status_is_that_of_a_second_signal() -> None:
    code = """
import asyncio
from everwatch.core.clock import SystemClock
from everwatch.core.config import Settings
from everwatch.processes import Process, run_process

class Stuck(Process):
    name = "stuck"
    async def run(self):
        print("runs", flush=True)
        await self.stopping.wait()
    async def stop(self):
        print("stops", flush=True)
        await asyncio.sleep(3600)

run_process(Stuck(Settings(), SystemClock()))
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"runs\n"
        child.send_signal(signal.SIGTERM)
        assert child.stdout.readline() == b"stops\n"
        child.send_signal(signal.SIGTERM)
        assert child.wait(30 * PATIENCE) == 128 + signal.SIGTERM


# --- its health -------------------------------------------------------------------------------------------------------


async def test_it_is_ready_when_it_runs_and_all_its_parts_are() -> None:
    process = Steps()
    reason = "not in the consumer group yet"
    process.health.expect("assignment", lambda: reason)
    process.waits["start"] = asyncio.Event()
    life = asyncio.create_task(live(process, forbidden))
    await reached(process, "start")
    ready = await asyncio.to_thread(process.health.ready)
    assert (ready.ok, ready.body["reasons"]) == (False, [{"part": "process", "reason": "starting"}])
    process.waits["start"].set()
    await reached(process, "run")
    ready = await asyncio.to_thread(process.health.ready)
    assert (ready.ok, ready.body["reasons"]) == (False, [{"part": "assignment", "reason": reason}])
    reason = ""
    ready = await asyncio.to_thread(process.health.ready)
    assert (ready.ok, ready.body["status"], ready.body["process"]) == (True, "ready", "steps")
    process.stopping.set()
    await life
    ready = await asyncio.to_thread(process.health.ready)
    assert (ready.ok, ready.body["reasons"]) == (False, [{"part": "process", "reason": "stopping"}])


async def test_a_check_that_fails_is_a_reason_and_harms_nothing_else() -> None:
    process = Steps()
    process.health.expect("odd", lambda: f"{1 / 0}")
    process.health.expect("database", lambda: "it is locked")
    assert process.health.not_ready() == {
        "odd": "its check failed: ZeroDivisionError('division by zero')",
        "database": "it is locked",
    }


def test_it_is_alive_while_its_loop_turns_and_not_when_it_hangs(clock: SettableClock) -> None:
    health = Health("steps", "here-1", "1.0", clock)
    assert health.alive().ok
    loop = asyncio.new_event_loop()
    try:
        health.beat(loop)
        clock.advance(9_000)
        assert health.alive().ok
        clock.advance(2_000)
        alive = health.alive()
        assert (alive.ok, alive.body["reasons"]) == (
            False,
            [{"part": "event loop", "reason": "has not turned for 11.0 s"}],
        )
        health.beat(loop)
        assert health.alive().ok
    finally:
        loop.close()


async def test_a_loop_that_hangs_is_told_of_by_the_thread_that_answers() -> None:
    process = Steps()
    process.health.answer_within_s = 0.05
    life = asyncio.create_task(live(process, forbidden))
    await reached(process, "run")
    seen: list[bool] = []
    asker = threading.Thread(target=lambda: seen.append(process.health.ready().ok))
    asker.start()
    wait_until("the probe is answered", lambda: seen, every_s=0.01)  # in this loop's own thread: it hangs
    assert seen == [False]
    process.stopping.set()
    await life

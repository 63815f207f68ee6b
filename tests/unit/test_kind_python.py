"""The kind python: callables of an installed package, in processes of their own that may come to any harm.

All in one file: one kind and its package of callables.
"""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest
from support.waiting import wait_until

from everwatch.core.clock import SystemClock
from everwatch.core.errors import InvalidInput
from everwatch.executor.callable_pool import CallableProcesses, open_callables
from everwatch.executor.output_budget import KIB, OutputBudgets
from everwatch.kinds import callable_interface as found_callables
from everwatch.kinds import registry
from everwatch.kinds.execution.config_secrets import ConfigSecrets
from everwatch.kinds.execution.kind_runner import job_of, run_job
from everwatch.kinds.execution.run_context import open_run_context
from everwatch.kinds.protocol import FieldError
from everwatch.kinds.python import check_callable
from everwatch.model import Outcome, Status, Tick
from everwatch.network.guard import Guard

AT = 1_795_251_600_000
BUDGETS = partial(OutputBudgets, 64 * KIB, 1_024 * KIB)
SOURCE = """
import asyncio, ctypes, json, os, re, signal, subprocess, sys, threading, time

def echo(arguments, context):
    return {"arguments": arguments, "context": [context.user_id, context.monitor_id, context.scheduled_at,
                                                context.attempt, context.payload]}

def gives(arguments, context):
    return eval(arguments["what"])

def raises(arguments, context):
    exec(arguments["code"])

async def sleeps(arguments, context):
    await asyncio.sleep(0)
    return "slept"

def other(arguments, context):
    return str(os.getpid())

def pid(arguments, context):
    return str(os.getpid())

def hangs(arguments, context):
    note(arguments)
    for number in range(1, signal.NSIG):
        try:
            signal.signal(number, signal.SIG_IGN)
        except (OSError, ValueError):
            pass
    if arguments.get("with a child"):
        child = subprocess.Popen(["sleep", "600"], preexec_fn=lambda: signal.signal(signal.SIGTERM, signal.SIG_IGN))
        with open(arguments["pids"], "a") as file:
            file.write(f"{child.pid}\\n")
    if arguments.get("holding the GIL"):
        re.match(r"(a+)+$", "a" * 64 + "b")
    while True:
        pass

def waits(arguments, context):
    note(arguments)
    while not os.path.exists(arguments["until"]):
        time.sleep(0.01)
    return "done"

def note(arguments):
    with open(arguments["pids"], "a") as file:
        file.write(f"{os.getpid()}\\n")

number = 7
"""
NAMES = ("echo", "gives", "raises", "sleeps", "other", "pid", "hangs", "waits", "number", "missing")


def install(folder: Path) -> None:
    """A package with callables, as an installer would leave it in ``folder``."""
    (folder / "probes.py").write_text(SOURCE)
    info = folder / "probes-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: probes\nVersion: 1.0\n")
    points = "".join(f"{name} = probes:{name}\n" for name in NAMES)
    (info / "entry_points.txt").write_text(f"[everwatch.callables]\n{points}nowhere = gone:check\n")


@pytest.fixture(autouse=True)
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    install(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    found_callables.forget()
    yield tmp_path
    found_callables.forget()


Run = Callable[..., Any]


async def run_in(
    callables: CallableProcesses, name: str, timeout_ms: int = 20_000, payload: str = "", **arguments: Any
) -> Outcome:
    config = msgspec.json.encode({"callable": name, "arguments": arguments}).decode()
    tick = Tick("u-1", "probe", AT, "python", config, timeout_ms, 1, 0, attempt=2, payload=payload)
    async with open_run_context(SystemClock(), Guard(), callables=callables) as context:
        return await run_job(job_of(tick, ConfigSecrets()), tick, context, lambda error: pytest.fail(repr(error)))


@pytest.fixture
async def run() -> AsyncIterator[Run]:
    """Runs a callable; there are two processes."""
    async with open_callables(SystemClock(), 2, 256, BUDGETS()) as callables:

        def call(name: str, **more: Any) -> Any:
            return run_in(callables, name, **more)

        yield call


def pids(path: Path) -> list[int]:
    return [int(line) for line in path.read_text().split()] if path.exists() else []


async def until(what: str, look: Callable[[], Any], within_s: float = 20) -> Any:
    return await asyncio.to_thread(wait_until, what, look, within_s, 0.02)


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


# --- what it is called with, and what comes of it ------------------------------------------------------------------


async def test_it_is_called_with_its_arguments_and_told_of_the_run(run: Run) -> None:
    outcome = await run("echo", payload='{"text": "call back"}', queue="orders", most=3)
    told = msgspec.json.decode(outcome.reason)
    assert told["arguments"] == {"queue": "orders", "most": 3}
    assert told["context"] == ["u-1", "probe", AT, 2, {"text": "call back"}]
    assert outcome.status is Status.SUCCESS
    assert set(outcome.timings) == {"wait", "call", "total"}
    assert 0 <= outcome.timings["call"] <= outcome.timings["total"]


async def test_a_run_without_payload_is_told_none(run: Run) -> None:
    assert msgspec.json.decode((await run("echo")).reason)["context"][-1] is None


async def test_it_has_the_executors_environment_but_not_the_keys_of_all_users_secrets(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVERWATCH_SECRETS_KEY", "key")
    monkeypatch.setenv("OTHER", "other")
    outcome = await run("gives", what="{'has': [os.environ.get(n) for n in ('OTHER', 'EVERWATCH_SECRETS_KEY')]}")
    assert outcome.reason == '{"has":["other",null]}'


@pytest.mark.parametrize(
    ("what", "status", "reason"),
    [
        ("None", "success", ""), ("True", "success", ""), ("'12 waiting'", "success", "12 waiting"),
        ("{}", "success", ""), ("{'rows': 3}", "success", '{"rows":3}'), ("{'at': 1j}", "success", '{"at":"1j"}'),
        ("'two\\nlines \\ud800'", "success", "two lines \\ud800"), ("'x' * 5000", "success", "x" * 999 + "…"),
        ("False", "failure", "it returned False"),
        ("[1]", "failure", "it returned list, and may return nothing, True, text or a dict"),
        ("asyncio.sleep(0, 'awaited')", "success", "awaited"),
    ],
)  # fmt: skip
async def test_what_it_returns_decides(run: Run, what: str, status: str, reason: str) -> None:
    outcome = await run("gives", what=what)
    assert (outcome.status, outcome.reason) == (status, reason)


async def test_a_coroutine_function_is_awaited(run: Run) -> None:
    assert (await run("sleeps")).reason == "slept"


async def test_timings_of_its_own_are_kept_and_what_is_no_number_is_not(run: Run) -> None:
    outcome = await run(
        "gives", what="{'timings': {'query': 2, 'plan': 0.5, 'no': 'x', 'nan': float('nan'), 'total': -9}}"
    )
    assert outcome.reason == ""
    assert (outcome.timings["query"], outcome.timings["plan"]) == (2, 0.5)
    assert set(outcome.timings) == {"query", "plan", "wait", "call", "total"}
    assert outcome.timings["total"] > 0


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("raise ValueError('the queue is\\n12 deep')", "ValueError: the queue is 12 deep"),
        ("raise KeyError", "KeyError"), ("sys.exit(3)", "SystemExit: 3"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("raise asyncio.CancelledError('x')", "CancelledError: x"),
        ("print('said')\nraise OSError('y')", "OSError: y"),
        ("class E(Exception):\n  def __str__(self): return 1 / 0\nraise E", "E"),
    ],
)  # fmt: skip
async def test_what_it_raises_is_a_failure_with_type_and_message(run: Run, code: str, reason: str) -> None:
    outcome = await run("raises", code=code)
    assert (outcome.status, outcome.reason) == (Status.FAILURE, reason)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("nowhere", "the callable 'nowhere' cannot be loaded: ModuleNotFoundError: No module named 'gone'"),
        ("number", "the callable 'number' cannot be loaded: TypeError: probes:number is int and cannot be called"),
    ],
)
async def test_one_that_cannot_be_loaded_fails_with_the_cause(run: Run, name: str, reason: str) -> None:
    outcome = await run(name)
    assert (outcome.status, outcome.reason) == (Status.FAILURE, reason)


# --- harm ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("os._exit(3)", "its process ended with status 3 instead of returning"),
        ("os._exit(0)", "its process ended with status 0 instead of returning"),
        ("ctypes.string_at(0)", "its process was killed by SIGSEGV"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "its process was killed by SIGKILL"),
        ("os.kill(os.getppid(), signal.SIGKILL); time.sleep(60)", "its process was killed by SIGKILL"),
    ],
)
async def test_a_crash_fails_its_run_alone_and_its_process_is_replaced(
    run: Run, installed: Path, code: str, reason: str
) -> None:
    beside = asyncio.create_task(run("waits", pids=str(installed / "pids"), until=str(installed / "go")))
    await until("it runs", lambda: pids(installed / "pids"))
    crashed = await run("raises", code=code)
    (installed / "go").touch()
    assert (crashed.status, crashed.reason) == (Status.FAILURE, reason)
    assert (await beside).reason == "done"
    assert (await run("raises", code="pass")).status is Status.SUCCESS


async def test_more_memory_than_allowed_is_a_failure_and_the_process_is_replaced(run: Run) -> None:
    outcome = await run("raises", code="bytearray(1 << 30)")
    assert (outcome.status, outcome.reason) == (Status.FAILURE, "MemoryError (it may take 256 MiB)")
    assert (await run("raises", code="bytearray(64 << 20)")).status is Status.SUCCESS


@pytest.mark.parametrize("how", ["plainly", "holding the GIL", "with a child"])
async def test_a_hang_ends_with_the_timeout_and_leaves_no_process(run: Run, installed: Path, how: str) -> None:
    noted = installed / "pids"
    outcome = await run("hangs", timeout_ms=2_500, pids=str(noted), **{how: True})
    assert (outcome.status, outcome.reason) == (Status.FAILURE, "still running after 2.4 s, and stopped")
    assert len(pids(noted)) == (2 if how == "with a child" else 1)
    await until("its processes are gone", lambda: all(map(gone, pids(noted))))
    assert (await run("sleeps")).reason == "slept"


async def test_a_callable_that_hangs_in_every_run_leaves_room_for_others(run: Run, installed: Path) -> None:
    noted = installed / "pids"
    hanging = [asyncio.create_task(run("hangs", pids=str(noted))) for _ in range(5)]
    await until("it hangs", lambda: pids(noted))
    assert (await run("sleeps", timeout_ms=5_000)).reason == "slept"
    assert len(pids(noted)) == 1
    for task in hanging:
        task.cancel()
    await asyncio.gather(*hanging, return_exceptions=True)
    await until("its process is gone", lambda: all(map(gone, pids(noted))))


async def test_a_cancelled_run_ends_its_process_and_frees_the_place(installed: Path) -> None:
    async with open_callables(SystemClock(), 1, 0, BUDGETS()) as callables:
        for turn in range(3):
            task = asyncio.create_task(run_in(callables, "hangs", pids=str(installed / f"pids{turn}")))
            await until("it runs", lambda turn=turn: pids(installed / f"pids{turn}"))
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert (await run_in(callables, "sleeps")).reason == "slept"
        assert gone(pids(installed / "pids2")[0])


async def test_a_run_cancelled_at_any_moment_loses_neither_place_nor_process(installed: Path) -> None:
    before = {child.pid for child in psutil.Process().children()}
    async with open_callables(SystemClock(), 2, 0, BUDGETS()) as callables:
        for wait_s in [0, 0, 0.001, 0.005, 0.02, 0.05, 0.1, 0.2]:
            tasks = [asyncio.create_task(run_in(callables, name)) for name in ("pid", "other", "pid")]
            await asyncio.wait(tasks, timeout=wait_s)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        outcomes = await asyncio.gather(*(run_in(callables, name) for name in ("pid", "other") * 3))
        assert {outcome.status for outcome in outcomes} == {Status.SUCCESS}
        assert len({child.pid for child in psutil.Process().children()} - before) <= 2
    assert {child.pid for child in psutil.Process().children()} <= before


# --- the processes -------------------------------------------------------------------------------------------------


async def test_processes_are_started_when_needed_and_used_again(run: Run) -> None:
    before = {child.pid for child in psutil.Process().children()}
    first = await run("pid")
    assert len({child.pid for child in psutil.Process().children()} - before) == 1
    assert (await run("pid")).reason == first.reason


async def test_no_process_runs_two_callables(run: Run) -> None:
    seen = [(await run(name)).reason for name in ("pid", "other", "pid", "other")]
    assert seen[0] == seen[2] != seen[1] == seen[3]
    await run("sleeps")
    assert (await run("pid")).reason not in seen  # it had to make room


async def test_a_process_that_ended_while_idle_fails_no_run(run: Run) -> None:
    pid = int((await run("pid")).reason)
    os.kill(pid, signal.SIGKILL)
    await until("it is gone", lambda: gone(pid))
    outcome = await run("pid")
    assert outcome.status is Status.SUCCESS
    assert int(outcome.reason) != pid


async def test_there_are_never_more_processes_than_allowed_and_who_waits_gets_a_turn(run: Run, installed: Path) -> None:
    before = len(psutil.Process().children())
    noted, go = installed / "pids", installed / "go"
    waiting = [asyncio.create_task(run("waits", pids=str(noted), until=str(go))) for _ in range(6)]
    others = [asyncio.create_task(run("other")) for _ in range(6)]
    assert {(await other).status for other in others} == {Status.SUCCESS}
    await until("one runs", lambda: pids(noted))
    assert len(psutil.Process().children()) - before <= 2
    go.touch()
    assert {(await each).reason for each in waiting} == {"done"}
    assert len(set(pids(noted))) == 1


async def test_the_time_of_a_run_begins_when_it_has_a_process_and_not_when_it_is_asked_for(installed: Path) -> None:
    noted, go = installed / "pids", installed / "go"
    async with open_callables(SystemClock(), 1, 0, BUDGETS()) as callables:
        holding = asyncio.create_task(run_in(callables, "waits", pids=str(noted), until=str(go)))
        await until("it holds the process", lambda: pids(noted))
        waiting = asyncio.create_task(run_in(callables, "sleeps", timeout_ms=60_000))
        # longer than its own timeout would be, were it counted from here
        brief = asyncio.create_task(run_in(callables, "waits", timeout_ms=500, pids=str(noted), until="/nowhere"))
        await asyncio.sleep(1)
        assert not waiting.done()
        assert not brief.done()
        go.touch()
        assert (await holding).reason == "done"
        outcome, stopped = await waiting, await brief
    assert (outcome.status, outcome.reason) == (Status.SUCCESS, "slept")
    assert outcome.waited_ms == outcome.timings["wait"] >= 900
    assert stopped.reason == "still running after 0.45 s, and stopped"


async def test_slow_callables_leave_a_process_to_those_that_are_quick(installed: Path) -> None:
    """However many they are, and although each holds one process only."""
    # a busy machine is slow with what is quick
    first, noted = str(installed / "first"), installed / "pids"
    async with open_callables(SystemClock(), 3, 0, BUDGETS(), quick_s=4.0) as callables:
        assert (await run_in(callables, "sleeps", timeout_ms=60_000)).reason == "slept"
        # whoever takes longer is slow from then on
        brief = [run_in(callables, name, timeout_ms=5_000, pids=first, until="/nowhere") for name in ("waits", "hangs")]
        await asyncio.gather(*brief)
        slow = [
            asyncio.create_task(run_in(callables, name, timeout_ms=600_000, pids=str(noted), until="/nowhere"))
            for name in ("waits", "hangs") * 4
        ]
        await until("they hold all that they may", lambda: len(pids(noted)) == 2, 60)
        for _ in range(5):
            assert (await run_in(callables, "sleeps", timeout_ms=60_000)).reason == "slept"
        assert len(pids(noted)) == 2
        for task in slow:
            task.cancel()
        await asyncio.gather(*slow, return_exceptions=True)


# --- what it writes ------------------------------------------------------------------------------------------------

FLOOD = """
import logging
for _ in range(400):
    os.write(1, b'x' * (1 << 20))
print('after')
logging.error('logged')
"""


@contextmanager
def errors_into(file: Path) -> Iterator[Path]:
    """Meanwhile the process's stderr is this file. What pytest captures would lose what comes while it is read."""
    kept = os.dup(2)
    with file.open("wb") as stream:
        os.dup2(stream.fileno(), 2)
    try:
        yield file
    finally:
        os.dup2(kept, 2)
        os.close(kept)


async def test_output_of_a_run_is_kept_up_to_its_bound_and_the_rest_is_counted_and_said_once(
    run: Run, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    for code in ("print('to stdout'); print('to stderr', file=sys.stderr)", FLOOD, FLOOD):
        assert (await run("raises", code=code)).status is Status.SUCCESS
    written = capfd.readouterr().err
    assert written.startswith("to stdout\nto stderr\n")
    assert 2 * 64 * KIB <= len(written) < 2 * 64 * KIB + 200
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 1
    dropped = 400 * (1 << 20) - 64 * KIB + len("after\n") + len("ERROR:root:logged\n")
    assert told[0].startswith(f"the callable 'raises' wrote more than is kept: {dropped} bytes were dropped (")


async def test_a_noisy_callable_that_never_ends_neither_fills_the_log_nor_keeps_a_quiet_one_waiting(
    run: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    flood = "while True: os.write(2, b'noise' * 20_000)"
    with errors_into(tmp_path / "errors") as errors:
        noisy = asyncio.create_task(run("raises", timeout_ms=600_000, code=flood))
        await until("all that it may write is written", lambda: errors.stat().st_size > 64 * KIB, 60)
        for _ in range(5):
            assert (await run("sleeps")).status is Status.SUCCESS
        assert not noisy.done()
        assert errors.read_bytes() == (b"noise" * 20_000)[: 64 * KIB] + b"\n"
        noisy.cancel()
        await until("what was dropped is said", lambda: caplog.records, 60)
    assert "the callable 'raises' wrote more than is kept: " in caplog.text


async def test_all_runs_of_a_callable_together_write_so_much_a_minute(capfd: pytest.CaptureFixture[str]) -> None:
    async with open_callables(SystemClock(), 2, 0, OutputBudgets(8 * KIB, 20 * KIB)) as callables:
        for _ in range(10):
            assert (await run_in(callables, "raises", code="print('x' * 100_000)")).status is Status.SUCCESS
        assert 20 * KIB <= len(capfd.readouterr().err) < 60 * KIB
        await run_in(callables, "gives", what="print('another is not stopped by that')")
    assert capfd.readouterr().err == "another is not stopped by that\n"


async def test_what_a_run_leaves_behind_writes_nothing_after_its_end(
    run: Run, capfd: pytest.CaptureFixture[str]
) -> None:
    left = "subprocess.Popen(['sh', '-c', 'while echo left; do sleep 0.01; done'])"
    assert (await run("raises", code=left)).status is Status.SUCCESS
    capfd.readouterr()
    await asyncio.sleep(0.3)
    assert capfd.readouterr().err == ""


async def test_all_processes_end_with_their_owner(installed: Path) -> None:
    noted = installed / "pids"
    async with open_callables(SystemClock(), 2, 0, BUDGETS()) as callables:
        idle = int((await run_in(callables, "pid")).reason)
        hanging = asyncio.create_task(run_in(callables, "hangs", pids=str(noted)))
        await until("it hangs", lambda: pids(noted))
    assert gone(idle)
    assert gone(pids(noted)[0])
    await hanging


OWNER = """
import asyncio, sys
from everwatch.core.clock import SystemClock
from everwatch.executor.callable_pool import open_callables
from everwatch.executor.output_budget import OutputBudgets
from everwatch.kinds.callable_interface import CallableRun, CallContext

async def own(how, noted):
    async with open_callables(SystemClock(), 2, 0, OutputBudgets(0, 0)) as callables:
        await callables.call(CallableRun("hangs", {"pids": noted, how: True}, CallContext("u", "m", 0, 1, None)), 600)

asyncio.run(own(*sys.argv[1:]))
"""


@pytest.mark.parametrize("how", ["plainly", "holding the GIL", "with a child"])
def test_a_killed_owner_leaves_no_process(installed: Path, how: str) -> None:
    noted = installed / "pids"
    environment = dict(os.environ) | {"PYTHONPATH": str(installed)}
    owner = subprocess.Popen([sys.executable, "-c", OWNER, how, str(noted)], env=environment)
    try:
        wait_until("it hangs", lambda: len(pids(noted)) == (2 if how == "with a child" else 1))
    finally:
        owner.kill()
        owner.wait()
    wait_until("its processes are gone", lambda: all(map(gone, pids(noted))), within_s=5)


# --- the config ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "path", "said"),
    [
        ({}, "$.config", "the kind 'python' needs the field 'callable'"),
        ({"callable": ""}, "$.config.callable", "length >= 1"),
        ({"callable": "os:system"}, "$.config.callable", "there is no callable 'os:system' in the group"),
        ({"callable": "probes.echo"}, "$.config.callable", "known callables: echo, gives, hangs,"),
        ({"callable": "echo", "arguments": [1]}, "$.config.arguments", "expected object, got array"),
        ({"callable": "echo", "module": "os"}, "$.config.module", "no field 'module'"),
    ],
)
def test_a_wrong_config_is_refused_with_its_path(config: dict[str, Any], path: str, said: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        registry.parse_config(registry.kind_named("python"), config)
    assert caught.value.path == path
    assert said in caught.value.reason


def test_without_any_installed_callable_that_is_said() -> None:
    with pytest.raises(FieldError, match="no installed package has any"):
        check_callable("echo", [])


def test_the_canonical_form_is_sorted_and_parses_to_the_same() -> None:
    kind = registry.kind_named("python")
    parsed = registry.parse_config(kind, {"callable": "echo", "arguments": {"b": {"d": 1, "c": [None, 2.5]}, "a": "é"}})
    text = registry.canonical_config(kind, parsed)
    assert text == '{"arguments":{"a":"é","b":{"c":[null,2.5],"d":1}},"callable":"echo"}'
    assert registry.parse_config(kind, text) == parsed


def test_admission_loads_no_callable(installed: Path) -> None:
    registry.parse_config(registry.kind_named("python"), {"callable": "nowhere"})
    assert "probes" not in sys.modules


async def test_a_process_without_callables_says_so() -> None:
    async with open_run_context(SystemClock(), Guard()) as context:
        kind = registry.kind_named("python")
        config = registry.parse_config(kind, {"callable": "echo"})
        outcome = await kind.run(config, Tick("u", "m", AT, "python", "{}", 1_000, 1, 0), context)
    assert outcome == Outcome(
        Status.FAILURE, "the callable 'echo' cannot run here: this process runs no callables", outcome.timings
    )

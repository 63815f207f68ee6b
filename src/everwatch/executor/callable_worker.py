"""The process in which a callable runs.

``python -m everwatch.executor.callable_worker FD``; FD is a socket to the executor.

It is two processes. One calls, and may do whatever it likes: crash, hang, ignore signals. The other, the *keeper*,
runs no code but this package's. It waits for its stdin to end, which the executor holds and which ends with the
executor however that died, or for the caller to end, and then kills what is left of the caller and its children. What
these write passes through the keeper, see ``callable_output``; at its end it says on stdout what came of that.
"""

import asyncio
import ctypes
import inspect
import math
import os
import resource
import select
import signal
import socket
import sys
from collections.abc import Awaitable
from contextlib import suppress
from typing import Any, NoReturn

import msgspec

from everwatch.core.clock import SystemClock
from everwatch.executor.callable_output import CallableOutput, Orders
from everwatch.kinds.callable_interface import CallableReply, CallableRun, load

LONGEST_REASON = 1_000
_MOST_TIMINGS = 32
_LONGEST_PHASE = 100
_PR_SET_PDEATHSIG = 1


class Setup(msgspec.Struct, frozen=True):
    """The first line that the process is sent: where modules are found, and its memory in MiB (0: no limit)."""

    path: list[str]
    memory_mb: int


def main() -> NoReturn:
    """Part into keeper and caller. The keeper exits with the caller's status, 128 more than the signal it died of."""
    link = int(sys.argv[1])
    keeper = os.getpid()
    child_ended, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake)
    output, written_to = os.pipe()
    orders, ours = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    caller = os.fork()
    if not caller:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setpgid(0, 0)
        _end_with(keeper)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for stream in (1, 2):
            os.dup2(written_to, stream)
        for each in (output, written_to):
            os.close(each)
        orders.close()
        serve(socket.socket(fileno=link), Orders(ours))
        os._exit(0)
    os.close(link)
    os.close(written_to)
    ours.close()
    with suppress(OSError):  # whichever of the two is first: there must be no moment without the group
        os.setpgid(caller, caller)
    outlet = CallableOutput(output, orders, 2)
    status = _keep(caller, child_ended, outlet)
    with suppress(OSError):
        os.write(1, b"%d %d" % outlet.finish())
    os._exit(status)


def _keep(caller: int, child_ended: int, outlet: CallableOutput) -> int:
    while True:
        ready, _, _ = select.select([0, child_ended, *outlet.watched], [], [])
        outlet.handle(ready)
        if child_ended in ready:
            os.read(child_ended, 512)
        ended, status = os.waitpid(caller, os.WNOHANG)
        if ended or (0 in ready and not os.read(0, 4096)):
            break
    with suppress(OSError):
        os.killpg(caller, signal.SIGKILL)
    if not ended:
        _, status = os.waitpid(caller, 0)
    return 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.waitstatus_to_exitcode(status)


def _end_with(keeper: int) -> None:
    # the keeper never ends first unless it is killed itself
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != keeper:
        os._exit(1)


def serve(link: socket.socket, orders: Orders) -> None:
    """Answer call after call until the other side closes, or an answer is the last."""
    stream = link.makefile("rwb")
    setup = msgspec.json.decode(stream.readline(), type=Setup)
    sys.path[:] = setup.path
    _limit_memory(setup.memory_mb)
    here = os.getpid()
    for line in stream:
        call = msgspec.json.decode(line, type=CallableRun)
        orders.begin(call.output_bytes)
        answer = answer_to(call, setup.memory_mb)
        if os.getpid() != here:  # the callable forked, and this is the child
            os._exit(0)
        kept, dropped = orders.end()
        answer = msgspec.structs.replace(answer, kept_bytes=kept, dropped_bytes=dropped)
        stream.write(msgspec.json.encode(answer) + b"\n")
        stream.flush()
        if answer.last:
            return


def answer_to(call: CallableRun, memory_mb: int = 0) -> CallableReply:
    """Call it, and report the outcome."""
    try:
        function = load(call.name)
    except BaseException as error:  # another's code may fail in any way, and sys.exit() is one of them
        return CallableReply(
            False, _one_line(f"the callable '{call.name}' cannot be loaded: {_explain(error)}"), last=True
        )
    clock = SystemClock()
    began_s = clock.monotonic_s()
    try:
        returned = function(call.arguments, call.context)
        if inspect.isawaitable(returned):
            returned = asyncio.run(_result_of(returned))
    except MemoryError as error:
        limit = f" (it may take {memory_mb} MiB)" if memory_mb else ""
        answer = CallableReply(False, _one_line(_explain(error)) + limit, last=True)
    except BaseException as error:
        answer = CallableReply(False, _one_line(_explain(error)))
    else:
        answer = _judged(returned)
    call_ms = round((clock.monotonic_s() - began_s) * 1000, 3)
    return msgspec.structs.replace(answer, timings=answer.timings | {"call": call_ms})


async def _result_of(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


def _judged(returned: Any) -> CallableReply:
    if returned is None or returned is True:
        return CallableReply(True)
    if isinstance(returned, str):
        return CallableReply(True, _one_line(returned))
    if isinstance(returned, dict):
        told = dict(returned)
        timings = _timings(told.pop("timings", None))
        return CallableReply(True, _one_line(_as_json(told)) if told else "", timings)
    if returned is False:
        return CallableReply(False, "it returned False")
    return CallableReply(False, f"it returned {type(returned).__name__}, and may return nothing, True, text or a dict")


def _timings(given: Any) -> dict[str, float]:
    if not isinstance(given, dict):
        return {}
    phases = {
        _one_line(str(phase))[:_LONGEST_PHASE]: float(ms)
        for phase, ms in list(given.items())[:_MOST_TIMINGS]
        if isinstance(ms, int | float) and not isinstance(ms, bool) and abs(ms) < 1e15
    }
    return {phase: ms for phase, ms in phases.items() if math.isfinite(ms)}


def _as_json(told: dict[Any, Any]) -> str:
    try:
        return msgspec.json.encode(told, enc_hook=str).decode()
    except Exception:  # e.g. nested in itself
        return repr(told)


def _explain(error: BaseException) -> str:
    try:
        message = str(error)
    except Exception:
        message = ""
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def _one_line(text: str) -> str:
    line = " ".join(text[: 2 * LONGEST_REASON].split()).encode(errors="backslashreplace").decode()
    return line if len(line) <= LONGEST_REASON else line[: LONGEST_REASON - 1] + "…"


def _limit_memory(memory_mb: int) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if memory_mb:
        limit = memory_mb << 20
        # memory it writes to; the whole address space counts what is only reserved, of which some libraries take much
        which = resource.RLIMIT_DATA if sys.platform == "linux" else resource.RLIMIT_AS
        with suppress(OSError, ValueError):  # no more than the system allows anyway
            resource.setrlimit(which, (limit, limit))


if __name__ == "__main__":
    main()

"""The processes in which callables run: few, started when needed, and replaced when anything went wrong in one.

A process runs one callable only, again and again: what a callable leaves behind in it harms no other.
"""

import asyncio
import logging
import signal
import socket
import sys
from asyncio.subprocess import Process
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import msgspec

from everwatch.core.clock import Clock
from everwatch.core.config import Settings, environment_of_callables
from everwatch.executor.callable_output import Written
from everwatch.executor.callable_worker import Setup
from everwatch.executor.output_budget import KIB, OutputBudgets
from everwatch.kinds.callable_interface import CallableReply, CallableRun
from everwatch.observability.log_throttle import LogThrottle
from everwatch.schedule.duration import describe_duration

_LONGEST_ANSWER_BYTES = 256 * 1024
# its keeper needs milliseconds; this is for one that is stopped or swapped out
_END_WITHIN_S = 2.0
_LONGEST_REPORT = 64

Waiter = asyncio.Future["_Seat"]


log = logging.getLogger(__name__)

QUICK_S = 1.0
"""A callable whose last run, or one that is under way, took longer is slow."""


def budgets_of(settings: Settings) -> OutputBudgets:
    """Return the output budgets of callables under these settings."""
    return OutputBudgets(settings.python_output_kb * KIB, settings.python_output_kb_per_min * KIB)


@asynccontextmanager
async def open_callables(
    clock: Clock, processes: int, memory_mb: int, output: OutputBudgets, quick_s: float = QUICK_S
) -> AsyncIterator["CallableProcesses"]:
    """Room for ``processes`` that may take ``memory_mb`` MiB each (0: no limit); at the end all of them are gone."""
    opened = CallableProcesses(clock, processes, memory_mb, output, quick_s)
    try:
        yield opened
    finally:
        await opened.close()


def most_of_one(processes: int) -> int:
    """Return the number of processes that one callable, or all slow ones together, may hold: all but one."""
    return max(1, processes - 1)


class CallableProcesses:
    """Pool of processes that run callables. A call that waits gets the next free process: of several callables
    that with the fewest runs under way. None may hold the last process that others could have, nor may all slow ones
    together: one that is quick never waits for those.
    """

    def __init__(self, clock: Clock, processes: int, memory_mb: int, output: OutputBudgets, quick_s: float) -> None:
        self._quick_s = quick_s
        self._clock = clock
        self._most = most_of_one(processes)
        self._output = output
        self._log_throttle = LogThrottle(clock)
        self._dropped: Counter[str] = Counter()
        self._free = [_Seat(memory_mb) for _ in range(processes)]
        self._seats = tuple(self._free)
        self._running: Counter[str] = Counter()
        self._slow: set[str] = set()
        self._under_way: dict[_Seat, tuple[str, float]] = {}
        self._waiting: dict[str, dict[Waiter, None]] = {}
        self._mending: set[asyncio.Task[None]] = set()
        self._closed = False

    async def call(self, call: CallableRun, timeout_s: float) -> CallableReply:
        """Run it once, within ``timeout_s`` from when a process is free. Cancelled, it kills the process."""
        asked_s = self._clock.monotonic_s()
        seat = await self._wait_for_seat(call.name)
        began_s = self._clock.monotonic_s()
        granted = self._output.grant(call.name, began_s)
        answer: CallableReply | None = None
        try:
            async with asyncio.timeout(timeout_s):
                answer = await seat.run(msgspec.structs.replace(call, output_bytes=granted))
        except TimeoutError:
            limit = describe_duration(round(timeout_s * 1000))
            answer = CallableReply(False, f"still running after {limit}, and stopped")
        except OSError as error:
            answer = CallableReply(False, f"no process can be started for it: {error.strerror or error}")
        finally:
            ended_s = self._clock.monotonic_s()
            self._note_pace(call.name, answer, ended_s - began_s)
            self._leave(seat, call.name, granted, answer)
        waited_ms, total_ms = _milliseconds(began_s - asked_s), _milliseconds(ended_s - began_s)
        own = {"wait": waited_ms, "total": total_ms}
        return msgspec.structs.replace(answer, timings=answer.timings | own, waited_ms=waited_ms)

    async def close(self) -> None:
        """End all processes, those with a run under way too."""
        self._closed = True
        await asyncio.gather(*self._mending, *(seat.clear() for seat in self._seats), return_exceptions=True)
        for name in list(self._dropped):
            self._tell_dropped(name)

    async def _wait_for_seat(self, name: str) -> "_Seat":
        waiter: Waiter = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(name, {})[waiter] = None
        self._hand_out()
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.cancelled():
                self._forget(name, waiter)
            else:  # given a seat and cancelled in one turn of the loop
                self._leave(waiter.result(), name, 0, None)
            raise

    def _hand_out(self) -> None:
        while self._free and not self._closed:
            # the dict is in order of waiting, and min takes the first of equals
            may = [name for name in self._waiting if self._running[name] < self._most]
            if self._slow_under_way() >= self._most:
                may = [name for name in may if not self._is_slow(name)]
            if not may:
                return
            name = min(may, key=self._running.__getitem__)
            waiter = next(iter(self._waiting[name]))
            self._forget(name, waiter)
            if waiter.done():
                continue
            self._running[name] += 1
            seat = self._take_for(name)
            self._under_way[seat] = (name, self._clock.monotonic_s())
            waiter.set_result(seat)

    def _take_for(self, name: str) -> "_Seat":
        # a process that runs it already, else a seat without any, else the one unused for longest
        seat = min(self._free, key=lambda seat: (seat.serves != name, seat.serves != ""))
        self._free.remove(seat)
        return seat

    def _forget(self, name: str, waiter: Waiter) -> None:
        waiters = self._waiting.get(name, {})
        waiters.pop(waiter, None)
        if not waiters:
            self._waiting.pop(name, None)

    def _slow_under_way(self) -> int:
        """Return the number of processes that slow callables hold."""
        return sum(1 for name, _ in self._under_way.values() if self._is_slow(name))

    def _is_slow(self, name: str) -> bool:
        if name in self._slow:
            return True
        since_s = self._clock.monotonic_s() - self._quick_s
        return any(running == name and began_s < since_s for running, began_s in self._under_way.values())

    def _note_pace(self, name: str, answer: CallableReply | None, took_s: float) -> None:
        # to start a process and import a package may take long, once
        called_ms = None if answer is None else answer.timings.get("call")
        if (took_s if called_ms is None else called_ms / 1000) > self._quick_s:
            self._slow.add(name)
        else:
            self._slow.discard(name)

    def _leave(self, seat: "_Seat", name: str, granted: int, answer: CallableReply | None) -> None:
        """Give a seat back after a run that might write ``granted`` bytes; ``answer``: None if it was cancelled."""
        self._under_way.pop(seat, None)
        self._running[name] -= 1
        if not self._running[name]:
            del self._running[name]
        if not seat.spoilt:
            written = Written(answer.kept_bytes, answer.dropped_bytes) if answer else Written()
            self._settle_output(name, granted, written)
            self._free.append(seat)
            self._hand_out()
            return
        mending = asyncio.get_running_loop().create_task(self._mend(seat, name, granted))
        self._mending.add(mending)
        mending.add_done_callback(self._mending.discard)

    def _settle_output(self, name: str, granted: int, written: Written | None) -> None:
        if written is None:  # a keeper that was killed does not say: all of it may have been written
            return
        self._output.settle(name, max(0, granted - written.kept), self._clock.monotonic_s())
        if written.dropped:
            self._dropped[name] += written.dropped
            if self._log_throttle.may_log(name):
                self._tell_dropped(name)

    def _tell_dropped(self, name: str) -> None:
        log.warning(
            "the callable %r wrote more than is kept: %d bytes were dropped (a run may write %d KiB, all runs of a"
            " callable %d KiB a minute; logged once a minute)",
            name,
            self._dropped.pop(name),
            self._output.per_run // KIB,
            self._output.per_minute // KIB,
        )

    async def _mend(self, seat: "_Seat", name: str, granted: int) -> None:
        # only then is it free: there are never more processes than there may be
        try:
            self._settle_output(name, granted, await seat.clear())
        finally:
            self._free.append(seat)
            self._hand_out()


class _Seat:
    """Room for one process. ``serves``: the callable that it runs, "" for no process. ``spoilt``: not to be used on."""

    def __init__(self, memory_mb: int) -> None:
        self._memory_mb = memory_mb
        self._starting: asyncio.Task[_Caller] | None = None
        self.serves = ""
        self.spoilt = False

    async def run(self, call: CallableRun) -> CallableReply:
        """Raise OSError if no process can be started. An interruption before its end spoils the seat."""
        self.spoilt = True
        if self._starting is not None and (self.serves != call.name or (await self._starting).ended):
            await self.clear()
        if self._starting is None:
            self.serves = call.name
            # a task of its own: a call that is cancelled while a process starts must not lose the process
            self._starting = asyncio.get_running_loop().create_task(_Caller.start(self._memory_mb))
        caller = await asyncio.shield(self._starting)
        answer = await caller.answer_to(call)
        self.spoilt = answer.last
        return answer

    async def clear(self) -> Written | None:
        """End the process if there is one, and whatever it runs; return its output, if that is known."""
        written: Written | None = Written()
        if self._starting is not None:
            with suppress(Exception):  # one that could not be started is not there
                written = await (await asyncio.shield(self._starting)).end()
        self._starting = None
        self.serves = ""
        self.spoilt = False
        return written


class _Caller:
    """A process, see ``callable_worker``, and a way to talk to it."""

    def __init__(self, process: Process, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._process = process
        self._reader = reader
        self._writer = writer

    @classmethod
    async def start(cls, memory_mb: int) -> "_Caller":
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                # -P: what lies in the working folder is not imported
                process = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-P", "-u", "-m", "everwatch.executor.callable_worker", str(theirs.fileno())),
                    stdin=asyncio.subprocess.PIPE,
                    stdout=asyncio.subprocess.PIPE,
                    pass_fds=(theirs.fileno(),),
                    env=environment_of_callables(),
                    start_new_session=True,
                )
            except BaseException:
                ours.close()
                raise
        reader, writer = await asyncio.open_connection(sock=ours, limit=_LONGEST_ANSWER_BYTES)
        writer.write(msgspec.json.encode(Setup(sys.path, memory_mb)) + b"\n")
        return cls(process, reader, writer)

    @property
    def ended(self) -> bool:
        return self._process.returncode is not None or self._reader.at_eof()

    async def answer_to(self, call: CallableRun) -> CallableReply:
        """Its answer; the last one, too, if it ends without any or writes something else."""
        try:
            self._writer.write(msgspec.json.encode(call) + b"\n")
            await self._writer.drain()
            line = await self._reader.readline()
        except ConnectionError:
            line = b""
        except ValueError:  # a line without an end
            return CallableReply(False, "its process answered what is no answer", last=True)
        if not line:
            return CallableReply(False, _explain_end(await self._process.wait()), last=True)
        try:
            return msgspec.json.decode(line, type=CallableReply)
        except msgspec.MsgspecError:
            return CallableReply(False, "its process answered what is no answer", last=True)

    async def end(self) -> Written | None:
        """Kill it and its children, and wait until they are gone; return the output of the last run.

        None if that is not known.
        """
        self._writer.close()
        # both were asked for
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            async with asyncio.timeout(_END_WITHIN_S):
                await self._process.wait()
        except TimeoutError:
            with suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
        report = (await self._process.stdout.read(_LONGEST_REPORT)).split()
        return Written(*map(int, report)) if len(report) == len(Written()) else None


def _explain_end(status: int) -> str:
    try:
        cause = signal.Signals(status - 128 if status > 128 else -status).name
    except ValueError:
        return f"its process ended with status {status} instead of returning"
    return f"its process was killed by {cause}"


def _milliseconds(seconds: float) -> float:
    return round(seconds * 1000, 3)

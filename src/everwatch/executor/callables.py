"""The processes in which callables run: few, started when needed, and replaced when anything went wrong in one.

A process runs one callable only, again and again: what a callable leaves behind in it harms no other.
"""

import asyncio
import signal
import socket
import sys
from asyncio.subprocess import Process
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import msgspec

from everwatch.clock import Clock
from everwatch.executor.called import Setup
from everwatch.kinds.callables import Answer, Call
from everwatch.schedule.duration import describe_duration

_LONGEST_ANSWER_BYTES = 256 * 1024
# its keeper needs milliseconds; this is for one that is stopped or swapped out
_END_WITHIN_S = 2.0

Waiter = asyncio.Future["_Seat"]


@asynccontextmanager
async def open_callables(clock: Clock, processes: int, memory_mb: int) -> AsyncIterator["CallableProcesses"]:
    """Room for ``processes`` that may take ``memory_mb`` MiB each (0: no limit); at the end all of them are gone."""
    opened = CallableProcesses(clock, processes, memory_mb)
    try:
        yield opened
    finally:
        await opened.close()


class CallableProcesses:
    """Runs callables in at most so many processes. Who waits gets the next one that is free: of several callables
    that with the fewest runs under way, and none may hold the last process that others could have.
    """

    def __init__(self, clock: Clock, processes: int, memory_mb: int) -> None:
        self._clock = clock
        self._processes = processes
        self._most_of_one = max(1, processes - 1)
        self._free = [_Seat(memory_mb) for _ in range(processes)]
        self._seats = tuple(self._free)
        self._running: Counter[str] = Counter()
        self._waiting: dict[str, dict[Waiter, None]] = {}
        self._mending: set[asyncio.Task[None]] = set()
        self._closed = False

    async def call(self, call: Call, timeout_s: float) -> Answer:
        """Run it once, within ``timeout_s``, waiting for a process included. Cancelled, it kills the process."""
        began_s = self._clock.monotonic_s()
        seated_s = 0.0
        seat: _Seat | None = None
        try:
            async with asyncio.timeout(timeout_s):
                seat = await self._wait_for_seat(call.name)
                seated_s = self._clock.monotonic_s()
                answer = await seat.run(call)
        except TimeoutError:
            limit = describe_duration(round(timeout_s * 1000))
            if seat is None:
                answer = Answer(False, f"not called: all processes for callables ({self._processes}) were busy {limit}")
            else:
                answer = Answer(False, f"still running after {limit}, and stopped")
        except OSError as error:
            answer = Answer(False, f"no process can be started for it: {error.strerror or error}")
        finally:
            if seat is not None:
                self._leave(seat, call.name)
        ended_s = self._clock.monotonic_s()
        own = {"wait": _milliseconds((seated_s or ended_s) - began_s), "total": _milliseconds(ended_s - began_s)}
        return msgspec.structs.replace(answer, timings=answer.timings | own)

    async def close(self) -> None:
        """End all processes, those with a run under way too."""
        self._closed = True
        await asyncio.gather(*self._mending, *(seat.clear() for seat in self._seats), return_exceptions=True)

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
                self._leave(waiter.result(), name)
            raise

    def _hand_out(self) -> None:
        while self._free and not self._closed:
            # the dict is in order of who began to wait first, and min takes the first of equals
            may = [name for name in self._waiting if self._running[name] < self._most_of_one]
            if not may:
                return
            name = min(may, key=self._running.__getitem__)
            waiter = next(iter(self._waiting[name]))
            self._forget(name, waiter)
            if waiter.done():
                continue
            self._running[name] += 1
            waiter.set_result(self._take_for(name))

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

    def _leave(self, seat: "_Seat", name: str) -> None:
        self._running[name] -= 1
        if not self._running[name]:
            del self._running[name]
        if not seat.spoilt:
            self._free.append(seat)
            self._hand_out()
            return
        mending = asyncio.get_running_loop().create_task(self._mend(seat))
        self._mending.add(mending)
        mending.add_done_callback(self._mending.discard)

    async def _mend(self, seat: "_Seat") -> None:
        # only then is it free: there are never more processes than there may be
        try:
            await seat.clear()
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

    async def run(self, call: Call) -> Answer:
        """Raises OSError if no process can be started. Whatever keeps it from coming to its end spoils the seat."""
        self.spoilt = True
        if self._starting is not None and (self.serves != call.name or (await self._starting).ended):
            await self.clear()
        if self._starting is None:
            self.serves = call.name
            # a task of its own: who is cancelled while a process starts must not lose it
            self._starting = asyncio.get_running_loop().create_task(_Caller.start(self._memory_mb))
        caller = await asyncio.shield(self._starting)
        answer = await caller.answer_to(call)
        self.spoilt = answer.last
        return answer

    async def clear(self) -> None:
        """End the process if there is one, and whatever it runs."""
        if self._starting is not None:
            with suppress(Exception):  # one that could not be started is not there
                await (await asyncio.shield(self._starting)).end()
        self._starting = None
        self.serves = ""
        self.spoilt = False


class _Caller:
    """A process, see ``called``, and a way to talk to it."""

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
                    *(sys.executable, "-P", "-u", "-m", "everwatch.executor.called", str(theirs.fileno())),
                    stdin=asyncio.subprocess.PIPE,
                    pass_fds=(theirs.fileno(),),
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

    async def answer_to(self, call: Call) -> Answer:
        """Its answer; the last one, too, if it ends without any or says what is none."""
        try:
            self._writer.write(msgspec.json.encode(call) + b"\n")
            await self._writer.drain()
            line = await self._reader.readline()
        except ConnectionError:
            line = b""
        except ValueError:  # a line without an end
            return Answer(False, "its process answered what is no answer", last=True)
        if not line:
            return Answer(False, _explain_end(await self._process.wait()), last=True)
        try:
            return msgspec.json.decode(line, type=Answer)
        except msgspec.MsgspecError:
            return Answer(False, "its process answered what is no answer", last=True)

    async def end(self) -> None:
        """Kill it and its children, and wait until they are gone."""
        self._writer.close()
        assert self._process.stdin is not None  # asked for
        self._process.stdin.close()
        try:
            async with asyncio.timeout(_END_WITHIN_S):
                await self._process.wait()
        except TimeoutError:
            with suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()


def _explain_end(status: int) -> str:
    try:
        cause = signal.Signals(status - 128 if status > 128 else -status).name
    except ValueError:
        return f"its process ended with status {status} instead of returning"
    return f"its process was killed by {cause}"


def _milliseconds(seconds: float) -> float:
    return round(seconds * 1000, 3)

"""Processes of Everwatch, forked from a server that has imported the libraries, or fresh interpreters.

More than half of the CPU time of a start goes into the interpreter and the libraries. A forked process is a fresh one
in all respects but these: hashes of strings have the same seed in all of one server, and its parent is that server.
What is about the start of an interpreter, its imports or its signals takes a fresh one; so does what is given an
environment that libraries or the interpreter may read when they are loaded (anything but ``EVERWATCH_…`` and the names
below).
"""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from selectors import EVENT_READ, DefaultSelector
from types import TracebackType
from typing import IO, NamedTuple, Self

from support import fork_server
from support.waiting import PATIENCE

# the last two are pytest's and Java's alone
_READ_LATER = ("COLUMNS", "PYTEST_CURRENT_TEST", "JAVA_TOOL_OPTIONS")
_STARTED_WITHIN_S = 30 * PATIENCE

Stream = int | IO[str] | IO[bytes]


class ForkServer:
    """The server of this process of tests, and its environment, which is that of a process that it forks."""

    def __init__(self) -> None:
        self._environment = dict(os.environ)
        self._network = _network()
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, fork_server.__file__, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                # Ctrl-C is for the tests
                process_group=0,
            )

    def suits(self, environment: Mapping[str, str]) -> bool:
        """Tell whether a process with this environment, in the network of this thread, begins as the server did."""
        return _decisive(environment) == _decisive(self._environment) and _network() == self._network

    def fork(self, program: "Program", streams: Sequence[int], pipe: int) -> None:
        """Ask for a process."""
        request = program._asdict() | {"umask": _umask(), "group": os.getpgid(0)}
        socket.send_fds(self._socket, [json.dumps(request).encode()], [*streams, pipe])

    def close(self) -> None:
        """End it."""
        self._socket.close()
        self._process.wait()


@cache
def _server() -> ForkServer:
    return ForkServer()


def stop() -> None:
    """End the server, if there is one."""
    if _server.cache_info().currsize:
        _server().close()
        _server.cache_clear()


class Program(NamedTuple):
    """A module that runs as a process, and what it is given. ``new_session``: in a session of its own."""

    module: str
    arguments: Sequence[str]
    environment: dict[str, str]
    folder: str
    new_session: bool = False


def start(
    program: Program,
    *,
    stdin: Stream = subprocess.DEVNULL,
    stdout: Stream = subprocess.PIPE,
    stderr: Stream = subprocess.PIPE,
    fresh: bool = False,
) -> "Started":
    """Start a program; ``fresh``: as an interpreter of its own, whatever the environment."""
    if not fresh and _server().suits(program.environment):
        return Forked(program, (stdin, stdout, stderr))
    return subprocess.Popen(
        [sys.executable, "-m", program.module, *program.arguments],
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        text=True,
        env=program.environment,
        cwd=program.folder,
        start_new_session=program.new_session,
    )


def everwatch(arguments: Sequence[str], environment: Mapping[str, str], *, new_session: bool = False) -> Program:
    """``everwatch`` with these arguments, in the folder of the tests."""
    return Program("everwatch", arguments, dict(environment), os.getcwd(), new_session)


class Forked:
    """A forked process, with what ``subprocess.Popen`` has of one whose pipes are text."""

    def __init__(self, program: Program, streams: Sequence[Stream]) -> None:
        self.args = [program.module, *program.arguments]
        self.returncode: int | None = None
        self._readers: dict[str, _Reader] = {}
        self._pipe, status = os.pipe()
        given = [_Given(stream, is_input=number == 0) for number, stream in enumerate(streams)]
        try:
            _server().fork(program, [each.theirs for each in given], status)
        finally:
            os.close(status)
            for each in given:
                each.close_theirs()
        self.stdin, self.stdout, self.stderr = (each.ours for each in given)
        started = self._said(_STARTED_WITHIN_S)
        assert started is not None, "nothing was forked"
        self.pid = started

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for stream in (self.stdout, self.stderr, self.stdin):
            if stream is not None:
                stream.close()
        self.wait()

    def poll(self) -> int | None:
        """Its exit status if it has ended, or minus the signal that ended it."""
        return self._ended(0)

    def wait(self, timeout: float | None = None) -> int:
        """The same, once it has ended. Raises TimeoutExpired."""
        status = self._ended(timeout)
        if status is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        return status

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def communicate(self, timeout: float | None = None) -> tuple[str | None, str | None]:
        """All that it prints, once it has ended. Raises TimeoutExpired; what was read until then is not lost."""
        if self.stdin is not None:
            with suppress(BrokenPipeError):  # it has ended without reading all of it
                self.stdin.close()
        for name in ("stdout", "stderr"):
            stream = getattr(self, name)
            if stream is not None and name not in self._readers:
                self._readers[name] = _Reader(stream)
        self.wait(timeout)
        for reader in self._readers.values():
            reader.join(timeout)
            if reader.is_alive():
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
        out, err = (self._readers[name].text if name in self._readers else None for name in ("stdout", "stderr"))
        return out, err

    def _ended(self, timeout: float | None) -> int | None:
        if self.returncode is None:
            status = self._said(timeout)
            if status is not None:
                self.returncode = os.waitstatus_to_exitcode(status)
                os.close(self._pipe)
        return self.returncode

    def _said(self, timeout: float | None) -> int | None:
        """The next number of the server; None if none comes in time."""
        with DefaultSelector() as selector:
            selector.register(self._pipe, EVENT_READ)
            if not selector.select(timeout):
                return None
        said = os.read(self._pipe, fork_server.NUMBER_BYTES)
        assert said, "the server of forked processes has ended"
        return int.from_bytes(said, "big")


Started = Forked | subprocess.Popen[str]


class _Given:
    """One end of a standard stream for a process, and the other one, if it is a pipe."""

    def __init__(self, stream: Stream, *, is_input: bool) -> None:
        self.ours: IO[str] | None = None
        self._opened: int | None = None
        if stream == subprocess.PIPE:
            read, write = os.pipe()
            self._opened, own = (read, write) if is_input else (write, read)
            self.ours = open(own, "w" if is_input else "r")  # noqa: SIM115 - it lives as long as the process
        elif stream == subprocess.DEVNULL:
            self._opened = os.open(os.devnull, os.O_RDWR)
        self.theirs = (
            self._opened if self._opened is not None else stream if isinstance(stream, int) else stream.fileno()
        )

    def close_theirs(self) -> None:
        """Close the process's end here."""
        if self._opened is not None:
            os.close(self._opened)


class _Reader(threading.Thread):
    def __init__(self, stream: IO[str]) -> None:
        super().__init__(daemon=True)
        self._stream = stream
        self.text = ""
        self.start()

    def run(self) -> None:
        self.text = self._stream.read()
        self._stream.close()


def _decisive(environment: Mapping[str, str]) -> dict[str, str]:
    return {
        name: value
        for name, value in environment.items()
        if not name.startswith("EVERWATCH_") and name not in _READ_LATER
    }


def _network() -> str:
    return os.readlink("/proc/thread-self/ns/net")


def _umask() -> int:
    """Return the umask. To set it in order to read it would be seen by other threads."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.partition(":")[2], 8) for line in lines if line.startswith("Umask:"))

"""The way of a caller's output through its keeper: to the executor's stderr up to a bound in each run, else nowhere.

Output of a callable must neither fill disks nor stop it: beyond the bound it is taken out of the pipe and counted.
"""

import fcntl
import os
import select
import socket
import struct
import termios
from contextlib import suppress
from typing import NamedTuple

_ORDER = struct.Struct("<q")
_REPORT = struct.Struct("<qq")
_END = -1
# what a pipe takes at once if it takes anything (PIPE_BUF of POSIX systems is 512 at least; 4,096 on Linux)
_AT_ONCE = 512
_MOST_AT_ONCE = 1 << 20
# for how long a stderr that takes nothing is waited for
_PATIENCE_S = 0.1


class Written(NamedTuple):
    """Output of a run in bytes: kept and dropped."""

    kept: int = 0
    dropped: int = 0


class CallableOutput:
    """The keeper's side: ``source`` is the pipe that the caller writes to, ``orders`` where it says what a run may."""

    def __init__(self, source: int, orders: socket.socket, sink: int) -> None:
        self._source = source
        self._orders = orders
        self._sink = sink
        self._nowhere = os.open(os.devnull, os.O_WRONLY)
        self._left = 0
        self._kept = 0
        self._dropped = 0
        self.watched: list[int] = [orders.fileno(), source]

    def handle(self, ready: list[int]) -> None:
        """Handle those of ``watched`` that are ready."""
        # first of all: the limit of a run is set before it writes
        if self._orders.fileno() in ready:
            self._obey()
        elif self._source in ready:
            self._pass_on(_MOST_AT_ONCE)

    def finish(self) -> Written:
        """Handle the rest of the pipe; return the outcome of the run that was under way."""
        self._drain()
        return Written(self._kept, self._dropped)

    def _obey(self) -> None:
        order = b""
        with suppress(OSError):
            order = self._orders.recv(_ORDER.size)
        if len(order) < _ORDER.size:
            self.watched.remove(self._orders.fileno())
            return
        bound = _ORDER.unpack(order)[0]
        if bound != _END:
            self._left, self._kept = bound, 0
            return
        self._drain()
        with suppress(OSError):
            self._orders.send(_REPORT.pack(self._kept, self._dropped))
        # what is written between runs, by threads or processes that a run left behind, is the next report's
        self._left = self._kept = self._dropped = 0

    def _drain(self) -> None:
        with suppress(OSError):
            waiting = struct.unpack("i", fcntl.ioctl(self._source, termios.FIONREAD, b"\0" * 4))[0]
            while waiting > 0 and (taken := self._pass_on(waiting)):
                waiting -= taken

    def _pass_on(self, most: int) -> int:
        """Take at most so much out of the pipe; returns how many bytes that were."""
        if self._left > 0 and select.select([], [self._sink], [], _PATIENCE_S)[1]:
            return self._keep(min(most, self._left, _AT_ONCE))
        if self._left:
            self._left = 0  # it has no reader
        if hasattr(os, "splice"):  # no copy is made
            taken = os.splice(self._source, self._nowhere, most)
        else:
            taken = len(os.read(self._source, min(most, 1 << 16)))
        self._dropped += taken
        if not taken and self._source in self.watched:
            self.watched.remove(self._source)
        return taken

    def _keep(self, most: int) -> int:
        data = os.read(self._source, most)
        if not data:
            self.watched.remove(self._source)
            return 0
        with suppress(OSError):
            os.write(self._sink, data)
        self._left -= len(data)
        self._kept += len(data)
        if not self._left and not data.endswith(b"\n"):
            with suppress(OSError):
                os.write(self._sink, b"\n")
        return len(data)


class Orders:
    """The caller's side."""

    def __init__(self, link: socket.socket) -> None:
        self._link = link

    def begin(self, bound: int) -> None:
        """A run begins that may write ``bound`` bytes."""
        with suppress(OSError):
            self._link.send(_ORDER.pack(bound))

    def end(self) -> Written:
        """The run is over: the rest of its output."""
        with suppress(OSError, struct.error):  # a callable may close what it likes
            self._link.send(_ORDER.pack(_END))
            return Written(*_REPORT.unpack(self._link.recv(_REPORT.size)))
        return Written()

"""Processes that this one starts, watches over and stops in order.

They hold the other end of a pipe: when this process is gone, however it died, they stop.
"""

import os
import signal
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from everwatch.cli.support.log_rotation import rotate
from everwatch.core.clock import Clock
from everwatch.core.config import environment_with

STOP_WITHIN_S = 10.0
LONGEST_PAUSE_S = 30.0
_LASTED_S = 60.0


@dataclass
class Child:
    """One process: how it is started, and the running one. ``log`` takes what it says; None: our own stderr.

    ``sockets``: file descriptors that it inherits.
    """

    name: str
    command: list[str]
    environment: dict[str, str]
    log: Path | None
    process: subprocess.Popen[bytes] | None = None
    started_at_s: float = 0.0
    pause_s: float = 1.0
    sockets: tuple[int, ...] = ()
    _open_log: IO[bytes] | None = None

    def launch(self, now_s: float) -> None:
        """Start it, for the first time or once more."""
        if self.log is not None and self._open_log is None:
            self._open_log = self.log.open("ab")
        self.started_at_s = now_s
        self.process = subprocess.Popen(  # noqa: S603 - a command of ours, no shell
            self.command,
            stdin=subprocess.PIPE,
            stdout=self._open_log,
            stderr=self._open_log,
            env=self.environment,
            # Ctrl-C in the terminal is for us; we stop the others in order
            start_new_session=True,
            pass_fds=self.sockets,
        )

    def signal(self, number: int) -> None:
        """Send it a signal, if it runs."""
        if self.process is not None and self.process.poll() is None:
            os.kill(self.process.pid, number)

    def close(self) -> None:
        """Close its log."""
        if self._open_log is not None:
            self._open_log.close()


class Children:
    """Starts processes, starts again what dies, and stops them in the order they were started in."""

    def __init__(self, clock: Clock, say: Callable[[str], None]) -> None:
        self._clock = clock
        self._say = say
        self._children: list[Child] = []

    def start(
        self,
        name: str,
        command: list[str],
        extra: Mapping[str, str],
        log: Path | None = None,
        sockets: tuple[int, ...] = (),
    ) -> None:
        """Start ``command`` with our environment and ``extra`` on top; ``sockets``: file descriptors it inherits."""
        child = Child(name, command, environment_with(extra), log, sockets=sockets)
        self._children.append(child)
        child.launch(self._clock.monotonic_s())

    def look_after(self, *, may_start: bool = True) -> list[str]:
        """Restart children that died (after a pause that grows); gives a sentence for each thing that happened.

        With ``may_start`` False what has died is only reported, and a later call starts it. Logs are kept from growing.
        """
        said = []
        now_s = self._clock.monotonic_s()
        for child in self._children:
            if child.log is not None:
                rotate(child.log)
            if child.process is None:
                if may_start and now_s - child.started_at_s >= child.pause_s:
                    child.launch(now_s)
                    said.append(f"{child.name} started again (pid {child.process.pid if child.process else '?'})")
                continue
            status = child.process.poll()
            if status is not None:
                child.process = None
                lasted = now_s - child.started_at_s > _LASTED_S
                child.pause_s = 1.0 if lasted else min(child.pause_s * 2, LONGEST_PAUSE_S)
                child.started_at_s = now_s
                how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
                said.append(f"{child.name} {how}" + (f"; see {child.log}" if child.log else ""))
        return said

    def stop(self) -> None:
        """Stop all of them; by force, after STOP_WITHIN_S, what does not stop by itself."""
        for child in self._children:
            child.signal(signal.SIGTERM)
        deadline_s = self._clock.monotonic_s() + STOP_WITHIN_S
        for child in self._children:
            if child.process is not None:
                try:
                    child.process.wait(max(0.1, deadline_s - self._clock.monotonic_s()))
                except subprocess.TimeoutExpired:
                    self._say(f"{child.name} did not stop within {STOP_WITHIN_S:g} s and was killed.")
                    child.signal(signal.SIGKILL)
                    child.process.wait()
            child.close()
        self._children.clear()

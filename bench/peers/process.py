"""A peer as a process: started, waited for, measured, stopped."""

import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event

import psutil

from everwatch.core.clock import SystemClock
from everwatch.core.config import environment_with

START_WITHIN_S = 60.0
STOP_WITHIN_S = 15.0

_POLL_S = 0.1
_TAIL_LINES = 15


class PeerError(Exception):
    """A peer did not start; the message says why, with the end of its log."""


@dataclass(frozen=True)
class Peer:
    """A peer that runs.

    ``changelog`` is the topic whose records count registrations: one a monitor in Kafka Streams, one a user in plain
    Faust, so the same for users with one monitor each. It exists once the peer is ready.
    """

    name: str
    changelog: str
    process: psutil.Process
    log: Path

    def cpu_s(self) -> float:
        """CPU time that the peer has used, seconds, with its start."""
        times = self.process.cpu_times()
        return float(times.user + times.system)

    def resident_mib(self) -> float:
        """Resident memory of the peer, MiB."""
        return float(self.process.memory_info().rss) / 2**20


@contextmanager
def running(
    name: str,
    changelog: str,
    command: Sequence[str | Path],
    log: Path,
    ready: str,
    variables: Mapping[str, str] | None = None,
) -> Iterator[Peer]:
    """Start ``command``, wait until its log says ``ready``, and stop it at the end.

    Raises PeerError if it ends before, or is not ready within START_WITHIN_S.
    """
    with log.open("wb") as out:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            cwd=log.parent,
            env=environment_with(variables or {}),
        )
    try:
        _wait_until_ready(name, process, log, ready)
        yield Peer(name, changelog, psutil.Process(process.pid), log)
    finally:
        process.terminate()
        try:
            process.wait(STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_ready(name: str, process: subprocess.Popen[bytes], log: Path, ready: str) -> None:
    clock = SystemClock()
    deadline_s = clock.monotonic_s() + START_WITHIN_S
    pause = Event()
    while ready not in _text(log):
        if process.poll() is not None:
            raise PeerError(_explain(f"The peer {name} ended with code {process.returncode} while it started", log))
        if clock.monotonic_s() > deadline_s:
            raise PeerError(_explain(f"The peer {name} was not ready within {START_WITHIN_S:g} s", log))
        pause.wait(_POLL_S)


def _explain(problem: str, log: Path) -> str:
    tail = "\n".join(_text(log).splitlines()[-_TAIL_LINES:]) or "nothing"
    return f"{problem}; its log {log} ends with:\n{tail}"


def _text(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace")

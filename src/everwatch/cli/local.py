"""Everwatch on one machine: an embedded Kafka (unless another is configured) and the processes, watched over.

Children hold the other end of a pipe: when this process is gone, however it died, they stop.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from rich.console import Console

from everwatch.cli.broker import start_broker
from everwatch.clock import Clock
from everwatch.config import Settings, environment_with
from everwatch.errors import EverwatchError
from everwatch.kafka.clients import new_admin
from everwatch.kafka.embedded import EmbeddedKafka
from everwatch.kafka.topics import ensure_topics

STOP_WITHIN_S = 10.0
PROCESSES = ("worker", "executor", "sink")
LONGEST_PAUSE_S = 30.0


@dataclass
class Child:
    """One process: how it is started, and the running one."""

    name: str
    command: list[str]
    environment: dict[str, str]
    log: IO[bytes]
    process: subprocess.Popen[bytes] | None = None
    started_at_s: float = 0.0
    pause_s: float = 1.0
    restarts: int = field(default=0)


class Local:
    """Starts everything, starts again what dies, and stops everything in order: no tick in flight is lost."""

    def __init__(self, settings: Settings, clock: Clock, console: Console) -> None:
        self._settings = settings
        self._clock = clock
        self._console = console
        self._broker: EmbeddedKafka | None = None
        self._children: list[Child] = []
        self.bootstrap_servers = settings.bootstrap_servers

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def log_folder(self) -> Path:
        """Where the processes' logs are."""
        return self._settings.data_dir / "logs"

    def start_kafka(self) -> None:
        """Start the embedded Kafka, unless one is configured, and create the topics."""
        if not self.bootstrap_servers:
            self._broker = start_broker(self._settings, self._clock, self._console)
            self.bootstrap_servers = self._broker.bootstrap_servers
        ensure_topics(new_admin(self._settings, self.bootstrap_servers), self._settings)

    def start(self, name: str, command: list[str] | None = None, extra: Mapping[str, str] | None = None) -> None:
        """Start a process: an everwatch command, or any other ``command``."""
        self.log_folder.mkdir(parents=True, exist_ok=True)
        child = Child(
            name,
            command or [sys.executable, "-m", "everwatch", name, "--stop-with-parent"],
            environment_with(
                {
                    "EVERWATCH_DATA_DIR": str(self._settings.data_dir),
                    "EVERWATCH_BOOTSTRAP_SERVERS": self.bootstrap_servers,
                    **(extra or {}),
                }
            ),
            (self.log_folder / f"{name}.log").open("ab"),
        )
        self._children.append(child)
        self._launch(child)

    def look_after(self) -> list[str]:
        """Start again what has died (after a pause that grows); gives a sentence for each thing that happened.

        Raises EverwatchError when Kafka itself is gone.
        """
        if self._broker is not None and not self._broker.alive():
            raise EverwatchError(f"Kafka ended by itself; see {self._broker.log_path}.")
        said = []
        now = self._clock.monotonic_s()
        for child in self._children:
            if child.process is None:
                if now - child.started_at_s >= child.pause_s:
                    self._launch(child)
                    said.append(f"{child.name} started again (pid {child.process.pid if child.process else '?'})")
                continue
            status = child.process.poll()
            if status is not None:
                child.process = None
                child.pause_s = 1.0 if now - child.started_at_s > 60 else min(child.pause_s * 2, LONGEST_PAUSE_S)
                child.started_at_s = now
                child.restarts += 1
                how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
                said.append(f"{child.name} {how}; see {self.log_folder / (child.name + '.log')}")
        return said

    def stop(self) -> None:
        """Stop the processes in the order they were started in, then Kafka."""
        for child in self._children:
            _signal(child, signal.SIGTERM)
        deadline = self._clock.monotonic_s() + STOP_WITHIN_S
        for child in self._children:
            if child.process is not None:
                try:
                    child.process.wait(max(0.1, deadline - self._clock.monotonic_s()))
                except subprocess.TimeoutExpired:
                    self._console.print(f"{child.name} did not stop within {STOP_WITHIN_S:g} s and was killed.")
                    _signal(child, signal.SIGKILL)
                    child.process.wait()
            child.log.close()
        self._children.clear()
        if self._broker is not None:
            self._broker.stop()
            self._broker = None

    def _launch(self, child: Child) -> None:
        child.started_at_s = self._clock.monotonic_s()
        child.process = subprocess.Popen(  # noqa: S603 - our own command, no shell
            child.command,
            stdin=subprocess.PIPE,
            stdout=child.log,
            stderr=child.log,
            env=child.environment,
            # Ctrl-C in the terminal is for us; we stop the others in order
            start_new_session=True,
        )


def _signal(child: Child, number: int) -> None:
    if child.process is not None and child.process.poll() is None:
        os.kill(child.process.pid, number)

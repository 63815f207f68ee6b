"""The system under diagnosis: its settings, its broker, its clock and disk, as the checks look at them."""

import os
import shutil
import socket
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from threading import Event
from typing import NamedTuple

from confluent_kafka import Consumer

from everwatch.core.clock import Clock
from everwatch.core.config import Settings
from everwatch.kafka.admin_client import Admin
from everwatch.kafka.clients import Clients, KafkaClients
from everwatch.kafka.consumer_groups import worker_client_id
from everwatch.kafka.lag import Lag, measure
from everwatch.kafka.peek import PEEKING
from everwatch.kafka.process_rights import ProcessRole
from everwatch.kafka.progress import Noted, read_emitted_to, read_progress
from everwatch.kafka.topic_administration import check_topics
from everwatch.kafka.topics import Topics
from everwatch.store.database import is_locked

# a rebalance is over by then, and an executor or sink that works has committed
SECOND_LOOK_S = 4.0
ANSWERS_WITHIN_S = 4.0


class DiskSpace(NamedTuple):
    """Size and free space of a file system, bytes."""

    total: int
    free: int


def disk_space(path: Path) -> DiskSpace:
    """Size and free space of the file system of an existing path. Raises OSError."""
    usage = shutil.disk_usage(path)
    return DiskSpace(usage.total, usage.free)


def is_stopped(pid: int) -> bool:
    """Tell whether a process of this machine is stopped by a signal (SIGSTOP, Ctrl-Z); False if unknown."""
    try:
        # behind the name, which may hold anything, in parentheses
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return False
    return state in ("T", "t")


def lock_holder(file: Path) -> int | None:
    """Return the process of this machine that holds ``flock`` on a file; None if none does, or it is unknown.

    Nothing is locked to find it out: a worker that starts at this moment would pass over the folder.
    """
    with suppress(OSError, ValueError, IndexError):
        held = file.stat()
        place = f"{os.major(held.st_dev):02x}:{os.minor(held.st_dev):02x}:{held.st_ino}"
        for line in Path("/proc/locks").read_text(encoding="ascii").splitlines():
            fields = line.split()
            if fields[1] == "FLOCK" and fields[3] == "WRITE" and fields[5] == place:
                return int(fields[4])
    return None


@dataclass(frozen=True)
class System:
    """The system that checks read. Expensive snapshots are cached properties, shared by all checks of one diagnosis.

    ``recent_ms``: dead letters younger than that count. ``processes``: those that run as this user.
    ``pause`` waits a number of seconds. ``host``: this machine's name. ``is_stopped``: is a process of it stopped.
    ``is_locked``: is the database of a URL locked by another process.
    """

    settings: Settings
    bootstrap_servers: str
    clock: Clock
    recent_ms: int = 600_000
    processes: tuple[ProcessRole, ...] = tuple(ProcessRole)
    disk_space: Callable[[Path], DiskSpace] = disk_space
    host: str = field(default_factory=socket.gethostname)
    is_stopped: Callable[[int], bool] = is_stopped
    is_locked: Callable[[str], bool] = is_locked
    pause: Callable[[float], object] = field(default_factory=lambda: Event().wait)
    given_clients: Clients | None = None

    @cached_property
    def topics(self) -> Topics:
        """The names of the topics."""
        return Topics.of(self.settings)

    @cached_property
    def clients(self) -> Clients:
        """The Kafka clients that it is given, or those of its broker."""
        return self.given_clients or KafkaClients(self.settings, self.bootstrap_servers)

    @cached_property
    def admin(self) -> Admin:
        """A client that describes topics and groups."""
        return self.clients.admin()

    @property
    def stopped_workers(self) -> dict[str, int]:
        """Return the workers with folders here whose processes are stopped by a signal: client id and process id."""
        files = sorted((self.settings.data_dir / "workers").glob("*/lock"))
        found = {worker_client_id(self.host, file.parent.name): lock_holder(file) for file in files}
        return {name: pid for name, pid in found.items() if pid is not None and self.is_stopped(pid)}

    @cached_property
    def emitted_to(self) -> dict[int, int]:
        """The instant (ms) up to which each partition's ticks are emitted; without those that had no worker yet."""
        return self._read_emitted_to()

    @cached_property
    def noted(self) -> dict[int, Noted]:
        """Return what each partition's owner noted last with its progress. Raises BrokerUnavailable."""
        return self.read_noted()

    def read_noted(self) -> dict[int, Noted]:
        """Return the same anew. Raises BrokerUnavailable."""
        with closing(self.new_consumer(**PEEKING)) as consumer:
            return read_progress(consumer, self.topics.progress, range(self.settings.partitions))

    @cached_property
    def lag(self) -> Lag:
        """Return how far every process is."""
        return self.measure_lag()

    @cached_property
    def later_lag(self) -> Lag:
        """The same some seconds later, to see what moves. Measured only where a check asks for it."""
        _ = self.lag
        self.pause(SECOND_LOOK_S)
        return self.measure_lag()

    def measure_lag(self) -> Lag:
        """Return how far every process is now, anew. Raises BrokerUnavailable, within seconds if no broker answers."""
        check_topics(self.admin, self.settings, timeout_s=ANSWERS_WITHIN_S)
        return measure(self.settings, self.admin, self.new_consumer, self._read_emitted_to(), self.clock)

    def new_consumer(self, **overrides: object) -> Consumer:
        """A consumer that joins no group: the caller assigns its partitions and closes it."""
        group = f"{self.settings.application}-doctor-{self.settings.instance}"
        return self.clients.consumer(group, **overrides)

    def _read_emitted_to(self) -> dict[int, int]:
        with closing(self.new_consumer(**PEEKING)) as consumer:
            numbers = range(self.settings.partitions)
            return read_emitted_to(self.admin, consumer, self.topics.progress, numbers)

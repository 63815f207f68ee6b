"""The system under diagnosis: its settings, its broker, its clock and disk, as the checks look at them."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from confluent_kafka import Consumer
from confluent_kafka.admin import AdminClient

from everwatch.clock import Clock
from everwatch.config import Settings
from everwatch.kafka.clients import new_admin, new_consumer
from everwatch.kafka.topics import Topics


class DiskSpace(NamedTuple):
    """Size and free space of a file system, bytes."""

    total: int
    free: int


def disk_space(path: Path) -> DiskSpace:
    """Size and free space of the file system of an existing path. Raises OSError."""
    usage = shutil.disk_usage(path)
    return DiskSpace(usage.total, usage.free)


@dataclass(frozen=True)
class System:
    """What checks read. Expensive snapshots are cached properties: all checks of one diagnosis share them."""

    settings: Settings
    bootstrap_servers: str
    clock: Clock
    disk_space: Callable[[Path], DiskSpace] = disk_space

    @cached_property
    def topics(self) -> Topics:
        """The names of the topics."""
        return Topics.of(self.settings)

    @cached_property
    def admin(self) -> AdminClient:
        """A client that describes topics and groups."""
        return new_admin(self.settings, self.bootstrap_servers)

    def new_consumer(self, **overrides: object) -> Consumer:
        """A consumer that joins no group: the caller assigns its partitions and closes it."""
        group = f"{self.settings.application}-doctor-{self.settings.instance}"
        return new_consumer(self.settings, self.bootstrap_servers, group, **overrides)

"""The embedded Kafka of ``everwatch up``, kept running: started again when it dies, once the disk has room for it."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from msgspec.structs import replace

from everwatch.cli.support.child_processes import LONGEST_PAUSE_S
from everwatch.cli.support.embedded_broker import start_broker
from everwatch.core.clock import Clock
from everwatch.core.config import Settings
from everwatch.core.errors import EverwatchError

# with less free than that Kafka and RocksDB cannot write, and with that much they can go on for a while
FULL_BELOW_BYTES = 32 * 1024 * 1024
ROOM_FROM_BYTES = 64 * 1024 * 1024
_SHORTEST_PAUSE_S = 1.0
_LASTED_S = 60.0


class Broker(Protocol):
    """As much of an EmbeddedKafka as is needed to keep it."""

    @property
    def bootstrap_servers(self) -> str: ...
    @property
    def log_path(self) -> Path: ...
    def alive(self) -> bool:
        """Tell whether it runs."""
        ...

    def stop(self) -> None:
        """Shut it down."""
        ...


def free_bytes(folder: Path) -> int:
    """The free space of the file system that a folder is on. Raises OSError."""
    return shutil.disk_usage(folder).free


class KeptKafka:
    """Starts Kafka, and starts it again at the same address when it dies; while the disk is full it waits."""

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        *,
        start: Callable[[Settings, Clock], Broker] = start_broker,
        free: Callable[[Path], int] = free_bytes,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._start = start
        self._free = free
        self._broker: Broker | None = None
        self._pause_s = _SHORTEST_PAUSE_S
        self._at_s = 0.0
        self.is_disk_full = False

    def start(self) -> str:
        """Start Kafka for the first time and return its address. Raises EmbeddedKafkaError, FolderInUse."""
        self._broker = self._start(self._settings, self._clock)
        self._at_s = self._clock.monotonic_s()
        address = self._broker.bootstrap_servers
        # clients know it by this address: started again, Kafka must have the same one
        port = int(address.rpartition(":")[2])
        self._settings = replace(self._settings, kafka_port=port)
        return address

    def look_after(self) -> list[str]:
        """Start Kafka again if it has died, after a pause that grows; gives a sentence for each thing that happened."""
        said = self._look_at_disk()
        now_s = self._clock.monotonic_s()
        if self._broker is not None and not self._broker.alive():
            lasted = now_s - self._at_s > _LASTED_S
            self._pause_s = _SHORTEST_PAUSE_S if lasted else min(2 * self._pause_s, LONGEST_PAUSE_S)
            self._at_s = now_s
            said.append(f"Kafka ended by itself and is started again; see {self._broker.log_path}.")
            # releases the folder
            self._broker.stop()
            self._broker = None
        if self._broker is None and not self.is_disk_full and now_s - self._at_s >= self._pause_s:
            said += self._start_again()
        return said

    def stop(self) -> None:
        """Shut Kafka down, if it runs."""
        if self._broker is not None:
            self._broker.stop()
            self._broker = None

    def _start_again(self) -> list[str]:
        try:
            self._broker = self._start(self._settings, self._clock)
        except EverwatchError as error:
            self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)
            return [f"Kafka does not start, another try follows in {self._pause_s:.0f} s: {error}"]
        finally:
            self._at_s = self._clock.monotonic_s()
        return [f"Kafka runs again at {self._broker.bootstrap_servers}."]

    def _look_at_disk(self) -> list[str]:
        folder = self._settings.data_dir
        try:
            free = self._free(folder)
        except OSError:
            return []  # what cannot be looked at does not keep anything from being started
        was_full = self.is_disk_full
        self.is_disk_full = free < (ROOM_FROM_BYTES if was_full else FULL_BELOW_BYTES)
        if self.is_disk_full and not was_full:
            return [
                f"The disk of {folder} is full ({free // 2**20} MiB free): what ends is started again when"
                f" {ROOM_FROM_BYTES // 2**20} MiB are free. Free some space; nothing is lost."
            ]
        if was_full and not self.is_disk_full:
            self._pause_s = _SHORTEST_PAUSE_S
            return [f"The disk of {folder} has room again ({free // 2**20} MiB free): going on."]
        return []

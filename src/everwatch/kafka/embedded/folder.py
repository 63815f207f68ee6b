"""The folder of an embedded Kafka: which process holds it, whose data it keeps, which broker was left running in it."""

import base64
import fcntl
import json
import os
import uuid
from pathlib import Path
from threading import Event
from types import TracebackType
from typing import Self

import psutil

from everwatch.core.errors import EmbeddedKafkaError, FolderInUse
from everwatch.core.private_files import FILE_MODE, make_private_folder
from everwatch.kafka.embedded.jars import KAFKA_VERSION

NODE_ID = 1
STOP_TIMEOUT_S = 8

_FORMAT_VERSION = "1"
_POLL_S = 0.05


class KafkaFolder:
    """The places inside one embedded Kafka's folder."""

    def __init__(self, root: Path) -> None:
        self.root = Path(root).resolve()
        self.data = self.root / "data"
        self.logs = self.root / "logs"
        self.server_properties = self.root / "server.properties"
        self.log_properties = self.root / "log4j2.properties"
        self.log = self.logs / "kafka.log"
        self.console = self.logs / "console.log"
        self.pid = self.root / "pid"
        self.cluster = self.root / "cluster"
        self.lock = self.root / "lock"
        self.meta_properties = self.data / "meta.properties"

    def create(self) -> None:
        """Make the folders. Raises EmbeddedKafkaError where this user may not."""
        if "," in str(self.root):
            raise EmbeddedKafkaError(
                f"Kafka reads a comma as the end of a folder's name, so it cannot keep data in {self.root}: "
                "choose a folder without one."
            )
        try:
            for folder in (self.data, self.logs):
                make_private_folder(folder)
            for folder in (self.root, self.data, self.logs):
                probe = folder / ".writable"
                probe.touch()
                probe.unlink()
        except OSError as error:
            raise self.unusable(error) from error

    def unusable(self, error: OSError) -> EmbeddedKafkaError:
        """Return the error for a folder that this user cannot write to."""
        return EmbeddedKafkaError(
            f"The embedded Kafka cannot write to its folder {self.root} ({error.strerror or error}): "
            "give this user the right to, or choose another folder."
        )


class FolderLock:
    """Keeps other Everwatch processes out of a folder for as long as this process lives and holds it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def acquire(self) -> None:
        """Take the lock, or raise FolderInUse with the id of the process that holds it."""
        if self._descriptor is not None:
            return
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, FILE_MODE)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(descriptor)
            raise FolderInUse(
                f"The Kafka folder {self._path.parent} is in use by the Everwatch process {holder}: "
                "stop that process, or choose another folder."
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        self._descriptor = descriptor

    def release(self) -> None:
        """Give the lock back; harmless if it is not held."""
        if self._descriptor is not None:
            # Unlocked by name: a forked child shares the descriptor, and closing ours alone would leave it locked.
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)
            os.close(self._descriptor)
            self._descriptor = None


def stop_stale_broker(folder: KafkaFolder) -> int | None:
    """Stop the broker that a killed Everwatch process left running in ``folder``; return its process id, if any.

    The caller holds the folder's lock, so no living Everwatch process owns that broker. A process that merely
    got the same id since is recognised by its command line and left alone. Raises EmbeddedKafkaError if the
    broker cannot be stopped.
    """
    try:
        pid = int(folder.pid.read_text(encoding="ascii"))
        process = psutil.Process(pid)
        ours = str(folder.server_properties) in process.cmdline()
    except (OSError, ValueError, psutil.Error):
        ours = False
    if not ours:
        folder.pid.unlink(missing_ok=True)
        return None
    if not _ends(process):
        raise EmbeddedKafkaError(
            f"A Kafka broker that an earlier run left behind, process {pid}, still holds {folder.root} and cannot "
            "be stopped: end that process, then start again."
        )
    folder.pid.unlink(missing_ok=True)
    return pid


def _ends(process: psutil.Process) -> bool:
    """Ask a process that is not our child to end, then make it; False if it runs on anyway."""
    pause = Event()
    try:
        for end in (process.terminate, process.kill):
            end()
            for _ in range(int(STOP_TIMEOUT_S / _POLL_S)):
                if _has_ended(process):
                    return True
                pause.wait(_POLL_S)
    except psutil.NoSuchProcess:
        return True
    except psutil.AccessDenied:
        return False
    return False


def _has_ended(process: psutil.Process) -> bool:
    if not process.is_running():
        return True
    # a zombie has ended, though in a container no parent may ever collect it; but while other threads
    # of the dying process are left, so are its ports and file locks.
    return bool(process.status() == psutil.STATUS_ZOMBIE and process.num_threads() <= 1)


def recognise_cluster(folder: KafkaFolder) -> str:
    """Return the cluster id of ``folder``, choosing and remembering one for a new folder.

    Raises EmbeddedKafkaError if the data there belong to another cluster, or to a Kafka whose format this one
    does not read.
    """
    meta = _read_properties(folder.meta_properties)
    remembered = _read_remembered(folder)
    if meta and (meta.get("version") != _FORMAT_VERSION or "cluster.id" not in meta):
        raise EmbeddedKafkaError(
            f"{folder.meta_properties} is of format {meta.get('version', 'unknown')}, but Kafka {KAFKA_VERSION} "
            f"reads only format {_FORMAT_VERSION}: choose another folder, or move the old data away."
        )
    newest = remembered.get("kafka_version", KAFKA_VERSION)
    if _release(newest) > _release(KAFKA_VERSION):
        raise EmbeddedKafkaError(
            f"The data in {folder.root} were written by Kafka {newest}, which Kafka {KAFKA_VERSION} cannot read: "
            "use the Everwatch version that wrote them, or choose another folder."
        )
    found = meta.get("cluster.id")
    cluster_id = remembered.get("cluster_id") or found or _new_cluster_id()
    if found and found != cluster_id:
        raise EmbeddedKafkaError(
            f"The data in {folder.data} belong to the Kafka cluster {found}, not to {cluster_id}, for which the "
            f"folder was made ({folder.cluster}): put the right data back, or choose another folder."
        )
    current = {"cluster_id": cluster_id, "kafka_version": KAFKA_VERSION}
    if remembered != current:
        fresh = folder.cluster.with_name("cluster.new")
        fresh.write_text(json.dumps(current) + "\n", encoding="ascii")
        os.replace(fresh, folder.cluster)
    return cluster_id


def _read_remembered(folder: KafkaFolder) -> dict[str, str]:
    try:
        remembered = json.loads(folder.cluster.read_text(encoding="ascii"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError):
        remembered = None
    if not isinstance(remembered, dict) or not all(isinstance(value, str) for value in remembered.values()):
        raise EmbeddedKafkaError(
            f"{folder.cluster}, which names the Kafka cluster of this folder, cannot be read: "
            "delete that file to accept the data as they are, or choose another folder."
        )
    return remembered


def _read_properties(path: Path) -> dict[str, str]:
    try:
        lines = path.read_text(encoding="latin-1").splitlines()
    except FileNotFoundError:
        return {}
    pairs = (line.partition("=") for line in lines if not line.startswith("#"))
    return {key.strip(): value.strip() for key, _, value in pairs if key.strip()} or {"version": "unknown"}


def _release(version: str) -> tuple[int, ...]:
    # Patch releases of one minor release share their format.
    return tuple(int(part) for part in version.split(".")[:2] if part.isdigit())


def _new_cluster_id() -> str:
    # As Kafka's own Uuid prints itself; it takes an id that starts with a dash for a command-line option.
    while (text := base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")).startswith("-"):
        pass
    return text

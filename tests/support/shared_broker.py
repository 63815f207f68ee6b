"""One embedded Kafka for all processes of a run of tests: the first that needs it starts it, the last one ends it.

A process of its own keeps the broker: ``python -m support.shared_broker FOLDER``. Whoever uses the broker holds a
shared lock on a file, which the keeper waits to have for itself: the system gives locks back however a process ends.
"""

import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple

from everwatch.core.clock import SystemClock
from everwatch.kafka.embedded import EmbeddedKafka, EmbeddedKafkaSettings
from support import class_archive
from support.waiting import wait_until

# a broker that gets no CPU for some seconds would take itself for gone, and its partitions with it
PATIENT = {"broker.session.timeout.ms": "60000", "broker.heartbeat.interval.ms": "10000"}
_TESTS = Path(__file__).parents[1]


class SharedBroker(NamedTuple):
    """A broker that other tests use at the same time, and the folder where it keeps its data."""

    bootstrap_servers: str
    folder: Path


class _Files:
    """Locks of the broker's keeper and its users.

    ``turn`` is held by whoever starts or ends the broker, ``users`` by each of its users, ``keeper`` by the keeper.
    ``address`` is there while the broker runs.
    """

    def __init__(self, folder: Path) -> None:
        self.kafka = folder / "kafka"
        self.address = folder / "address"
        self.log = folder / "keeper.log"
        self.turn, self.users, self.keeper = (folder / f"{name}.lock" for name in ("turn", "users", "keeper"))


@contextmanager
def shared_broker(folder: Path, *, lives_long: bool = False) -> Iterator[SharedBroker]:
    """Use the broker of a folder, which is started if it does not run; the last user waits until it has ended.

    ``lives_long``: it will be used for longer than six minutes.
    """
    folder.mkdir(exist_ok=True)
    files = _Files(folder)
    keeper = None
    with _locked(files.users, fcntl.LOCK_SH) as users:
        with _locked(files.turn):
            if not files.address.exists():
                keeper = _start_keeper(folder, files, lives_long=lives_long)
            broker = SharedBroker(files.address.read_text(), files.kafka)
        yield broker
        fcntl.flock(users, fcntl.LOCK_UN)
        if _is_alone(users):
            fcntl.flock(users, fcntl.LOCK_UN)
            with _locked(files.keeper):
                pass
            if keeper is not None:
                keeper.wait()


def _start_keeper(folder: Path, files: _Files, *, lives_long: bool) -> subprocess.Popen[bytes]:
    with files.log.open("wb") as log:
        keeper = subprocess.Popen(
            [sys.executable, "-m", "support.shared_broker", str(folder)],
            cwd=_TESTS,
            env=os.environ | {"JAVA_TOOL_OPTIONS": class_archive.java_options(lives_long=lives_long)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            # Ctrl-C ends the tests, and thereby the broker
            start_new_session=True,
        )
    wait_until("the broker runs", lambda: files.address.exists() or keeper.poll() is not None, 180)
    assert files.address.exists(), files.log.read_text()
    return keeper


def keep(folder: Path) -> None:
    """Run the broker for as long as anybody uses it."""
    files = _Files(folder)
    settings = EmbeddedKafkaSettings(files.kafka, overrides=PATIENT)
    with _locked(files.keeper), EmbeddedKafka(settings, SystemClock()) as kafka:
        written = files.address.with_suffix(".new")
        written.write_text(kafka.bootstrap_servers)
        written.replace(files.address)
        while True:
            with _locked(files.users):
                pass
            # somebody may come before it is this one's turn
            with _locked(files.turn), files.users.open("w") as users:
                if _is_alone(users):
                    files.address.unlink()
                    kafka.stop()
                    return


@contextmanager
def _locked(path: Path, how: int = fcntl.LOCK_EX) -> Iterator[IO[str]]:
    with path.open("w") as file:
        fcntl.flock(file, how)
        yield file


def _is_alone(users: IO[str]) -> bool:
    """Tell whether nobody else holds the lock, which is held from now on if so."""
    try:
        fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


if __name__ == "__main__":
    keep(Path(sys.argv[1]))

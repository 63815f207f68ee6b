"""A PostgreSQL server of one's own: on a unix socket in a scratch folder, never asked over the network.

The tests use it too.
"""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import psycopg

from bench.errors import Unmeasured
from everwatch.core.clock import SystemClock

START_WITHIN_S = 240.0
_NOBODY = "nobody"


class Missing(Unmeasured):
    """PostgreSQL is not installed."""


class PostgresServer:
    """A running server; ``stop`` ends it by its process id.

    With a ``primary`` it is that one's standby. ``data``: a folder for its files, which stays; one that a server left
    there is gone on with.
    """

    def __init__(self, *settings: str, primary: "PostgresServer | None" = None, data: Path | None = None) -> None:
        self._programs = _programs()
        # short, and not below pytest's folder: a socket's path has 107 characters, and that folder is the user's alone
        self.folder = Path(tempfile.mkdtemp(prefix="everwatch-pg-"))
        self._numbers = count(1)
        self._process: subprocess.Popen[bytes] | None = None
        self._settings = settings
        if os.geteuid() == 0:
            # initdb refuses to run as root
            user = pwd.getpwnam(_NOBODY)
            os.chown(self.folder, user.pw_uid, user.pw_gid)
        self._data, user_name = data or self.folder / "data", ["--username", "everwatch"]
        place = ["--pgdata", str(self._data), *user_name]
        command: list[str | Path] = [self._programs / "initdb", *place, "--auth", "trust"]
        command += ["--no-sync", "--encoding", "UTF8", "--locale", "C.UTF-8"]
        if primary is not None:
            command = [self._programs / "pg_basebackup", *place, "--host", primary.folder]
            command += ["--write-recovery-conf", "--checkpoint", "fast", "--no-sync"]
        if not (self._data / "PG_VERSION").exists():
            subprocess.run(command, check=True, capture_output=True, cwd=self.folder, **_as_nobody())
        self.start()

    @property
    def pid(self) -> int:
        """Process id of the postmaster."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it and wait until it answers."""
        with (self.folder / "server.log").open("ab") as log:
            command: list[str | Path] = [self._programs / "postgres", "-D", self._data, "-k", self.folder]
            for setting in ("listen_addresses=", *self._settings):
                command += ["-c", setting]
            self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder, **_as_nobody())
        deadline_s = SystemClock().monotonic_s() + START_WITHIN_S
        while not self.answers():
            if SystemClock().monotonic_s() > deadline_s:
                raise Unmeasured(f"PostgreSQL did not answer within {START_WITHIN_S:g} s.")
            time.sleep(0.05)

    def answers(self) -> bool:
        """Return True if the server accepts connections. Raises Unmeasured if its process has ended."""
        assert self._process is not None
        if self._process.poll() is not None:
            raise Unmeasured(f"PostgreSQL ended: {(self.folder / 'server.log').read_text()[-2_000:]}")
        try:
            psycopg.connect(self.url("postgres"), connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True

    def stop(self, number: signal.Signals = signal.SIGINT) -> None:
        """End it: fast (SIGINT), or at once as a crash would (SIGQUIT)."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)
            self._process.wait(60)

    def remove(self) -> None:
        """End it and delete its folder."""
        # files that stay are left as a next server needs them
        self.stop(signal.SIGQUIT if self._data.is_relative_to(self.folder) else signal.SIGINT)
        shutil.rmtree(self.folder, ignore_errors=True)

    def url(self, database: str) -> str:
        """The URL of one of its databases."""
        return f"postgresql://everwatch@/{database}?host={self.folder}"

    def run(self, statement: str, database: str = "postgres") -> list[tuple[object, ...]]:
        """Execute a statement outside of any transaction and return what it gives."""
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def new_database(self, template: str = "template1") -> str:
        """Create a database and return its URL."""
        name = f"test_{next(self._numbers)}"
        self.run(f"CREATE DATABASE {name} TEMPLATE {template}")
        return self.url(name)

    def drop_database(self, url: str) -> None:
        """Drop a database that is used no more."""
        self.run(f"DROP DATABASE {name_in(url)} WITH (FORCE)")


@contextmanager
def running(
    *settings: str, primary: PostgresServer | None = None, data: Path | None = None
) -> Iterator[PostgresServer]:
    """A server with these settings ("name=value"). Raises Missing."""
    server = PostgresServer(*settings, primary=primary, data=data)
    try:
        yield server
    finally:
        server.remove()


def name_in(url: str) -> str:
    """The database that a URL of a server names."""
    return url.split("/")[3].partition("?")[0]


def _programs() -> Path:
    found = shutil.which("initdb")
    places = [Path(found).parent] if found else []
    places += sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda place: int(place.parent.name))
    for place in reversed(places):
        if (place / "postgres").exists():
            return place
    raise Missing("PostgreSQL is not installed: apt-get install postgresql")


def _as_nobody() -> dict[str, Any]:
    return {"user": _NOBODY, "group": pwd.getpwnam(_NOBODY).pw_gid, "extra_groups": []} if os.geteuid() == 0 else {}

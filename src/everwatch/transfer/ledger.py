"""Ledger of an import: a digest for each user and each user's monitor that was sent, in a file of its own.

A row whose digest is there need not be sent again. Digests are written after the brokers have acknowledged the records,
so a crash forgets some that were sent, and what is sent twice is one signup to the worker. Before a changed record is
sent, the digest of the old one is taken away: until the new one is noted, the brokers may have either of them.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple, Self

from everwatch.core.errors import FolderInUse, SettingsError
from everwatch.core.private_files import make_private_database

_AT_ONCE = 1_000
_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS sent (key BLOB PRIMARY KEY, digest BLOB NOT NULL, number INTEGER NOT NULL)"
    " WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS refused (key BLOB PRIMARY KEY, digest BLOB NOT NULL, reason TEXT NOT NULL,"
    " at INTEGER NOT NULL, plans BLOB NOT NULL) WITHOUT ROWID",
    # from where on the replies to what was sent have not been read
    "CREATE TABLE IF NOT EXISTS replies (partition INTEGER PRIMARY KEY, position INTEGER NOT NULL)",
)
_NOTE = "INSERT INTO sent VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET digest = excluded.digest"
# no record has an empty digest
_DOUBT = "UPDATE sent SET digest = x'' WHERE key = ?"
_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


class LedgerMark(NamedTuple):
    """Mark of a key that was sent: the digest of the record's value; ``number`` is the key's own, from 0."""

    key: bytes
    digest: bytes
    number: int


class RefusedRow(NamedTuple):
    """A row that a worker refused: its digest, the reason, when that was learned (ms), and the digest of the plans
    that it had been checked against (empty without any)."""

    digest: bytes
    reason: str
    at: int
    plans: bytes


def digest_of(value: bytes) -> bytes:
    """The digest of a record's value."""
    return blake2b(value, digest_size=16).digest()


class Ledger:
    """Digests of one source. The file is locked while it is open."""

    def __init__(self, path: Path, *, keep: bool = True) -> None:
        """Open or make the file; without ``keep`` nothing is made, and nothing noted stays.

        Raises FolderInUse if another import has it open, SettingsError if it cannot be used.
        """
        self._path, self._keep = path, keep
        try:
            if keep:
                make_private_database(path)
            place = str(path) if keep or path.exists() else ":memory:"
            self._connection = sqlite3.connect(place, timeout=0, isolation_level=None)
        except (OSError, sqlite3.Error) as error:
            raise SettingsError(f"The state file {path} cannot be opened: {error}.") from None
        try:
            for statement in (
                "PRAGMA locking_mode = EXCLUSIVE",
                "PRAGMA journal_mode = WAL",
                # a power cut may undo the last commits: what they noted is sent again
                "PRAGMA synchronous = NORMAL",
                "PRAGMA cache_size = -65536",
                "BEGIN IMMEDIATE",
                *_SCHEMA,
            ):
                self._connection.execute(statement)
            if keep:
                # the lock stays: a connection in this mode gives it back when it is closed
                self._connection.execute("COMMIT")
            (newest,) = self._connection.execute("SELECT max(number) FROM sent").fetchone()
        except sqlite3.Error as error:
            self._connection.close()
            if error.sqlite_errorcode & 0xFF in _BUSY:
                raise FolderInUse(
                    f"Another import is at work with the state file {path}: wait for it, or name another with --state."
                ) from None
            raise SettingsError(
                f"The state file {path} cannot be used ({error}): name another with --state, or remove it."
            ) from None
        self._next = 0 if newest is None else newest + 1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def known(self, keys: Sequence[bytes]) -> dict[bytes, LedgerMark]:
        """Return the marks of these keys, as far as there are any. Raises SettingsError if they cannot be read."""
        found: dict[bytes, LedgerMark] = {}
        for begin in range(0, len(keys), _AT_ONCE):
            some = keys[begin : begin + _AT_ONCE]
            places = ",".join("?" * len(some))
            statement = f"SELECT key, digest, number FROM sent WHERE key IN ({places})"  # noqa: S608 - placeholders
            try:
                found.update((row[0], LedgerMark(*row)) for row in self._connection.execute(statement, some))
            except sqlite3.Error as error:
                raise SettingsError(f"The state file {self._path} cannot be read: {error}.") from None
        return found

    def new_number(self) -> int:
        """A number for a key that has none yet."""
        self._next += 1
        return self._next - 1

    def note(self, marks: Iterable[LedgerMark]) -> None:
        """Note sent rows, durably unless the power goes. Raises SettingsError if it cannot be written."""
        with self._writing():
            self._connection.executemany(_NOTE, marks)

    def doubt(self, keys: Iterable[bytes]) -> None:
        """Forget the digests of keys before something else is sent under them; their numbers stay.

        Durable even when the power goes. Raises SettingsError if it cannot be written.
        """
        with self._writing("FULL"):
            self._connection.executemany(_DOUBT, [(key,) for key in keys])

    def refuse(self, key: bytes, refused: RefusedRow) -> None:
        """Note that a worker refused the row of a key: it does not count as sent any more."""
        with self._writing():
            self._connection.execute("INSERT OR REPLACE INTO refused VALUES (?, ?, ?, ?, ?)", (key, *refused))
            self._connection.execute(_DOUBT, (key,))

    def refusal(self, key: bytes) -> RefusedRow | None:
        """The last refusal of a key. Raises SettingsError if it cannot be read."""
        found = self._all("SELECT digest, reason, at, plans FROM refused WHERE key = ?", key)
        return RefusedRow(*found[0]) if found else None

    def unread(self) -> dict[int, int]:
        """From where on the replies have to be read, by partition; empty if all that was sent is known."""
        return dict(self._all("SELECT partition, position FROM replies"))

    def read_up_to(self, positions: Mapping[int, int]) -> None:
        """Note from where on the replies have to be read."""
        with self._writing("FULL"):
            self._connection.executemany("INSERT OR REPLACE INTO replies VALUES (?, ?)", positions.items())

    def read_all(self) -> None:
        """Note that the outcome of all that was sent is known."""
        with self._writing():
            self._connection.execute("DELETE FROM replies")

    def _all(self, statement: str, *values: object) -> list[Any]:
        try:
            return self._connection.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            raise SettingsError(f"The state file {self._path} cannot be read: {error}.") from None

    @contextmanager
    def _writing(self, synchronous: str = "NORMAL") -> Iterator[None]:
        """One transaction, undone as a whole where it fails; without ``keep`` a part of the one that never ends."""
        try:
            if not self._keep:
                yield
                return
            self._connection.execute(f"PRAGMA synchronous = {synchronous}")
            self._connection.execute("BEGIN")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                # sqlite may have undone it by itself
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            raise SettingsError(f"The state file {self._path} cannot be written: {error}.") from None

    def close(self) -> None:
        """Close the file, for others to use."""
        self._connection.close()

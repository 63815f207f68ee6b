"""SQLite: the file, how it is opened, and one clear sentence for each fault."""

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL
from sqlalchemy.exc import DataError, IntegrityError, SQLAlchemyError

from everwatch.core.errors import EverwatchError, StoreError
from everwatch.core.private_files import FILE_MODE, make_private_database, make_private_folder
from everwatch.store.interface import StoreBusy, Unstorable
from everwatch.store.sketch import COMPACTED, compacted

# longer waits are the sink's business: it retries, and between two tries it can be stopped
BUSY_TIMEOUT_MS = 1_000
# a sink's transaction takes a fraction of that
LOCKED_S = 3.0
# pages, 80 MB: the fewer checkpoints, the more changes of one page are written as one
CHECKPOINT_EVERY_PAGES = 20_000
CACHE_KIB = 65_536

_BEGIN = "everwatch_begin"
# for a connection of a writer's engine that only reads: it needs no lock, and waits for none
READS_ONLY = {_BEGIN: "BEGIN"}

_REASONS = {
    sqlite3.SQLITE_FULL: "the disk is full: free some space and start again",
    sqlite3.SQLITE_READONLY: "it may not be written to: check the permissions of the file and its folder",
    sqlite3.SQLITE_CANTOPEN: "the file cannot be opened: check that its folder exists and may be written to",
    sqlite3.SQLITE_PERM: "the file may not be opened: check its permissions",
    sqlite3.SQLITE_IOERR: "reading or writing the disk failed: check the disk",
    sqlite3.SQLITE_NOTADB: "the file is not an SQLite database: move it away, or choose another EVERWATCH_DATABASE",
    sqlite3.SQLITE_CORRUPT: "the file is damaged: restore a backup, or move it away and let the sink build it anew",
}


def new_writer(url: URL) -> Engine:
    """Return an engine that writes; the folder is made where missing. Raises StoreError."""
    file = file_of(url)
    try:
        make_private_database(file)
    except OSError as error:
        raise StoreError(f"The folder {file.parent} of the database cannot be made: {error.strerror}.") from None
    # a writer locks at once: a read that turns into a write half-way cannot wait for the lock
    return _new_engine(url, begin="BEGIN IMMEDIATE")


def new_reader(url: URL) -> Engine:
    """Return an engine that reads a file that exists. Raises StoreError."""
    file = file_of(url)
    if not file.exists():
        raise StoreError(f"There is no database at {file} yet: it is made when a sink starts.")
    return _new_engine(url, begin="BEGIN")


def file_of(url: URL) -> Path:
    """Return the database's file. Raises StoreError for a database in memory."""
    if url.database in (None, "", ":memory:"):
        raise StoreError("An SQLite database in memory keeps nothing: name a file, sqlite:////folder/everwatch.db.")
    return Path(url.database or "")


@contextmanager
def sole_writer(url: URL, process: str) -> Iterator[None]:
    """Be the one sink, or notifier, of the database's file. Raises StoreError if another process is."""
    file = file_of(url)
    try:
        make_private_folder(file.parent)
        # beside the database: closing a second descriptor of its file would release SQLite's locks
        descriptor = os.open(f"{file}-{process}", os.O_RDWR | os.O_CREAT, FILE_MODE)
    except OSError as error:
        raise StoreError(f"The folder {file.parent} of the database cannot be used: {error.strerror}.") from None
    try:
        _lock(descriptor, file, process)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, file: Path, process: str) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
        raise StoreError(
            f"The {process} of process {holder} stores into {file} already, and SQLite takes one {process}: stop that"
            " one, or set EVERWATCH_DATABASE to a PostgreSQL database, which takes several."
        ) from None
    except OSError as error:
        raise StoreError(f"The file {file}-{process} cannot be locked: {error.strerror}.") from None
    # only the sentence above needs the number: SQLite itself reports a full disk
    with suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)


def size_of(url: URL) -> int:
    """Return the bytes that the database takes on disk, with the part that is not yet moved into its file."""
    file = file_of(url)
    return sum(part.stat().st_size for part in (file, Path(f"{file}-wal")) if part.exists())


def is_locked(url: URL, locked_s: float = LOCKED_S) -> bool:
    """Tell whether another process holds the write lock for longer than a transaction takes; False without a file."""
    file = file_of(url)
    if not file.exists():
        return False
    with closing(sqlite3.connect(file, timeout=locked_s, isolation_level=None)) as connection:
        try:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("ROLLBACK")
        except sqlite3.OperationalError as error:
            return error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
    return False


def translate(error: Exception, url: URL) -> EverwatchError | None:
    """Return what an error of the driver means; None for an error that is not the driver's."""
    if isinstance(error, (DataError, IntegrityError, sqlite3.DataError, sqlite3.IntegrityError)):
        return Unstorable(f"the database refuses it: {getattr(error, 'orig', None) or error}")
    if isinstance(error, UnicodeEncodeError):
        return Unstorable("the database takes no text that is not Unicode: it has half of a surrogate pair")
    if not isinstance(error, (SQLAlchemyError, sqlite3.Error)):
        return None
    # what fails while a connection is being configured comes without SQLAlchemy's wrapping
    cause = getattr(error, "orig", None) or error
    # the low byte is the primary code, the rest says more about the same
    code = (getattr(cause, "sqlite_errorcode", None) or 0) & 0xFF
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return StoreBusy(f"The database {url.database} is locked by another process.")
    return StoreError(f"The database {url.database} failed: {_REASONS.get(code, str(cause))}.")


def _new_engine(url: URL, *, begin: str) -> Engine:
    engine = create_engine(url, connect_args={"timeout": BUSY_TIMEOUT_MS / 1000})

    @event.listens_for(engine, "connect")
    def configure(connection: sqlite3.Connection, _record: object) -> None:
        # the driver would begin transactions by its own rules, and not before DDL
        connection.isolation_level = None
        for pragma in (
            "journal_mode = WAL",
            # a power cut may undo the last commits, together with their offsets: they are read again
            "synchronous = NORMAL",
            f"cache_size = -{CACHE_KIB}",
            f"wal_autocheckpoint = {CHECKPOINT_EVERY_PAGES}",
        ):
            connection.execute(f"PRAGMA {pragma}")
        connection.create_function(COMPACTED, 1, compacted, deterministic=True)

    @event.listens_for(engine, "begin")
    def take_the_lock(connection: Connection) -> None:
        connection.exec_driver_sql(connection.get_execution_options().get(_BEGIN, begin))

    return engine

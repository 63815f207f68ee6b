"""Opening the database: the engine, its settings, its schema, and one clear sentence for what can go wrong."""

import logging
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DataError, IntegrityError, SQLAlchemyError

from everwatch.errors import StoreError
from everwatch.private import make_private_database
from everwatch.store.interface import StoreBusy, Unstorable

logger = logging.getLogger(__name__)
# it reports at every opening, in words that tell nothing to whoever runs a sink
logging.getLogger("alembic.runtime.migration").setLevel(logging.WARNING)

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


def parse_url(database_url: str) -> URL:
    """The URL, if it is one of a database that can be used. Raises StoreError."""
    try:
        url = make_url(database_url)
    except ArgumentError:
        raise StoreError(
            "EVERWATCH_DATABASE is not a database URL: write sqlite:////folder/everwatch.db, or leave it empty."
        ) from None
    if url.drivername not in ("sqlite", "sqlite+pysqlite"):
        raise StoreError(
            f"The database scheme {url.drivername!r} is not supported: EVERWATCH_DATABASE must begin with sqlite:///."
        )
    if _file(url) is None:
        raise StoreError("An SQLite database in memory keeps nothing: name a file, sqlite:////folder/everwatch.db.")
    return url


def open_for_writing(database_url: str) -> Engine:
    """An engine on an up-to-date schema; folder, file and tables are made where missing. Raises StoreError."""
    url = parse_url(database_url)
    file = _file(url)
    if file is not None:
        try:
            make_private_database(file)
        except OSError as error:
            raise StoreError(f"The folder {file.parent} of the database cannot be made: {error.strerror}.") from None
    # a writer locks at once: a read that turns into a write half-way cannot wait for the lock
    engine = _new_engine(url, begin="BEGIN IMMEDIATE")
    with clear_errors(url), engine.begin() as connection:
        migrate(connection)
    return engine


def open_for_reading(database_url: str) -> Engine:
    """An engine on a database that some sink has made. Raises StoreError when there is none or its schema differs."""
    url = parse_url(database_url)
    file = _file(url)
    if file is not None and not file.exists():
        raise StoreError(f"There is no database at {file} yet: it is made when a sink starts.")
    engine = _new_engine(url, begin="BEGIN")
    with clear_errors(url), engine.connect() as connection:
        found = revision_of(connection)
    if found != newest_revision():
        _refuse_newer(found)
        raise StoreError(
            f"The database {url.database} is from before this version of Everwatch (schema {found or 'none'}):"
            " start this version's sink once, which brings it up to date."
        )
    return engine


def is_locked(database_url: str) -> bool:
    """Tell whether another process holds the database's write lock for longer than a transaction takes.

    False where there is no database yet.
    """
    url = parse_url(database_url)
    file = _file(url)
    if file is None or not file.exists():
        return False
    with closing(sqlite3.connect(file, timeout=LOCKED_S, isolation_level=None)) as connection:
        try:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("ROLLBACK")
        except sqlite3.OperationalError as error:
            return error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
    return False


def migrate(connection: Connection) -> None:
    """Bring the schema up to date inside the connection's transaction. Raises StoreError for one from the future."""
    found = revision_of(connection)
    if found == newest_revision():
        return
    _refuse_newer(found)
    config = _alembic_config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
    logger.info("the database's schema went from %s to %s", found or "nothing", newest_revision())


def revision_of(connection: Connection) -> str | None:
    """The schema revision that the database is at; None for an empty one."""
    return MigrationContext.configure(connection).get_current_revision()


def newest_revision() -> str | None:
    """The schema revision that this version of Everwatch works with."""
    return ScriptDirectory.from_config(_alembic_config()).get_current_head()


@contextmanager
def clear_errors(url: URL) -> Iterator[None]:
    """Turn what the database driver raises into Unstorable, StoreBusy or StoreError."""
    try:
        yield
    except (DataError, IntegrityError, sqlite3.DataError, sqlite3.IntegrityError) as error:
        raise Unstorable(f"the database refuses it: {getattr(error, 'orig', None) or error}") from error
    except (SQLAlchemyError, sqlite3.Error) as error:
        # what fails while a connection is being configured comes without SQLAlchemy's wrapping
        cause = getattr(error, "orig", None) or error
        # the low byte is the primary code, the rest says more about the same
        code = (getattr(cause, "sqlite_errorcode", None) or 0) & 0xFF
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise StoreBusy(f"The database {url.database} is locked by another process.") from error
        reason = _REASONS.get(code, str(cause))
        raise StoreError(f"The database {url.database} failed: {reason}.") from error


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

    @event.listens_for(engine, "begin")
    def take_the_lock(connection: Connection) -> None:
        connection.exec_driver_sql(connection.get_execution_options().get(_BEGIN, begin))

    return engine


def _file(url: URL) -> Path | None:
    if url.get_backend_name() != "sqlite" or url.database in (None, "", ":memory:"):
        return None
    return Path(url.database or "")


def _refuse_newer(found: str | None) -> None:
    known = {script.revision for script in ScriptDirectory.from_config(_alembic_config()).walk_revisions()}
    if found is not None and found not in known:
        raise StoreError(
            f"The database was written by a newer version of Everwatch (schema {found}): upgrade this installation."
        )


def _alembic_config() -> Config:
    config = Config()
    # Alembic takes % for the start of a variable
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    return config

"""Opening the database: which one, its schema, and one clear sentence for each fault.

Alembic is imported when there is something to migrate: it takes as long to import as a command that reads takes in all.
"""

import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol, cast

from sqlalchemy import Connection, Engine, String, inspect, literal_column, select, table, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from everwatch.core.errors import EverwatchError, StoreError
from everwatch.store import sqlite
from everwatch.store.backfill import fill_texts
from everwatch.store.search import ensure_indexes

if TYPE_CHECKING:
    from alembic.config import Config

logger = logging.getLogger(__name__)
# it logs each migration in words that say nothing to an operator; `migrate` logs one line instead
logging.getLogger("alembic.runtime.migration").setLevel(logging.WARNING)

_SQLITE = ("sqlite", "sqlite+pysqlite")
_POSTGRESQL = ("postgresql", "postgres", "postgresql+psycopg")
# advisory lock of a process that migrates; any number that no other application of the server takes
_MIGRATION_LOCK = 0x4556_5741_5443_4800


class Schema(NamedTuple):
    """A set of tables with revisions of its own: the folder of its migrations, the table that holds its revision, and
    the process that makes it. The file of a migration begins with its revision: ``0001_first_tables.py``."""

    migrations: Path
    version_table: str
    process: str

    def revisions(self) -> list[str]:
        """Return the revisions that this version of Everwatch knows, the one that it works with last."""
        files = (self.migrations / "versions").glob("[0-9]*.py")
        return sorted(file.name.partition("_")[0] for file in files)


MAIN = Schema(Path(__file__).parent / "migrations", "alembic_version", "sink")
"""What the sink stores."""


class Backend(Protocol):
    """Functions of the module of one kind of database."""

    def new_writer(self, url: URL) -> Engine:
        """Return an engine that writes. Raises StoreError."""
        ...

    def new_reader(self, url: URL) -> Engine:
        """Return an engine that only reads. Raises StoreError."""
        ...

    def sole_writer(self, url: URL, process: str, /) -> AbstractContextManager[None]:
        """Be the one writer, a sink or a notifier, where there may be only one. Raises StoreError if another is."""
        ...

    def is_locked(self, url: URL) -> bool:
        """Tell whether the sink waits for a lock that another process holds."""
        ...

    def translate(self, error: Exception, url: URL) -> EverwatchError | None:
        """Return what an error of the driver means: Unstorable, StoreBusy or StoreError; None if it is not its own."""
        ...


def parse_url(database_url: str) -> URL:
    """Return the URL, if it is one of a database that can be used. Raises StoreError."""
    try:
        url = make_url(database_url)
    except (ArgumentError, ValueError):
        raise StoreError(
            "EVERWATCH_DATABASE is not a database URL: write sqlite:////folder/everwatch.db,"
            " postgresql://user:password@host/database, or leave it empty."
        ) from None
    if url.drivername in _POSTGRESQL:
        return url.set(drivername="postgresql+psycopg")
    if url.drivername not in _SQLITE:
        raise StoreError(
            f"The database scheme {url.drivername!r} is not supported: EVERWATCH_DATABASE must begin with sqlite:///"
            " or postgresql://."
        )
    sqlite.file_of(url)
    return url


def shown_url(database_url: str) -> str:
    """Return the URL without its password. Raises StoreError."""
    url = parse_url(database_url)
    return url.difference_update_query(["password"]).render_as_string(hide_password=True)


def open_for_writing(database_url: str, schema: Schema = MAIN) -> Engine:
    """An engine on an up-to-date schema; folder, file and tables are made where missing. Raises StoreError."""
    url = parse_url(database_url)
    engine = _backend(url).new_writer(url)
    with clear_errors(url):
        with engine.begin() as connection:
            migrate(connection, schema)
        if schema is MAIN:
            fill_texts(engine)
            with engine.begin() as connection:
                # made of filled tables; an administrator may have created the extension since
                hold_migrations(connection)
                ensure_indexes(connection)
    return engine


def open_for_reading(database_url: str, schema: Schema = MAIN) -> Engine:
    """An engine on a database that its process has made. Raises StoreError when there is none or its schema differs."""
    url = parse_url(database_url)
    engine = _backend(url).new_reader(url)
    with clear_errors(url), engine.connect() as connection:
        found = revision_of(connection, schema)
    if found != schema.revisions()[-1]:
        _refuse_newer(found, schema)
        process = schema.process
        if found is None and url.get_backend_name() == "postgresql":
            raise StoreError(f"The database {url.database} has no tables yet: they are made when a {process} starts.")
        raise StoreError(
            f"The database {url.database} is from before this version of Everwatch (schema {found or 'none'}):"
            f" start this version's {process} once, which brings it up to date."
        )
    return engine


@contextmanager
def as_writer(database_url: str, process: str = MAIN.process) -> Iterator[None]:
    """Be a sink (or notifier) of the database meanwhile. Raises StoreError if there is one and it takes no other."""
    url = parse_url(database_url)
    with _backend(url).sole_writer(url, process):
        yield


def is_locked(database_url: str) -> bool:
    """Tell whether another process keeps the sink from writing for longer than a transaction takes.

    False where there is no database yet.
    """
    url = parse_url(database_url)
    with clear_errors(url):
        return _backend(url).is_locked(url)


def migrate(connection: Connection, schema: Schema = MAIN) -> None:
    """Bring the schema up to date inside the connection's transaction. Raises StoreError for one from the future."""
    if connection.dialect.name == "postgresql":
        _refuse_older_server(connection)
    hold_migrations(connection)
    found = revision_of(connection, schema)
    newest = schema.revisions()[-1]
    if found == newest:
        return
    _refuse_newer(found, schema)
    from alembic import command

    config = _alembic_config(schema)
    config.attributes["connection"] = connection
    config.attributes["version_table"] = schema.version_table
    command.upgrade(config, "head")
    logger.info("the %s's schema went from %s to %s", schema.process, found or "nothing", newest)


def hold_migrations(connection: Connection) -> None:
    """Lock the schema until the transaction ends: a second sink finds the work of the first.

    On SQLite a transaction of a writer holds the database as it is.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})


def revision_of(connection: Connection, schema: Schema = MAIN) -> str | None:
    """The schema revision that the database is at; None for an empty one."""
    if not inspect(connection).has_table(schema.version_table):
        return None
    found = select(literal_column("version_num", String)).select_from(table(schema.version_table))
    revision: str | None = connection.scalar(found)
    return revision


@contextmanager
def clear_errors(url: URL) -> Iterator[None]:
    """Turn what the database driver raises into Unstorable, StoreBusy or StoreError."""
    try:
        yield
    except Exception as error:
        clear = _backend(url).translate(error, url)
        if clear is None:
            raise
        raise clear from error


@cache
def _module(backend_name: str) -> Backend:
    # a driver is imported where it is used
    return cast(Backend, import_module(f"everwatch.store.{'postgres' if backend_name == 'postgresql' else 'sqlite'}"))


def _backend(url: URL) -> Backend:
    return _module(url.get_backend_name())


def _refuse_older_server(connection: Connection) -> None:
    from everwatch.store.postgres import OLDEST_VERSION

    version = connection.dialect.server_version_info or (0,)
    if int(version[0]) < OLDEST_VERSION:
        found = ".".join(map(str, version))
        raise StoreError(f"The database server is PostgreSQL {found}: version {OLDEST_VERSION} or newer is needed.")


def _refuse_newer(found: str | None, schema: Schema) -> None:
    if found is not None and found not in schema.revisions():
        raise StoreError(
            f"The database was written by a newer version of Everwatch (schema {found}): upgrade this installation."
        )


def _alembic_config(schema: Schema) -> "Config":
    from alembic.config import Config

    config = Config()
    # Alembic takes % for the start of a variable
    config.set_main_option("script_location", str(schema.migrations).replace("%", "%%"))
    return config

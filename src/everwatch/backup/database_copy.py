"""Copies of the databases within a backup: made beside processes that write them, and put where there are none.

With SQLite the notifier has a file of its own; in PostgreSQL its tables lie in the same database.
"""

import hashlib
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import Connection, Engine, create_engine, delete, func, insert, inspect, select, text, update
from sqlalchemy.engine import URL

from everwatch.backup.damage import Damaged
from everwatch.backup.manifest import DatabaseCopy, DatabaseKind, FileCopy, Manifest, ReaderOffsets
from everwatch.backup.postgres_programs import check_loadable, dump, load
from everwatch.backup.record_file import unwritable
from everwatch.core.config import Settings
from everwatch.core.errors import StoreError
from everwatch.core.private_files import make_private_folder
from everwatch.kafka.topics import Topics
from everwatch.notifier.storage import SCHEMA as NOTIFIER
from everwatch.notifier.storage import database_url_of
from everwatch.notifier.tables import alert_events, notifier_offsets
from everwatch.notifier.tables import metadata as notifier_metadata
from everwatch.store.database import MAIN, Schema, clear_errors, open_for_reading, parse_url, revision_of
from everwatch.store.sql_schema import metadata, results, sink_offsets
from everwatch.store.sqlite import file_of

SQLITE_FILE, NOTIFIER_FILE, POSTGRESQL_FILE = "database.sqlite", "notifier.sqlite", "database.pgdump"
_CHUNK = 1024 * 1024
_STEPS_BETWEEN_LOOKS = 100_000
OFFSET_TABLES = {"sink": sink_offsets, "notifier": notifier_offsets}


class _Watch:
    """Ends a statement of SQLite when the process is interrupted."""

    interruption: KeyboardInterrupt | None = None

    def __call__(self) -> int:
        try:
            # a signal is handled here at the latest
            return int(self.interruption is not None)
        except KeyboardInterrupt as error:
            self.interruption = error
            return 1


class CopiedDatabase(NamedTuple):
    """Copy of a database in a backup, and the stored offsets."""

    copy: DatabaseCopy
    file: FileCopy
    offsets: list[ReaderOffsets]


class DatabaseUrls(NamedTuple):
    """URLs of the databases. ``notifier``: None where the notifier's tables lie in ``main``."""

    main: str
    notifier: str | None


def urls_of(settings: Settings) -> DatabaseUrls:
    """Return the URLs of the databases. Raises StoreError for a URL that is none."""
    main, notifier = settings.database_url, database_url_of(settings)
    return DatabaseUrls(main, notifier if parse_url(main).get_backend_name() == "sqlite" else None)


def has_database(database_url: str) -> bool:
    """Tell whether there is a database to be copied. Raises StoreError for a URL that is none."""
    url = parse_url(database_url)
    return url.get_backend_name() != "sqlite" or file_of(url).exists()


def copy_databases(settings: Settings, folder: Path, topics: Topics) -> dict[str, CopiedDatabase]:
    """Copy the databases that there are, each as of one instant, by their fields of the manifest.

    Raises StoreError, EverwatchError.
    """
    main, notifier = urls_of(settings)
    found = {}
    if notifier is None or file_of(parse_url(main)).exists():
        found["database"] = copy_database(main, folder, topics)
    if notifier is not None and file_of(url := parse_url(notifier)).exists():
        # also one of a notifier that was not started since an upgrade: the next start brings the copy up to date
        found["notifier_database"] = _copy_sqlite(url, folder, topics, NOTIFIER_FILE, NOTIFIER)
    return found


def copy_database(database_url: str, folder: Path, topics: Topics) -> CopiedDatabase:
    """Copy the sink's database as of one instant into ``folder``. Raises StoreError, EverwatchError."""
    url = parse_url(database_url)
    source = open_for_reading(database_url)
    try:
        if url.get_backend_name() == "sqlite":
            return _copy_sqlite(url, folder, topics, SQLITE_FILE, MAIN)
        return _copy_postgres(source, url, folder, topics)
    finally:
        source.dispose()


def check_fresh(database_url: str) -> None:
    """Raise StoreError unless a database can be restored there: no file yet, or one without tables."""
    url = parse_url(database_url)
    if url.get_backend_name() == "sqlite":
        file = file_of(url)
        # SQLite would take a log of changes that is left for one of the new file
        if found := [each for each in (file, Path(f"{file}-wal")) if each.exists()]:
            raise StoreError(
                f"There is a database at {found[0]} already: move it away, or set EVERWATCH_DATABASE to another place."
            )
        return
    with _engine_of(url) as engine, clear_errors(url), engine.connect() as connection:
        tables = metadata.tables.keys() | notifier_metadata.tables.keys()
        if there := sorted(set(inspect(connection).get_table_names()) & tables):
            raise StoreError(
                f"The database {url.database} is not empty (it has the table {there[0]}): restore into a new one."
            )


def check_target_databases(manifest: Manifest, folder: Path, settings: Settings) -> None:
    """Raise StoreError unless the backup's databases can be restored, and nothing is where new ones will be."""
    urls = urls_of(settings)
    kind = DatabaseKind(parse_url(urls.main).get_backend_name())
    for copy in manifest.databases:
        if copy.kind is not kind:
            raise StoreError(
                f"The backup holds a database of {copy.kind}, and EVERWATCH_DATABASE names one of {kind}: set it to a"
                f" new database of {copy.kind}."
            )
        if kind is DatabaseKind.POSTGRESQL:
            check_loadable(parse_url(urls.main), folder / copy.file)
    for url in urls:
        # also where the backup holds none: an old one has the offsets of topics that are gone
        if url is not None:
            check_fresh(url)


def put_databases(
    manifest: Manifest, folder: Path, settings: Settings, offsets: Sequence[ReaderOffsets], topics: Topics
) -> None:
    """Put the copies where ``check_fresh`` found nothing, with these offsets. Raises as ``put_database`` does."""
    main, notifier = urls_of(settings)
    for copy, url in ((manifest.database, main), (manifest.notifier_database, notifier or main)):
        if copy is not None:
            put_database(copy, folder, url, offsets, topics)


def put_database(
    copy: DatabaseCopy, folder: Path, database_url: str, offsets: Iterable[ReaderOffsets], topics: Topics
) -> None:
    """Put the copy where ``check_fresh`` found nothing, with these offsets in place of its own.

    Raises StoreError when it cannot be written, Damaged when it holds something else than the manifest says.
    """
    url = parse_url(database_url)
    if copy.kind is DatabaseKind.POSTGRESQL:
        load(url, folder / copy.file)
        with _engine_of(url) as engine:
            _adopt(engine, copy, offsets, topics)
        return
    file = file_of(url)
    partial = file.with_name(f"{file.name}.restoring")
    try:
        make_private_folder(file.parent)
        partial.unlink(missing_ok=True)
        with (folder / copy.file).open("rb") as source, partial.open("xb") as target:
            while data := source.read(_CHUNK):
                target.write(data)
        partial.chmod(0o600)
        with _engine_of(url.set(database=str(partial))) as engine:
            _adopt(engine, copy, offsets, topics)
        with partial.open("rb") as stream:
            os.fsync(stream.fileno())
        partial.replace(file)
    except OSError as error:
        raise unwritable(file, error) from None
    finally:
        partial.unlink(missing_ok=True)


def check_sqlite(copy: DatabaseCopy, folder: Path) -> None:
    """Compare the copy of an SQLite database with the manifest. Raises Damaged."""
    with _engine_of(_read_only(folder / copy.file)) as engine, engine.connect() as connection:
        try:
            said = connection.execute(text("PRAGMA integrity_check")).scalar_one()
        except Exception as error:
            raise Damaged(copy.file, f"it is not a database ({getattr(error, 'orig', error)})") from None
        if said != "ok":
            raise Damaged(copy.file, f"SQLite finds it damaged: {said}")
        _compare(connection, copy)


def _copy_sqlite(url: URL, folder: Path, topics: Topics, name: str, schema: Schema) -> CopiedDatabase:
    file = folder / name
    with clear_errors(url), closing(sqlite3.connect(file_of(url), timeout=60)) as connection:
        # signals are handled while Python runs, which it does not within a statement
        watch = _Watch()
        connection.set_progress_handler(watch, _STEPS_BETWEEN_LOOKS)
        try:
            connection.execute("VACUUM INTO ?", (str(file),))
        except sqlite3.OperationalError:
            if watch.interruption is not None:
                raise watch.interruption from None
            raise
    with _engine_of(_read_only(file)) as engine, engine.connect() as connection:
        copy = _described(connection, DatabaseKind.SQLITE, name, schema)
        offsets = _offsets_in(connection, topics)
    return CopiedDatabase(copy, finished(file), offsets)


def _copy_postgres(source: Engine, url: URL, folder: Path, topics: Topics) -> CopiedDatabase:
    file = folder / POSTGRESQL_FILE
    with clear_errors(url), source.execution_options(isolation_level="REPEATABLE READ").connect() as connection:
        # the program and this connection see the same instant
        snapshot = connection.execute(select(func.pg_export_snapshot())).scalar_one()
        dump(url, snapshot, file)
        copy = _described(connection, DatabaseKind.POSTGRESQL, POSTGRESQL_FILE, MAIN)
        offsets = _offsets_in(connection, topics)
    return CopiedDatabase(copy, finished(file), offsets)


def finished(file: Path) -> FileCopy:
    """Return size and digest of a file, once it is durable. Raises EverwatchError."""
    try:
        with file.open("rb") as stream:
            os.fsync(stream.fileno())
        return digest_of_file(file)
    except OSError as error:
        raise unwritable(file, error) from None


def digest_of_file(file: Path) -> FileCopy:
    """Return size and digest of a file. Raises OSError."""
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return FileCopy(file.stat().st_size, digest)


def _described(connection: Connection, kind: DatabaseKind, file: str, schema: Schema) -> DatabaseCopy:
    return DatabaseCopy(kind, file, revision_of(connection, schema) or "", _rows(connection), _days(connection))


def _rows(connection: Connection) -> dict[str, int]:
    there = set(inspect(connection).get_table_names())
    tables = {**metadata.tables, **notifier_metadata.tables}
    return {
        name: connection.execute(select(func.count()).select_from(table)).scalar_one()
        for name, table in sorted(tables.items())
        if name in there
    }


def _days(connection: Connection) -> dict[str, int]:
    if not inspect(connection).has_table(results.name):
        return {}
    day = text("scheduled_at / 86400000")
    rows = connection.execute(select(day, func.count()).select_from(results).group_by(text("1")).order_by(text("1")))
    return {datetime.fromtimestamp(number * 86_400, UTC).date().isoformat(): count for number, count in rows}


def _offsets_in(connection: Connection, topics: Topics) -> list[ReaderOffsets]:
    names = {topic: name for name, topic in topics.by_name.items()}
    there = set(inspect(connection).get_table_names())
    found = []
    for reader, table in OFFSET_TABLES.items():
        if table.name not in there:
            continue
        offsets: dict[str, dict[int, int]] = {}
        for topic, number, offset in connection.execute(select(table).where(table.c.next_offset > 0)):
            if topic in names:
                offsets.setdefault(names[topic], {})[number] = offset
        found.append(ReaderOffsets(reader, offsets))
    return found


def _adopt(engine: Engine, copy: DatabaseCopy, offsets: Iterable[ReaderOffsets], topics: Topics) -> None:
    names = topics.by_name
    with engine.begin() as connection:
        _compare(connection, copy)
        there = set(inspect(connection).get_table_names())
        for each in offsets:
            table = OFFSET_TABLES.get(each.reader)
            if table is None or table.name not in there:
                continue
            connection.execute(delete(table))
            rows = [
                {"topic": names[name], "partition": number, "next_offset": offset}
                for name, by_partition in each.offsets.items()
                for number, offset in by_partition.items()
                if offset > 0
            ]
            if rows:
                connection.execute(insert(table), rows)
            if each.reader == "notifier":
                # events that wait come before those of the new topics, whose offsets begin anew
                past = select(func.max(alert_events.c.position) + 1).scalar_subquery()
                connection.execute(update(alert_events).values(position=alert_events.c.position - past))


def _compare(connection: Connection, copy: DatabaseCopy) -> None:
    for what, found, expected in (
        ("rows of tables", _rows(connection), copy.rows),
        ("results of days", _days(connection), copy.days),
    ):
        if found != expected:
            wrong = sorted(name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name))
            said = ", ".join(f"{name} {found.get(name, 0)} instead of {expected.get(name, 0)}" for name in wrong[:3])
            raise Damaged(copy.file, f"{what} are not those of the manifest: {said}")


def _read_only(file: Path) -> URL:
    return URL.create("sqlite", database=f"file:{file}", query={"mode": "ro", "uri": "true"})


@contextmanager
def _engine_of(url: URL) -> Iterator[Engine]:
    engine = create_engine(url)
    try:
        yield engine
    finally:
        engine.dispose()

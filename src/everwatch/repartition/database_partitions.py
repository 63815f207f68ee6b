"""The database at a change of the partition count: where its readers stand, and what the notifier keeps by partition.

The sink and the notifier begin at the first record of topics that they do not know, so no offset is written. The sink
takes the partitions of users and monitors from the new changelog, which it reads as a whole.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine, Table, func, select, update

from everwatch.backup.database_copy import has_database
from everwatch.backup.manifest import ReaderOffsets
from everwatch.core.config import Settings
from everwatch.core.errors import StoreError
from everwatch.kafka.topics import Topics
from everwatch.notifier.storage import SCHEMA, database_url_of
from everwatch.notifier.tables import alert_events, incidents, notifier_offsets
from everwatch.store.database import clear_errors, open_for_reading, open_for_writing, parse_url, revision_of
from everwatch.store.sql_schema import sink_offsets

_AT_ONCE = 500


def reader_offsets(settings: Settings) -> list[ReaderOffsets]:
    """Return the offsets of the sink, and of the notifier where there is one. Raises StoreError."""
    names = {topic: name for name, topic in Topics.of(settings).by_name.items()}
    found = []
    if has_database(settings.database_url):
        engine = open_for_reading(settings.database_url)
        try:
            found.append(ReaderOffsets("sink", _offsets(engine, sink_offsets, names)))
        finally:
            engine.dispose()
    with _notifier(settings) as notifier:
        if notifier is not None:
            found.append(ReaderOffsets("notifier", _offsets(notifier, notifier_offsets, names)))
    return found


def move_notifier(settings: Settings, place: Callable[[bytes], int]) -> int:
    """Give what the notifier keeps of users their partitions by ``place``; return the number of users.

    Alerts that wait to be judged come before those of the new topics, whose offsets begin anew. Once more changes
    nothing. Raises StoreError.
    """
    with _notifier(settings, write=True) as engine:
        if engine is None:
            return 0
        with clear_errors(engine.url), engine.begin() as connection:
            users = _users(connection)
            by_partition: dict[int, list[str]] = {}
            for user in users:
                by_partition.setdefault(place(user.encode()), []).append(user)
            for number, all_of_them in by_partition.items():
                for begin in range(0, len(all_of_them), _AT_ONCE):
                    some = all_of_them[begin : begin + _AT_ONCE]
                    for table in (alert_events, incidents):
                        moved = update(table).where(table.c.user_id.in_(some)).values(partition=number)
                        connection.execute(moved)
            past = connection.execute(select(func.max(alert_events.c.position))).scalar()
            if past is not None and past >= 0:
                connection.execute(update(alert_events).values(position=alert_events.c.position - past - 1))
            return len(users)


def _users(connection: Connection) -> set[str]:
    found: set[str] = set()
    for table in (alert_events, incidents):
        found.update(connection.execute(select(table.c.user_id).distinct()).scalars())
    return found


def _offsets(engine: Engine, table: Table, names: dict[str, str]) -> dict[str, dict[int, int]]:
    offsets: dict[str, dict[int, int]] = {}
    with clear_errors(engine.url), engine.connect() as connection:
        for topic, number, offset in connection.execute(select(table).where(table.c.next_offset > 0)):
            if topic in names:
                offsets.setdefault(names[topic], {})[number] = offset
    return offsets


@contextmanager
def _notifier(settings: Settings, *, write: bool = False) -> Iterator[Engine | None]:
    """Open the notifier's database; None where no notifier has made one. Raises StoreError."""
    if not has_database(settings.database_url):
        yield None
        return
    url = database_url_of(settings)
    if not has_database(url):
        yield None
        return
    if parse_url(url).get_backend_name() != "sqlite" and not _has_tables(settings.database_url):
        yield None
        return
    engine = open_for_writing(url, SCHEMA) if write else open_for_reading(url, SCHEMA)
    try:
        yield engine
    finally:
        engine.dispose()


def _has_tables(url: str) -> bool:
    try:
        engine = open_for_reading(url)
    except StoreError:
        return False
    try:
        with clear_errors(engine.url), engine.connect() as connection:
            return revision_of(connection, SCHEMA) is not None
    finally:
        engine.dispose()

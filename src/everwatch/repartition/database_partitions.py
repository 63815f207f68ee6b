"""The database at a change of the partition count: where its readers stand, and what the notifier keeps by partition.

The sink and the notifier begin at the first record of topics that they do not know. They do so with all but the new
table of monitors: read as a whole, its older entries would stand over newer ones for a while.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from sqlalchemy import Connection, Engine, Table, delete, func, insert, select, update

from everwatch.backup.database_copy import has_database
from everwatch.backup.manifest import ReaderOffsets
from everwatch.backup.stages import Stages
from everwatch.core.config import Settings
from everwatch.core.errors import StoreError
from everwatch.kafka.topics import Topics
from everwatch.notifier.storage import SCHEMA, database_url_of
from everwatch.notifier.tables import alert_events, incidents, notifier_offsets
from everwatch.store.database import clear_errors, open_for_reading, open_for_writing, parse_url, revision_of
from everwatch.store.sql_schema import monitors, sink_offsets, tasks, users

_AT_ONCE = 500


def reader_offsets(settings: Settings) -> list[ReaderOffsets]:
    """Return the offsets of the sink, and of the notifier where there is one. Raises StoreError."""
    names = {topic: name for name, topic in Topics.of(settings).by_name.items()}
    found = []
    with _sink(settings) as sink:
        if sink is not None:
            found.append(ReaderOffsets("sink", _offsets(sink, sink_offsets, names)))
    with _notifier(settings) as notifier:
        if notifier is not None:
            found.append(ReaderOffsets("notifier", _offsets(notifier, notifier_offsets, names)))
    return found


def note_table_offsets(settings: Settings, new: Settings, offsets: Mapping[int, int]) -> None:
    """Have the sink and the notifier read the new table of monitors from these offsets on. Raises StoreError."""
    topic = Topics.of(new).monitors_changelog
    rows = [{"topic": topic, "partition": n, "next_offset": offset} for n, offset in offsets.items() if offset]
    with _sink(settings, write=True) as sink, _notifier(settings, write=True) as notifier:
        for engine, table in ((sink, sink_offsets), (notifier, notifier_offsets)):
            if engine is None:
                continue
            with clear_errors(engine.url), engine.begin() as connection:
                connection.execute(delete(table).where(table.c.topic == topic))
                if rows:
                    connection.execute(insert(table), rows)


def move_catalogue(settings: Settings, place: Callable[[bytes], int], stages: Stages) -> int:
    """Give users, monitors and tasks of the database their partitions by ``place``; return the number of users.

    In small transactions, also beside a sink. Counts are kept by partition and summed up, so they need no change.
    Raises StoreError.
    """
    with _sink(settings, write=True) as engine:
        if engine is None:
            return 0
        moved, last = 0, ""
        while True:
            with clear_errors(engine.url), engine.begin() as connection:
                column = users.c.user_id
                some = list(
                    connection.execute(select(column).where(column > last).order_by(column).limit(_AT_ONCE)).scalars()
                )
                _move(connection, (users, monitors, tasks), some, place)
            moved += len(some)
            stages.advance(len(some))
            if len(some) < _AT_ONCE:
                return moved
            last = some[-1]


def move_notifier(settings: Settings, place: Callable[[bytes], int]) -> int:
    """Give what the notifier keeps of users their partitions by ``place``; return the number of users.

    Alerts that wait to be judged come before those of the new topics, whose offsets begin anew. Once more changes
    nothing. Raises StoreError.
    """
    with _notifier(settings, write=True) as engine:
        if engine is None:
            return 0
        with clear_errors(engine.url), engine.begin() as connection:
            found = _users(connection)
            for begin in range(0, len(found), _AT_ONCE):
                _move(connection, (alert_events, incidents), found[begin : begin + _AT_ONCE], place)
            past = connection.execute(select(func.max(alert_events.c.position))).scalar()
            if past is not None and past >= 0:
                connection.execute(update(alert_events).values(position=alert_events.c.position - past - 1))
            return len(found)


def _move(connection: Connection, tables: Sequence[Table], some: Iterable[str], place: Callable[[bytes], int]) -> None:
    """Give these users' rows their partitions."""
    by_partition: dict[int, list[str]] = {}
    for user in some:
        by_partition.setdefault(place(user.encode()), []).append(user)
    for number, of_it in sorted(by_partition.items()):
        for table in tables:
            wrong = table.c.user_id.in_(of_it) & (table.c.partition != number)
            connection.execute(update(table).where(wrong).values(partition=number))


def _users(connection: Connection) -> list[str]:
    found: set[str] = set()
    for table in (alert_events, incidents):
        found.update(connection.execute(select(table.c.user_id).distinct()).scalars())
    return sorted(found)


def _offsets(engine: Engine, table: Table, names: dict[str, str]) -> dict[str, dict[int, int]]:
    offsets: dict[str, dict[int, int]] = {}
    with clear_errors(engine.url), engine.connect() as connection:
        for topic, number, offset in connection.execute(select(table).where(table.c.next_offset > 0)):
            if topic in names:
                offsets.setdefault(names[topic], {})[number] = offset
    return offsets


@contextmanager
def _sink(settings: Settings, *, write: bool = False) -> Iterator[Engine | None]:
    """Open the database; None where there is none. Raises StoreError."""
    url = settings.database_url
    if not has_database(url):
        yield None
        return
    engine = open_for_writing(url) if write else open_for_reading(url)
    try:
        yield engine
    finally:
        engine.dispose()


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

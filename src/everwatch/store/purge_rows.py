"""The rows of purged users: which of them are from before, deleting them, and the note that keeps them away."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from sqlalchemy import (
    ColumnElement,
    Connection,
    Table,
    and_,
    bindparam,
    case,
    delete,
    exists,
    false,
    or_,
    select,
    true,
)

from everwatch.store.bulk_statements import Bulk, insert_into
from everwatch.store.counters import Counters
from everwatch.store.partition import Partition
from everwatch.store.purged_users import Purge, hash_of
from everwatch.store.sql_schema import (
    audit_log,
    daily_rollups,
    dead_letters,
    former_specs,
    hourly_rollups,
    monitor_history,
    monitor_labels,
    monitor_search,
    monitors,
    purged_users,
    replies,
    results,
    tasks,
    transitions,
    user_search,
    users,
)

# users that are asked for in one statement; SQLite takes at most 32,766 parameters
AT_ONCE = 1_000


def note(connection: Connection, begun: Sequence[Purge]) -> None:
    """Note purges for the sinks; an earlier one takes nothing back. Notes that nothing can come of any more go."""
    c = purged_users.c
    connection.execute(delete(purged_users).where(c.kept_until < min(each.ended_at for each in begun)))
    insert = insert_into(purged_users, connection.dialect)
    new = insert.excluded
    greater = {
        column.name: case((column < new[column.name], new[column.name]), else_=column)
        for column in (c.ended_at, c.kept_until)
    }
    noting = Bulk(
        insert.on_conflict_do_update(index_elements=[c.user_hash], set_=greater), c.keys(), connection.dialect
    )
    # in one order, so that no two wait for each other
    noting.run(connection, sorted((hash_of(each.user_id), each.ended_at, each.kept_until) for each in begun))


def noted(connection: Connection, now: int, user_ids: Callable[[], Iterable[str]]) -> dict[str, int]:
    """Instants at which purged users ended, by the hash of their id, while records of them may still come.

    The cost does not depend on how many notes there are, and ``user_ids`` is asked only if there are any.
    """
    c = purged_users.c
    if connection.execute(select(c.user_hash).where(c.kept_until >= now).limit(1)).first() is None:
        return {}
    hashes = sorted({hash_of(user_id) for user_id in user_ids()})
    asked = select(c.user_hash, c.ended_at).where(c.kept_until >= now)
    return {
        row.user_hash: row.ended_at
        for begin in range(0, len(hashes), AT_ONCE)
        for row in connection.execute(asked.where(c.user_hash.in_(hashes[begin : begin + AT_ONCE])))
    }


def delete_some(connection: Connection, purge: Purge, stored: Mapping[Partition, int], most: int) -> dict[str, int]:
    """Delete at most ``most`` rows of each table that are a purged user's from before; gives how many of which."""
    deleted: dict[str, int] = {}
    with overwriting(connection):
        for table, is_old in old_rows(purge.ended_at, purge.is_passed(stored)):
            key = list(table.primary_key.columns)
            found = connection.execute(select(*key).where(table.c.user_id == purge.user_id, is_old).limit(most))
            if places := [tuple(row) for row in found]:
                Counters(connection.dialect).remove(connection, table.name, places)
                _deletion_of(table, connection).run(connection, places)
                deleted[table.name] = len(places)
        _delete_texts(connection, purge.user_id, most)
    return deleted


@contextmanager
def overwriting(connection: Connection) -> Iterator[None]:
    """Let SQLite overwrite rows that the block deletes, else they stay readable in pages that are free.

    Not later ones of this connection: each costs a write.
    """
    if connection.dialect.name != "sqlite":
        yield
        return
    before = connection.exec_driver_sql("PRAGMA secure_delete").scalar_one()
    connection.exec_driver_sql("PRAGMA secure_delete = ON")
    try:
        yield
    finally:
        connection.exec_driver_sql(f"PRAGMA secure_delete = {('OFF', 'ON', 'FAST')[before]}")


def old_rows(ended_at: int, is_passed: bool) -> Iterator[tuple[Table, ColumnElement[bool]]]:
    """Every table with users' rows, and which rows are from up to ``ended_at``.

    Where the sink has not passed the user's deletion (``is_passed``), all of the catalogue is from before. Where it
    has, earlier monitors and labels are gone, and what is there may be a new registration's.
    """
    everything = false() if is_passed else true()
    history = monitor_history.c
    yield results, results.c.scheduled_at <= ended_at
    # the hour and the day in which the user ended go whole
    yield hourly_rollups, hourly_rollups.c.at <= ended_at
    yield daily_rollups, daily_rollups.c.at <= ended_at
    yield transitions, transitions.c.at <= ended_at
    yield replies, replies.c.at <= ended_at
    yield audit_log, audit_log.c.at <= ended_at
    sent = dead_letters.c.source_ms
    yield dead_letters, or_(dead_letters.c.refused_at <= ended_at, and_(sent > 0, sent <= ended_at))
    # one that was to begin later ended anyway
    yield monitor_history, or_(everything, history.since <= ended_at, history.until <= ended_at)
    yield tasks, or_(everything, tasks.c.created_at <= ended_at)
    yield former_specs, or_(everything, former_specs.c.replaced_at <= ended_at)
    yield monitor_labels, everything
    yield monitors, or_(everything, monitors.c.since <= ended_at)
    yield users, or_(everything, users.c.registered_at <= ended_at)


def _delete_texts(connection: Connection, user_id: str, most: int) -> None:
    """Delete what monitors of a user, and the user, are found by, if they are gone."""
    search, own = monitor_search.c, monitors.c
    is_there = exists().where(own.user_id == search.user_id, own.monitor_id == search.monitor_id)
    gone = connection.execute(select(search.id).where(search.user_id == user_id, ~is_there).limit(most))
    _deletion_of(monitor_search, connection).run(connection, [tuple(row) for row in gone])
    if connection.execute(select(users.c.user_id).where(users.c.user_id == user_id)).first() is None:
        connection.execute(delete(user_search).where(user_search.c.user_id == user_id))


def _deletion_of(table: Table, connection: Connection) -> Bulk:
    """Return the statement that deletes rows of a table by their primary key."""
    key = list(table.primary_key.columns)
    is_it = and_(*(column == bindparam(f"b_{column.name}", type_=column.type) for column in key))
    return Bulk(delete(table).where(is_it), [f"b_{column.name}" for column in key], connection.dialect)

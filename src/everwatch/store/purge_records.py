"""The rows of purges that the sink carries out."""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, and_, case, delete, literal_column, or_, select, tuple_, update

from everwatch.schedule.duration import DAY_MS
from everwatch.store.bulk_statements import Bulk, insert_into
from everwatch.store.purged_users import MOST_TO_DO, AskedPurge, PurgeOutcome, StoredPurge
from everwatch.store.sql_schema import purges, users

KEPT_MS = 7 * DAY_MS
"""How long a purge that is over is kept, ms."""

_c = purges.c


def put_purges(connection: Connection, asked: Iterable[AskedPurge]) -> None:
    """Store purges to carry out; one that is there stays as it is, unless the user was ended later once more.

    That is carried out, too: the user may have signed up again in between. Of a purge that is carried out, and whose
    user the same worker ended before, what is known stays.
    """
    dialect = connection.dialect
    insert = insert_into(purges, dialect)
    new = insert.excluded
    goes_on = and_(_c.over_at == literal_column("0"), _c.partition == new.partition)
    replacing: dict[str, ColumnElement[Any]] = {column.name: new[column.name] for column in purges.c}
    replacing["was_watched"] = or_(new.was_watched, and_(goes_on, _c.was_watched))
    replacing["deleted"] = case((goes_on, _c.deleted), else_=new.deleted)
    later = insert.on_conflict_do_update(
        index_elements=[_c.purge_key], set_=replacing, where=_c.ended_at < new.ended_at
    )
    statement = Bulk(later, _c.keys(), dialect)
    outcome = msgspec.json.encode(PurgeOutcome()).decode()
    statement.run(
        connection,
        [
            (each.key, each.user_id, each.ended_at, each.partition, each.deletion, each.was_watched, "{}", 0, outcome)
            for each in asked
        ],
    )


def purges_to_do(connection: Connection, after: AskedPurge | None = None) -> list[AskedPurge]:
    """Return purges that are not over, the oldest first, those behind ``after``."""
    columns = (_c.purge_key, _c.user_id, _c.ended_at, _c.partition, _c.deletion, _c.was_watched)
    asked = select(*columns).where(_c.over_at == 0).order_by(_c.ended_at, _c.purge_key).limit(MOST_TO_DO)
    if after is not None:
        asked = asked.where(tuple_(_c.ended_at, _c.purge_key) > tuple_(after.ended_at, after.key))
    return [AskedPurge(*row) for row in connection.execute(asked)]


def partition_of_watched(connection: Connection, user_id: str, until: int) -> int | None:
    """Return the partition of a user that registered up to ``until``; None if there is none."""
    c = users.c
    asked = select(c.partition).where(c.user_id == user_id, c.registered_at <= until)
    return connection.execute(asked).scalar_one_or_none()


def add_deleted(connection: Connection, key: str, some: Mapping[str, int]) -> None:
    """Count rows that were deleted in the same transaction."""
    known = connection.execute(select(_c.deleted).where(_c.purge_key == key).with_for_update()).scalar_one_or_none()
    if known is None or not some:
        return
    counts = msgspec.json.decode(known, type=dict[str, int])
    total = {name: counts.get(name, 0) + some.get(name, 0) for name in counts.keys() | some.keys()}
    connection.execute(update(purges).where(_c.purge_key == key).values(deleted=msgspec.json.encode(total).decode()))


def finish(connection: Connection, asked: AskedPurge, outcome: PurgeOutcome, now: int) -> None:
    """Note that a purge is over, and forget its user and purges that have been over for long.

    One that was asked for again meanwhile is not over.
    """
    is_it = (_c.purge_key == asked.key) & (_c.over_at == 0) & (_c.ended_at == asked.ended_at)
    said = msgspec.json.encode(outcome).decode()
    connection.execute(update(purges).where(is_it).values(over_at=now, user_id="", outcome=said))
    connection.execute(delete(purges).where(_c.over_at > 0, _c.over_at < now - KEPT_MS))


def find_purge(connection: Connection, key: str) -> StoredPurge | None:
    """Return a purge, if there is one of that key."""
    row = connection.execute(
        select(_c.ended_at, _c.was_watched, _c.deleted, _c.over_at, _c.outcome).where(_c.purge_key == key)
    ).one_or_none()
    if row is None:
        return None
    return StoredPurge(
        row.ended_at,
        bool(row.was_watched),
        msgspec.json.decode(row.deleted, type=dict[str, int]),
        row.over_at,
        msgspec.json.decode(row.outcome, type=PurgeOutcome),
    )

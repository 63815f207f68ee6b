"""The rows of purges that the sink carries out."""

from collections.abc import Iterable, Mapping

import msgspec
from sqlalchemy import Connection, delete, select, update

from everwatch.schedule.duration import DAY_MS
from everwatch.store.bulk_statements import Bulk, insert_into
from everwatch.store.purged_users import MOST_TO_DO, AskedPurge, PurgeOutcome, StoredPurge
from everwatch.store.sql_schema import purges, users

KEPT_MS = 7 * DAY_MS
"""How long a purge that is over is kept, ms."""

_c = purges.c


def put_purges(connection: Connection, asked: Iterable[AskedPurge]) -> None:
    """Store purges to carry out; one that is there stays as it is."""
    dialect = connection.dialect
    insert = Bulk(insert_into(purges, dialect).on_conflict_do_nothing(), _c.keys(), dialect)
    outcome = msgspec.json.encode(PurgeOutcome()).decode()
    insert.run(
        connection,
        [
            (each.key, each.user_id, each.ended_at, each.partition, each.deletion, each.was_watched, "{}", 0, outcome)
            for each in asked
        ],
    )


def purges_to_do(connection: Connection) -> list[AskedPurge]:
    """Return purges that are not over, the oldest first."""
    columns = (_c.purge_key, _c.user_id, _c.ended_at, _c.partition, _c.deletion, _c.was_watched)
    asked = select(*columns).where(_c.over_at == 0).order_by(_c.ended_at, _c.purge_key).limit(MOST_TO_DO)
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


def finish(connection: Connection, key: str, outcome: PurgeOutcome, now: int) -> None:
    """Note that a purge is over, and forget its user and purges that have been over for long."""
    is_it = (_c.purge_key == key) & (_c.over_at == 0)
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

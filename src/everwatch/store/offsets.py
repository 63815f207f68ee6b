"""Stored offsets of each partition, which the transaction of a batch locks."""

from collections.abc import Collection, Mapping

from sqlalchemy import Connection, Dialect, and_, bindparam, delete, select, tuple_

from everwatch.store.bulk_statements import Bulk, insert_into, upsert
from everwatch.store.partition import Partition
from everwatch.store.sql_schema import sink_offsets

_c = sink_offsets.c


class Offsets:
    """The table of offsets, in transactions of others."""

    def __init__(self, dialect: Dialect) -> None:
        self._put = upsert(sink_offsets, dialect)
        self._seed = Bulk(insert_into(sink_offsets, dialect).on_conflict_do_nothing(), _c.keys(), dialect)
        self._forget = Bulk(
            delete(sink_offsets).where(
                and_(_c.topic == bindparam("b_topic"), _c.partition == bindparam("b_partition"))
            ),
            ["b_topic", "b_partition"],
            dialect,
        )

    def all(self, connection: Connection) -> dict[Partition, int]:
        """Return the next offset of every partition."""
        return stored_offsets(connection)

    def is_empty(self, connection: Connection) -> bool:
        """Tell whether nothing was ever stored."""
        return connection.execute(select(_c.topic).limit(1)).first() is None

    def lock(self, connection: Connection, partitions: Collection[Partition]) -> dict[Partition, int]:
        """Return the next offsets of these partitions (0 for new ones), which no other sink stores until the commit.

        Only theirs are locked, so that sinks of other partitions go on; in one order, so that no two wait for each
        other. SQLite's write lock is held already.
        """
        wanted = sorted(partitions)
        statement = (
            select(*_c)
            .where(tuple_(_c.topic, _c.partition).in_(wanted))
            .order_by(_c.topic, _c.partition)
            .with_for_update()
        )
        found = _by_partition(connection, statement)
        if missing := [partition for partition in wanted if partition not in found]:
            # a missing row cannot be locked
            self._seed.run(connection, [(*partition, 0) for partition in missing])
            found = _by_partition(connection, statement)
        return found

    def put(self, connection: Connection, offsets: Mapping[Partition, int], stored: Mapping[Partition, int]) -> None:
        """Store the offsets behind the stored records; none goes back."""
        self._put.run(connection, [(*p, offset) for p, offset in sorted(offsets.items()) if offset > stored[p]])

    def forget(self, connection: Connection, partitions: Collection[Partition]) -> None:
        """Forget where reading of these partitions stood."""
        self._forget.run(connection, [tuple(partition) for partition in sorted(partitions)])


def stored_offsets(connection: Connection) -> dict[Partition, int]:
    """Return the next offset of every partition that was ever stored."""
    return _by_partition(connection, select(*_c).where(_c.next_offset > 0))


def _by_partition(connection: Connection, statement: object) -> dict[Partition, int]:
    return {Partition(topic, number): offset for topic, number, offset in connection.execute(statement)}  # type: ignore[call-overload]

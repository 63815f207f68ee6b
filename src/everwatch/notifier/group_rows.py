"""Rows of alerts that wait, by the group in which they are sent."""

from collections.abc import Collection, Container, Iterable, Iterator
from typing import Any, NamedTuple

from sqlalchemy import Dialect, and_, bindparam, delete, select, update

from everwatch.notifier import alerts
from everwatch.notifier.rows import Rows, chunks, text_of
from everwatch.notifier.tables import alert_groups, alert_items
from everwatch.store.bulk_statements import Bulk, Row, insert_into, upsert

_group = alert_groups.c
_item = alert_items.c
_ITEM = ["group_id", "item_id", "document"]


class Group(NamedTuple):
    """Alerts that are sent together, as ``tables.alert_groups``; ``flush_at`` 0: none waits."""

    group_id: str
    route: str
    user_id: str
    flush_at: int
    flushed_at: int
    open_delivery: str


class Item(NamedTuple):
    """An alert that waits in a group."""

    seq: int
    item_id: str
    alert: alerts.Alert


class GroupStatements:
    """Statements of ``GroupRows`` that are run with many rows, compiled once."""

    def __init__(self, dialect: Dialect) -> None:
        self.groups = upsert(alert_groups, dialect)
        times = ["flush_at", "flushed_at", "open_delivery"]
        self.same_groups = Bulk(
            update(alert_groups)
            .where(_group.group_id == bindparam("b_group"))
            .values({name: bindparam(f"b_{name}") for name in times}),
            [*(f"b_{name}" for name in times), "b_group"],
            dialect,
        )
        self.items = Bulk(
            insert_into(alert_items, dialect).values({name: bindparam(name) for name in _ITEM}), _ITEM, dialect
        )
        self.delete_items = Bulk(
            delete(alert_items).where(and_(_item.group_id == bindparam("b_group"), _item.seq <= bindparam("b_seq"))),
            ["b_group", "b_seq"],
            dialect,
        )


class GroupRows(Rows):
    """Groups, and the alerts that wait in them."""

    _groups: GroupStatements

    def groups(self, group_ids: Collection[str]) -> dict[str, Group]:
        """Return these groups, locked; in one order, so that no two notifiers wait for each other."""
        found: dict[str, Group] = {}
        for some in chunks(sorted(group_ids)):
            statement = (
                select(*_group)
                .where(self._is_one_of(_group.group_id, some))
                .order_by(_group.group_id)
                .with_for_update()
            )
            for row in self._connection.execute(statement):
                group = _group_of(row)
                found[group.group_id] = group
        return found

    def groups_to_flush(self, now: int, most: int) -> list[Group]:
        """Return groups that are due, locked; those that another notifier works on are left out."""
        rows = self._connection.execute(
            select(*_group)
            .where(_group.flush_at.is_not(None), _group.flush_at <= now)
            .order_by(_group.flush_at)
            .limit(most)
            .with_for_update(skip_locked=True)
        )
        return [_group_of(row) for row in rows]

    def put_groups(self, groups: Iterable[Group], stored: Container[str] = ()) -> None:
        """Store groups. ``stored``: the ids of those that the database has, whose indexes are not written anew."""
        new: list[Row] = []
        same: list[Row] = []
        for g in sorted(groups):
            times = g.flush_at or None, g.flushed_at, g.open_delivery
            if g.group_id in stored:
                same.append((*times, g.group_id))
            else:
                new.append((g.group_id, g.route, g.user_id, *times))
        self._groups.groups.run(self._connection, new)
        self._groups.same_groups.run(self._connection, same)

    def put_items(self, items: Iterable[tuple[str, str, alerts.Alert]]) -> None:
        """Add alerts to groups: the group's id, the item's and the alert."""
        self._groups.items.run(self._connection, [(group, item, text_of(alert)) for group, item, alert in items])

    def items(self, group_ids: Collection[str]) -> Iterator[tuple[str, Item]]:
        """Yield what waits in these groups, with the group's id, in the order in which it came."""
        for some in chunks(group_ids):
            statement = select(_item.group_id, _item.seq, _item.item_id, _item.document)
            for group_id, seq, item_id, text in self._connection.execute(
                statement.where(self._is_one_of(_item.group_id, some)).order_by(_item.group_id, _item.seq)
            ):
                yield group_id, Item(seq, item_id, alerts.decode_alert(text))

    def empty_groups(self, group_ids: Collection[str]) -> None:
        """Delete all that waits in these groups."""
        for some in chunks(group_ids):
            self._connection.execute(delete(alert_items).where(self._is_one_of(_item.group_id, some)))

    def delete_items(self, upto: Iterable[tuple[str, int]]) -> None:
        """Delete the items of groups up to a number."""
        self._groups.delete_items.run(self._connection, list(upto))


def _group_of(row: Any) -> Group:
    group_id, route, user_id, flush_at, flushed_at, open_delivery = row
    return Group(group_id, route, user_id, flush_at or 0, flushed_at, open_delivery)

"""Pages of users and monitors: statements that an index answers in the order of their keys, from any key on."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, exists, func, select, tuple_
from sqlalchemy.sql.expression import FromClause

from everwatch.store.interface import Selection
from everwatch.store.sql_schema import monitor_labels, monitors, users


def monitors_page(which: Selection, after: tuple[str, str], limit: int) -> Select[*tuple[Any, ...]]:
    """The monitors behind ``after``, by user and name, with the columns of ``monitors``.

    With labels, the first one leads: its index has the keys in order, and the others are looked up.
    """
    c = monitors.c
    source: FromClause = monitors
    key: tuple[ColumnElement[str], ColumnElement[str]] = (c.user_id, c.monitor_id)
    conditions: list[ColumnElement[bool]] = []
    labels = list(which.labels)
    leading = next((label for label in labels if label[1] is not None), None)
    if leading is not None and not which.user_id:
        labels.remove(leading)
        of_label = monitor_labels.alias("leading")
        key = (of_label.c.user_id, of_label.c.monitor_id)
        same = and_(of_label.c.user_id == c.user_id, of_label.c.monitor_id == c.monitor_id)
        source = of_label.join(monitors, same)
        conditions += [of_label.c.key == leading[0], of_label.c.value == leading[1]]
    conditions += _of_monitors(which, labels)
    if which.user_id:
        conditions.append(c.user_id == which.user_id)
    if which.plan:
        conditions.append(exists().where(users.c.user_id == c.user_id, users.c.plan == which.plan))
    if after != ("", ""):
        conditions.append(tuple_(*key) > tuple_(*after))
    return select(monitors).select_from(source).where(*conditions).order_by(*key).limit(limit)


def users_page(which: Selection, after: str, limit: int) -> Select[*tuple[Any, ...]]:
    """The users behind ``after`` by ``user_id``, with the columns of ``users``."""
    c = users.c
    conditions: list[ColumnElement[bool]] = [c.user_id > after] if after else []
    if which.user_id:
        conditions.append(c.user_id == which.user_id)
    if which.plan:
        conditions.append(c.plan == which.plan)
    if which.names_monitors:
        of_user = exists().where(monitors.c.user_id == c.user_id, *_of_monitors(which, which.labels))
        conditions.append(of_user)
    return select(users).where(*conditions).order_by(c.user_id).limit(limit)


def states_of(user_ids: Sequence[str]) -> Select[*tuple[Any, ...]]:
    """How many monitors of each of these users are in which state."""
    c = monitors.c
    return select(c.user_id, c.state, func.count()).where(c.user_id.in_(user_ids)).group_by(c.user_id, c.state)


def _of_monitors(which: Selection, labels: Sequence[tuple[str, str | None]]) -> list[ColumnElement[bool]]:
    c = monitors.c
    conditions: list[ColumnElement[bool]] = []
    if which.state:
        conditions.append(c.state == which.state)
    if which.kind:
        conditions.append(c.kind == which.kind)
    for name, value in labels:
        of_label = monitor_labels.alias()
        found = exists().where(
            of_label.c.user_id == c.user_id, of_label.c.monitor_id == c.monitor_id, of_label.c.key == name
        )
        conditions.append(found if value is None else found.where(of_label.c.value == value))
    return conditions

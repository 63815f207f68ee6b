"""Filters that few monitors or users fit: all of their keys, from an index."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Select, and_, func, literal_column, or_, select, text
from sqlalchemy.sql.expression import Executable

from everwatch.store.paging import Sort
from everwatch.store.search import TRIGRAM, has_index, index_of, like_pattern, needles_of, trigram_query
from everwatch.store.selections import Selection
from everwatch.store.sql_schema import monitor_labels, monitor_search, monitors, user_search
from everwatch.store.stored_values import MonitorCount

Key = tuple[str, ...]
Place = tuple[Any, ...]
"""Where a monitor or user stands in a list: its key, behind the instant if the list is by one."""


class WantedPage(NamedTuple):
    """Page of a list: at most ``limit`` items behind the place ``after``."""

    sort: Sort
    after: Place | None
    descending: bool
    limit: int


class ListWays(NamedTuple):
    """Bounds between the ways to a page.

    ``few``: keys that are gathered at most for one page. ``classes``: those that are read side by side; more of them
    are read as one list. ``classes_at_once``: a condition of more parts is too deep for SQLite. ``by_trigrams``: use
    the indexes of trigrams where there are some.
    """

    few: int = 5_000
    classes: int = 64
    classes_at_once: int = 100
    by_trigrams: bool = True


USUAL_WAYS = ListWays()


def few_monitors(
    connection: Connection, which: Selection, classes: Sequence[MonitorCount], ways: ListWays
) -> set[Key] | None:
    """Return keys that hold all monitors of a selection; None if none of its filters is that rare.

    ``classes``: those that its state, kind and plan leave; none: what is of these is not gathered.
    """
    found: set[Key] | None = None
    for rows in _of_monitors(connection, which, classes, ways):
        keys = {tuple(row) for row in rows or ()}
        if rows is not None and len(keys) <= ways.few:
            found = keys if found is None else found & keys
    return found


def few_users(connection: Connection, which: Selection, ways: ListWays) -> set[Key] | None:
    """Return the keys of all users that a selection's ``contains`` and ``prefix`` find; None if they are many."""
    statement = _searched(connection, which, user_search.name, "user_id", ways)
    if statement is None:
        return None
    keys = {tuple(row) for row in connection.execute(statement)}
    return keys if len(keys) <= ways.few else None


def holds(column: ColumnElement[str], needle: str, dialect: str) -> ColumnElement[bool]:
    """The condition of texts with a needle in them."""
    if dialect == "postgresql":
        return column.like(like_pattern(needle))
    return func.instr(column, needle) > literal_column("0")


def _of_monitors(
    connection: Connection, which: Selection, classes: Sequence[MonitorCount], ways: ListWays
) -> Iterator[Iterable[Sequence[Any]] | None]:
    """Keys that each filter finds by its index; None, or more than ``ways.few`` keys: the set is not complete."""
    c, labels = monitors.c, monitor_labels.c
    if (searched := _searched(connection, which, monitor_search.name, "user_id, monitor_id", ways)) is not None:
        yield connection.execute(searched)
    own = select(c.user_id, c.monitor_id).limit(ways.few + 1)
    if which.target:
        # the second condition is the index's
        yield _unless_many(connection, own.where(c.target == which.target, c.target != literal_column("''")), ways.few)
    for key, value in which.labels:
        of_label = select(labels.user_id, labels.monitor_id).where(labels.key == key).limit(ways.few + 1)
        yield _unless_many(connection, of_label if value is None else of_label.where(labels.value == value), ways.few)
    if classes and (which.state or which.kind or which.plan) and sum(each.monitors for each in classes) <= ways.few:
        # not as a tuple that is one of several: SQLite would go through the index and look each class up among them
        of_each = [and_(c.state == each.state, c.kind == each.kind, c.plan == each.plan) for each in classes]
        begins = range(0, len(of_each), ways.classes_at_once)
        parts = (own.where(or_(*of_each[begin : begin + ways.classes_at_once])) for begin in begins)
        yield chain.from_iterable(map(connection.execute, parts))


def _unless_many(connection: Connection, keys: Select[*tuple[Any, ...]], few: int) -> Iterable[Sequence[Any]] | None:
    """Return the keys of a statement, None if they are more than ``few``: counting costs less than fetching them."""
    count = connection.execute(select(func.count()).select_from(keys.subquery())).scalar_one()
    return connection.execute(keys) if count <= few else None


def _searched(connection: Connection, which: Selection, table: str, key: str, ways: ListWays) -> Executable | None:
    """The keys of what a selection finds by an index of trigrams; None if there is no use for one."""
    needles = needles_of(which)
    if not ways.by_trigrams or max(map(len, needles), default=0) < TRIGRAM or not has_index(connection, table):
        return None
    if connection.dialect.name == "postgresql":
        conditions = " AND ".join(f"text LIKE :needle{number}" for number in range(len(needles)))
        given = {f"needle{number}": like_pattern(needle) for number, needle in enumerate(needles)}
        statement = f"SELECT {key} FROM {table} WHERE {conditions} LIMIT {ways.few + 1}"  # noqa: S608 - own words
        return text(statement).bindparams(**given)
    fts = index_of(table, "sqlite")
    conditions = " AND ".join(f"instr(s.text, :needle{number}) > 0" for number in range(len(needles)))
    keys = ", ".join(f"s.{name}" for name in key.split(", "))
    # CROSS JOIN: the index first, and then what it found
    statement = (
        f"SELECT {keys} FROM {fts} f CROSS JOIN {table} s ON s.id = f.rowid"  # noqa: S608 - own words
        f" WHERE f.{fts} MATCH :trigrams AND {conditions} LIMIT {ways.few + 1}"
    )
    given = {f"needle{number}": needle for number, needle in enumerate(needles)}
    return text(statement).bindparams(trigrams=trigram_query(needles), **given)

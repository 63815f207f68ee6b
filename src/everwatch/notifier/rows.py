"""Shared parts of the storage's files."""

from collections.abc import Collection, Iterator, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Dialect, Text, any_, bindparam, func, select, tuple_
from sqlalchemy.dialects.postgresql import ARRAY

from everwatch.notifier import alerts
from everwatch.store.bulk_statements import Bulk, insert_into

# SQLite takes 32,766 values in a statement
MOST_KEYS = 5_000


class Rows:
    """Rows of some tables, within one transaction."""

    _connection: Connection

    def _is_one_of(self, column: ColumnElement[str], keys: Sequence[str]) -> ColumnElement[bool]:
        """Return the condition that a column has one of these values.

        All of them are one parameter: the statement is the same for any number, so it is compiled and parsed once.
        """
        if self._connection.dialect.name == "sqlite":
            return column.in_(select(func.json_each(text_of(keys)).table_valued("value").c.value))
        return column == any_(bindparam(None, list(keys), type_=ARRAY(Text)))

    def _has_one_of(
        self, columns: tuple[ColumnElement[str], ColumnElement[str]], keys: Sequence[tuple[str, str]]
    ) -> ColumnElement[bool]:
        """Return the condition that two columns have one of these pairs.

        Of ``(a, b) IN (VALUES …)`` with more than one pair SQLite reads the whole table, whatever index it has.
        """
        if self._connection.dialect.name == "sqlite":
            pair = func.json_each(text_of(keys)).table_valued("value").c.value
            return tuple_(*columns).in_(select(func.json_extract(pair, "$[0]"), func.json_extract(pair, "$[1]")))
        return tuple_(*columns).in_(keys)


def insert_once(table: Any, dialect: Dialect) -> Bulk:
    """Return a statement that inserts rows; one that is there already stays as it is."""
    names = table.c.keys()
    insert = insert_into(table, dialect).values({name: bindparam(name) for name in names})
    return Bulk(insert.on_conflict_do_nothing(), names, dialect)


def text_of(value: Any) -> str:
    """Return a value as the JSON text that is stored."""
    return alerts.encode(value).decode()


def chunks(keys: Collection[Any]) -> Iterator[list[Any]]:
    """Yield keys in lists that one statement takes."""
    every = list(keys)
    for start in range(0, len(every), MOST_KEYS):
        yield every[start : start + MOST_KEYS]

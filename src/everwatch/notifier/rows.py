"""Shared parts of the storage's files."""

from collections.abc import Collection, Iterator
from typing import Any

from sqlalchemy import Connection, Dialect, bindparam

from everwatch.notifier import alerts
from everwatch.store.bulk_statements import Bulk, insert_into

# SQLite takes 32,766 values in a statement
MOST_KEYS = 5_000


class Rows:
    """Rows of some tables, within one transaction."""

    _connection: Connection


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

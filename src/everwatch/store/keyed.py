"""Rows of many keys in one question, whose text does not depend on the keys."""

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import Connection

from everwatch.store.bulk_statements import storable

_KEYS_AT_ONCE = 1_000


def rows_of_keys(
    connection: Connection, columns: str, table: str, key: str, keys: Sequence[Any], more: str = ""
) -> Iterator[Sequence[Any]]:
    """The rows of a table with one of these keys, each a text or a tuple of texts; ``more``: what ends the question."""
    for begin in range(0, len(keys), _KEYS_AT_ONCE):
        some = [key if isinstance(key, tuple) else (key,) for key in keys[begin : begin + _KEYS_AT_ONCE]]
        if connection.dialect.name == "postgresql":
            arrays = tuple([storable(part) for part in column] for column in zip(*some, strict=True))
            wanted = f"SELECT * FROM unnest({', '.join(['%s::text[]'] * len(arrays))})"  # noqa: S608 - own words
            statement = f"SELECT {columns} FROM {table} WHERE ({key}) IN ({wanted}){more}"  # noqa: S608
            yield from connection.exec_driver_sql(statement, arrays)
            continue
        names = [f"wanted_{number}" for number in range(len(some[0]))]
        marks = ", ".join([f"({', '.join('?' * len(names))})"] * len(some))
        same = " AND ".join(f"{own} = {name}" for own, name in zip(key.split(", "), names, strict=True))
        # CROSS JOIN: SQLite looks each key up, and would else go through the table and look each row up among the keys
        statement = (
            f"WITH wanted({', '.join(names)}) AS (VALUES {marks})"  # noqa: S608 - own words
            f" SELECT {columns} FROM wanted CROSS JOIN {table} ON {same}{more}"
        )
        yield from connection.exec_driver_sql(statement, tuple(part for each in some for part in each))

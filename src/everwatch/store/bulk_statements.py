"""Statements compiled once and run on thousands of rows: SQLAlchemy's own way costs more per row than the database."""

from collections.abc import Sequence
from typing import Any, cast

from sqlalchemy import ColumnElement, Connection, Dialect, Table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.expression import ClauseElement

Row = tuple[Any, ...]


class Bulk:
    """A statement whose parameters are ``names``, run with rows in that order."""

    def __init__(self, statement: ClauseElement, names: Sequence[str], dialect: Dialect) -> None:
        compiled = cast(SQLCompiler, statement.compile(dialect=dialect))
        self._sql = str(compiled)
        self._names = list(names)
        self._order = [self._names.index(name) for name in compiled.positiontup or ()]
        self._positional = compiled.positional
        self._as_given = self._order == list(range(len(self._names)))

    def run(self, connection: Connection, rows: list[Row]) -> int:
        """Execute for every row, in order; return how many rows of the table that wrote, as the driver counts."""
        if not rows:
            return 0
        given: list[Any] = rows
        if not self._positional:
            given = [dict(zip(self._names, map(storable, row), strict=True)) for row in rows]
        elif not self._as_given:
            given = [tuple(row[i] for i in self._order) for row in rows]
        return connection.exec_driver_sql(self._sql, given).rowcount


def storable(value: Any) -> Any:
    """The value as PostgreSQL can store it: its text has no NUL, in whose place stands U+FFFD."""
    return value.replace("\0", "\ufffd") if type(value) is str and "\0" in value else value


def insert_into(table: Table, dialect: Dialect) -> sqlite.Insert | postgresql.Insert:
    """An INSERT that knows ON CONFLICT, in the words of the dialect."""
    return postgresql.insert(table) if dialect.name == "postgresql" else sqlite.insert(table)


def upsert(table: Table, dialect: Dialect) -> Bulk:
    """Rows in the order of the table's columns, each replacing the row of its primary key."""
    insert = insert_into(table, dialect)
    others: dict[str, ColumnElement[Any]] = {c.name: insert.excluded[c.name] for c in table.c if not c.primary_key}
    return Bulk(
        insert.on_conflict_do_update(index_elements=list(table.primary_key.columns), set_=others),
        table.c.keys(),
        dialect,
    )

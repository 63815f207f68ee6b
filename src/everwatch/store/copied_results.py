"""Results into PostgreSQL by binary COPY: straight into the table, or around what is stored already.

A batch is folded and sorted here, so that the server neither meets an identity twice nor walks its index in random
order. COPY into the table takes the server half the time of an upsert from a staging table, and that takes a third of
the time of an upsert for each row.
"""

from collections.abc import Sequence
from typing import Any

from psycopg import Connection as DriverConnection
from psycopg import sql
from psycopg.errors import CheckViolation, UniqueViolation
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Dialect,
    Engine,
    Float,
    Integer,
    MetaData,
    Table,
    Text,
    select,
)

from everwatch.model import Result, Status
from everwatch.store import row_mapping
from everwatch.store.bulk_statements import Row, insert_into, storable
from everwatch.store.day_partitions import Days
from everwatch.store.interface import Received, StoreBusy
from everwatch.store.result_writer import changes, folded
from everwatch.store.sql_schema import STATUS_CODES, StatusText, results

_STAGING = "results_staging"
_COLUMNS = results.c.keys()
# binary COPY takes exactly the types of the columns
_NAMES: dict[type, str] = {
    Text: "text",
    BigInteger: "int8",
    Integer: "int4",
    StatusText: "int2",
    Float: "float8",
    Boolean: "bool",
}
TYPES = [_NAMES[type(c.type)] for c in results.c]
"""Of the columns of ``results``, in their order."""
_SKIPPED = STATUS_CODES[Status.SKIPPED]
_AT_STATUS, _AT_REASON, _AT_DETAIL = (_COLUMNS.index(name) for name in ("status", "reason", "detail"))
# batches that go by the staging table after one that held a stored identity: a replay of a topic holds nothing else
FEWEST_STAGED, MOST_STAGED = 2, 64


class CopiedResults:
    """See ``results.ResultsWriter``. ``staged``: how many batches went by the staging table."""

    def __init__(self, dialect: Dialect) -> None:
        self._days = Days()
        staging = results.to_metadata(MetaData(), name=_STAGING)
        insert = insert_into(results, dialect).from_select(_COLUMNS, select(*staging.c).order_by(*_key_of(staging)))
        upsert = insert.on_conflict_do_update(index_elements=_key_of(results), set_=changes(insert.excluded, dialect))
        self._upsert = str(upsert.compile(dialect=dialect))
        self._until_direct = 0
        self._next_staged = FEWEST_STAGED
        self.staged = 0

    def prepare(self, engine: Engine, received: Sequence[Received[Result]], stored_at: int) -> None:
        self._days.ensure(engine, {each.value.scheduled_at for each in received}, stored_at)

    def put(self, connection: Connection, fresh: Sequence[Result], stored_at: int) -> None:
        if not fresh:
            return
        batch = folded((row_of(result, stored_at) for result in fresh), _SKIPPED)
        try:
            if self._until_direct or not self._put_directly(connection, batch):
                self._put_around_stored(connection, batch)
        except CheckViolation as error:
            # a partition that was there has been dropped meanwhile
            self._days.forget()
            raise StoreBusy("A day of results was dropped while some were stored into it.") from error

    def _put_directly(self, connection: Connection, batch: list[Row]) -> bool:
        try:
            with connection.begin_nested():
                self._copy(connection, "results", batch)
        except UniqueViolation:
            self._until_direct = self._next_staged
            self._next_staged = min(2 * self._next_staged, MOST_STAGED)
            return False
        self._next_staged = FEWEST_STAGED
        return True

    def _put_around_stored(self, connection: Connection, batch: list[Row]) -> None:
        self._until_direct = max(0, self._until_direct - 1)
        self.staged += 1
        connection.exec_driver_sql(
            f"CREATE TEMPORARY TABLE IF NOT EXISTS {_STAGING} (LIKE results INCLUDING DEFAULTS) ON COMMIT DELETE ROWS"
        )
        self._copy(connection, _STAGING, batch)
        connection.exec_driver_sql(self._upsert)

    def _copy(self, connection: Connection, table: str, batch: list[Row]) -> None:
        driver = connection.connection.driver_connection
        assert isinstance(driver, DriverConnection)
        statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT BINARY)").format(
            sql.Identifier(table), sql.SQL(", ").join(map(sql.Identifier, _COLUMNS))
        )
        with driver.cursor() as cursor, cursor.copy(statement) as copy:
            copy.set_types(TYPES)
            for row in batch:
                copy.write_row(row)


def _key_of(table: Table) -> list[Column[Any]]:
    return list(table.primary_key.columns)


def row_of(result: Result, stored_at: int) -> Row:
    """A row of ``results`` as PostgreSQL has it, delivered once."""
    row = list(row_mapping.result_row(result, stored_at))
    row[_AT_STATUS] = STATUS_CODES[result.status]
    row[_AT_REASON] = storable(row[_AT_REASON])
    row[_AT_DETAIL] = storable(row[_AT_DETAIL])
    return tuple(row)

"""Results into PostgreSQL by binary COPY: straight into the table, or around rows that are stored already.

A batch is folded and sorted here, so that the server neither meets an identity twice nor walks its index in random
order. COPY into the table takes the server half the time of an upsert from a staging table, and that takes a third of
the time of an upsert for each row.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from msgspec.structs import replace
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
from everwatch.store.interface import StoreBusy
from everwatch.store.result_writer import Attempts, changes, compared, folded
from everwatch.store.rollups import ResultChanges
from everwatch.store.sink_batch import Received
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
_AT_DELIVERIES = _COLUMNS.index("deliveries")


class CopiedResults:
    """See ``result_writer.ResultsWriter``. ``staged``: how many batches went by the staging table."""

    def __init__(self, dialect: Dialect) -> None:
        self._days = Days()
        staging = results.to_metadata(MetaData(), name=_STAGING)
        insert = insert_into(results, dialect).from_select(_COLUMNS, select(*staging.c).order_by(*_key_of(staging)))
        upsert = insert.on_conflict_do_update(index_elements=_key_of(results), set_=changes(insert.excluded, dialect))
        # the sum shows whether another sink changed a row between the comparison and the upsert
        returning = upsert.returning(results.c.deliveries).compile(dialect=dialect)
        self._upsert = f"WITH stored AS ({returning}) SELECT sum(deliveries) FROM stored"  # noqa: S608 - own words
        same = " AND ".join(f"r.{column.name} = s.{column.name}" for column in results.primary_key.columns)
        found = f"FROM {_STAGING} s JOIN results r ON {same} WHERE r.scheduled_at BETWEEN %s AND %s"
        self._stored = f"SELECT s.place, r.status, r.skipped_count, r.deliveries {found}"
        self._attempts = Attempts()
        self.staged = 0

    def prepare(self, engine: Engine, received: Sequence[Received[Result]], stored_at: int) -> None:
        self._days.ensure(engine, {each.value.scheduled_at for each in received}, stored_at)

    def put(self, connection: Connection, fresh: Sequence[Result], stored_at: int) -> ResultChanges:
        if not fresh:
            return ResultChanges()
        batch = folded((row_of(result, stored_at) for result in fresh), _SKIPPED)
        try:
            if self._attempts.is_likely_new() and self._put_directly(connection, batch):
                return ResultChanges(batch)
            return self._put_around_stored(connection, batch)
        except CheckViolation as error:
            # a partition that was there has been dropped meanwhile
            self._days.forget()
            raise StoreBusy("A day of results was dropped while some were stored into it.") from error

    def _put_directly(self, connection: Connection, batch: list[Row]) -> bool:
        try:
            with connection.begin_nested():
                copy_rows(connection, "results", _COLUMNS, TYPES, batch)
        except UniqueViolation:
            self._attempts.failed()
            return False
        self._attempts.succeeded()
        return True

    def _put_around_stored(self, connection: Connection, batch: list[Row]) -> ResultChanges:
        self.staged += 1
        connection.exec_driver_sql(
            f"CREATE TEMPORARY TABLE IF NOT EXISTS {_STAGING} (LIKE results INCLUDING DEFAULTS, place int4)"
            " ON COMMIT DELETE ROWS"
        )
        placed = ((*row, place) for place, row in enumerate(batch))
        copy_rows(connection, _STAGING, [*_COLUMNS, "place"], [*TYPES, "int4"], placed)
        instants = [row[1] for row in batch]
        # each row is looked up by the key: the planner knows nothing of a table that was filled just now
        connection.exec_driver_sql("SET LOCAL enable_hashjoin = off")
        connection.exec_driver_sql("SET LOCAL enable_mergejoin = off")
        stored = connection.exec_driver_sql(self._stored, (min(instants), max(instants))).all()
        deliveries = connection.exec_driver_sql(self._upsert).scalar_one()
        if deliveries != sum(row[_AT_DELIVERIES] for row in batch) + sum(row[3] for row in stored):
            raise StoreBusy("Another sink stored results of the same monitors at the same time.")
        return compared(batch, (row[:3] for row in stored))


def copy_rows(
    connection: Connection, table: str, columns: Sequence[str], types: Sequence[str], batch: Iterable[Row]
) -> None:
    """Write rows into a table by binary COPY; ``types`` are those of the columns."""
    driver = connection.connection.driver_connection
    assert isinstance(driver, DriverConnection)
    statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT BINARY)").format(
        sql.Identifier(table), sql.SQL(", ").join(map(sql.Identifier, columns))
    )
    with driver.cursor() as cursor, cursor.copy(statement) as copy:
        copy.set_types(types)
        for row in batch:
            copy.write_row(row)


def _key_of(table: Table) -> list[Column[Any]]:
    return list(table.primary_key.columns)


def row_of(result: Result, stored_at: int) -> Row:
    """A row of ``results`` as PostgreSQL has it, delivered once."""
    if "\0" in result.reason or "\0" in result.detail:
        result = replace(result, reason=storable(result.reason), detail=storable(result.detail))
    return row_mapping.result_row(result, stored_at, STATUS_CODES[result.status])

"""Results into PostgreSQL by binary COPY: straight into the table, or around rows that are stored already.

A batch is folded and sorted here, so that the server neither meets an identity twice nor walks its index in random
order. COPY into the table takes the server half the time of an upsert from a staging table, and that takes a third of
the time of an upsert for each row. Of a batch with results that are stored, those that change nothing but how often
they were delivered are counted first, by their keys alone and one lookup each; the others are new, as a rule, and
copied.
"""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
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
_REPEATED = "results_repeated"
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
_KEY = [column.name for column in results.primary_key.columns]
_TYPES_OF_KEY = [_NAMES[type(results.c[name].type)] for name in _KEY]
# of runs that stand for no skipped tick, once for each stored result; it returns where these were in the batch. That an
# indexed column is set, to what it is, keeps the server from looking for superfluous entries of the index of instants
# whenever a page of it is full: each repeat leaves one, but they are vacuumed together
_REPEAT = f"""
    WITH repeated AS (
        UPDATE results r SET deliveries = r.deliveries + 1, scheduled_at = r.scheduled_at FROM {_REPEATED} s
        WHERE {" AND ".join(f"r.{name} = s.{name}" for name in _KEY)} AND r.scheduled_at BETWEEN %s AND %s
        AND r.status <> {_SKIPPED}
        RETURNING s.place
    ) SELECT array_agg(place) FROM repeated
"""  # noqa: S608 - own words


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
        same = " AND ".join(f"r.{name} = s.{name}" for name in _KEY)
        found = f"FROM {_STAGING} s JOIN results r ON {same} WHERE r.scheduled_at BETWEEN %s AND %s"
        self._stored = f"SELECT s.place, r.status, r.skipped_count, r.deliveries {found}"
        self._attempts = Attempts()
        self._beside = ThreadPoolExecutor(1, "beside-copy")
        self.staged = 0

    def prepare(self, engine: Engine, received: Sequence[Received[Result]], stored_at: int) -> None:
        self._days.ensure(engine, {each.value.scheduled_at for each in received}, stored_at)

    def put(
        self,
        connection: Connection,
        fresh: Sequence[Result],
        stored_at: int,
        meanwhile: Callable[[list[Row]], None],
        /,
    ) -> ResultChanges:
        if not fresh:
            return ResultChanges()
        try:
            if self._attempts.is_likely_new():
                batch = _batch_of(fresh, stored_at)
                # the server takes four times as long to store rows as this process to send them
                prepared = self._beside.submit(meanwhile, batch)
                is_new = self._put_directly(connection, batch)
                prepared.result()
                if is_new:
                    self._attempts.succeeded()
                    return ResultChanges(batch)
                self._attempts.failed()
            self.staged += 1
            if not (others := self._count_repeated(connection, fresh)):
                return ResultChanges()
            batch = _batch_of(others, stored_at)
            # skipped ones are not counted by their keys, and may be stored too
            if any(map(_is_plain_run, others)) and self._put_directly(connection, batch):
                return ResultChanges(batch)
            return self._put_around_stored(connection, batch)
        except CheckViolation as error:
            # a partition that was there has been dropped meanwhile
            self._days.forget()
            raise StoreBusy("A day of results was dropped while some were stored into it.") from error

    def close(self) -> None:
        self._beside.shutdown()

    def _put_directly(self, connection: Connection, batch: list[Row]) -> bool:
        try:
            with connection.begin_nested():
                copy_rows(connection, "results", _COLUMNS, TYPES, batch)
        except UniqueViolation:
            return False
        return True

    def _count_repeated(self, connection: Connection, fresh: Sequence[Result]) -> Sequence[Result]:
        """Count deliveries of stored results that a batch changes in nothing else; return the other results.

        One that the batch has twice is counted once, and is among the others for the second time.
        """
        connection.exec_driver_sql(
            f"CREATE TEMPORARY TABLE IF NOT EXISTS {_REPEATED} ON COMMIT DELETE ROWS AS"  # noqa: S608 - own words
            f" SELECT {', '.join(_KEY)}, 0 AS place FROM results LIMIT 0"
        )
        _look_up_each(connection)
        keys = sorted(
            (each.user_id, each.scheduled_at, each.monitor_id, each.attempt, each.region, place)
            for place, each in enumerate(fresh)
            if _is_plain_run(each)
        )
        if not keys:
            return fresh
        copy_rows(connection, _REPEATED, [*_KEY, "place"], [*_TYPES_OF_KEY, "int4"], keys)
        places = connection.exec_driver_sql(_REPEAT, _instants_of(keys)).scalar_one()
        if places is None:
            return fresh
        if len(places) == len(fresh):
            return []
        others: list[Result | None] = list(fresh)
        for place in places:
            others[place] = None
        return [each for each in others if each is not None]

    def _put_around_stored(self, connection: Connection, batch: list[Row]) -> ResultChanges:
        connection.exec_driver_sql(
            f"CREATE TEMPORARY TABLE IF NOT EXISTS {_STAGING} (LIKE results INCLUDING DEFAULTS, place int4)"
            " ON COMMIT DELETE ROWS"
        )
        placed = ((*row, place) for place, row in enumerate(batch))
        copy_rows(connection, _STAGING, [*_COLUMNS, "place"], [*TYPES, "int4"], placed)
        _look_up_each(connection)
        stored = connection.exec_driver_sql(self._stored, _instants_of(batch)).all()
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


def _look_up_each(connection: Connection) -> None:
    """Let each row be looked up by the key: the planner knows nothing of a table that was filled just now."""
    connection.exec_driver_sql("SET LOCAL enable_hashjoin = off")
    connection.exec_driver_sql("SET LOCAL enable_mergejoin = off")


def _is_plain_run(result: Result) -> bool:
    return result.status is not Status.SKIPPED and not result.skipped_until and not result.skipped_count


def _batch_of(some: Sequence[Result], stored_at: int) -> list[Row]:
    return folded((row_of(result, stored_at) for result in some), _SKIPPED)


def _instants_of(batch: list[Row]) -> tuple[int, int]:
    """Return the first and the last instant of a batch: other days are not looked at."""
    instants = [row[1] for row in batch]
    return min(instants), max(instants)


def _key_of(table: Table) -> list[Column[Any]]:
    return list(table.primary_key.columns)


def row_of(result: Result, stored_at: int) -> Row:
    """A row of ``results`` as PostgreSQL has it, delivered once."""
    if "\0" in result.reason or "\0" in result.detail:
        result = replace(result, reason=storable(result.reason), detail=storable(result.detail))
    return row_mapping.result_row(result, stored_at, STATUS_CODES[result.status])

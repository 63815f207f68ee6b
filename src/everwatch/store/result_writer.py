"""Results into the table: how two of one identity become one, and the seam that each kind of database fills."""

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from sqlalchemy import ColumnElement, Connection, Dialect, Engine, case, literal_column

from everwatch.model import Result, Status
from everwatch.store import row_mapping
from everwatch.store.bulk_statements import Bulk, Row, insert_into
from everwatch.store.interface import Received
from everwatch.store.sql_schema import STATUS_CODES, results


class ResultsWriter(Protocol):
    """Puts results into the table, in a transaction of another's."""

    def prepare(self, engine: Engine, received: Sequence[Received[Result]], stored_at: int) -> None:
        """Do what must be done before the transaction begins."""
        ...

    def put(self, connection: Connection, fresh: Sequence[Result], stored_at: int) -> None:
        """Store results, each once for its identity, as ``interface.Store.apply`` says."""
        ...


class UpsertedResults:
    """Row by row, by a statement that was compiled once: SQLite's way."""

    def __init__(self, dialect: Dialect) -> None:
        columns = results.c.keys()
        statement = insert_into(results, dialect)
        self._upsert = Bulk(
            statement.on_conflict_do_update(
                index_elements=list(results.primary_key.columns), set_=changes(statement.excluded, dialect)
            ),
            columns,
            dialect,
        )

    def prepare(self, engine: Engine, received: Sequence[Received[Result]], stored_at: int) -> None:
        """Nothing to prepare."""

    def put(self, connection: Connection, fresh: Sequence[Result], stored_at: int) -> None:
        self._upsert.run(connection, [row_mapping.result_row(result, stored_at) for result in fresh])


def changes(new: Any, dialect: Dialect) -> dict[str, ColumnElement[Any]]:
    """What a stored row becomes when another one of its identity comes: ``folded`` in SQL."""
    code = f"{STATUS_CODES[Status.SKIPPED]}" if dialect.name == "postgresql" else f"'{Status.SKIPPED}'"
    skipped: ColumnElement[Any] = literal_column(code)
    ran_at_last = (results.c.status == skipped) & (new.status != skipped)
    found: dict[str, ColumnElement[Any]] = {}
    for column in results.c:
        if column.name in ("skipped_until", "skipped_count"):
            found[column.name] = case((new[column.name] > column, new[column.name]), else_=column)
        elif not column.primary_key and column.name != "deliveries":
            found[column.name] = case((ran_at_last, new[column.name]), else_=column)
    found["deliveries"] = results.c.deliveries + new.deliveries
    return found


_STATUS, _UNTIL, _COUNT, _DELIVERIES = (
    results.c.keys().index(name) for name in ("status", "skipped_until", "skipped_count", "deliveries")
)


def folded(all_rows: Iterable[Row], skipped: object) -> list[Row]:
    """Rows of ``results``, one for each identity and in the order of the key.

    The first one stays and deliveries add up; what ran beats what was ``skipped``; the larger span is kept.
    """
    held: dict[Row, Row] = {}
    for row in all_rows:
        key = row[:4]
        before = held.setdefault(key, row)
        if before is not row:
            held[key] = _merged(before, row, skipped)
    return [held[key] for key in sorted(held)]


def _merged(old: Row, new: Row, skipped: object) -> Row:
    kept = list(new if old[_STATUS] == skipped and new[_STATUS] != skipped else old)
    kept[_UNTIL] = max(old[_UNTIL], new[_UNTIL])
    kept[_COUNT] = max(old[_COUNT], new[_COUNT])
    kept[_DELIVERIES] = old[_DELIVERIES] + new[_DELIVERIES]
    return tuple(kept)

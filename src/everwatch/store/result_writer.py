"""Results into the table: how two of one identity become one, and the seam that each kind of database fills."""

from collections.abc import Callable, Iterable, Sequence
from operator import itemgetter
from typing import Any, Protocol

from sqlalchemy import ColumnElement, Connection, Dialect, Engine, case, literal_column

from everwatch.model import Result, Status
from everwatch.store import row_mapping
from everwatch.store.bulk_statements import Bulk, Row, insert_into
from everwatch.store.rollups import Merged, ResultChanges
from everwatch.store.sink_batch import Received
from everwatch.store.sql_schema import STATUS_CODES, results

# batches that are compared with what is stored, after one that held a stored identity: a replay holds nothing else
FEWEST_COMPARED, MOST_COMPARED = 2, 64


class ResultsWriter(Protocol):
    """Puts results into the table, in a transaction of another's."""

    def prepare(self, engine: Engine, received: Sequence[Received[Result]], stored_at: int) -> None:
        """Prepare the transaction before it begins."""
        ...

    def put(
        self,
        connection: Connection,
        fresh: Sequence[Result],
        stored_at: int,
        meanwhile: Callable[[list[Row]], None],
        /,
    ) -> ResultChanges:
        """Store results, each once for its identity, as ``interface.Store.apply`` says; return what that changed.

        ``meanwhile`` may be called in another thread, before this returns, with rows that are inserted if none of them
        was stored before.
        """
        ...

    def close(self) -> None:
        """Release what it holds."""
        ...


class Attempts:
    """Tells whether a batch is likely to hold new results only, from the outcome of earlier ones."""

    def __init__(self) -> None:
        self._compared_next = 0
        self._compared_after_failure = FEWEST_COMPARED

    def is_likely_new(self) -> bool:
        """Tell whether inserting the next batch is worth a try, without comparing it with stored rows."""
        if not self._compared_next:
            return True
        self._compared_next -= 1
        return False

    def succeeded(self) -> None:
        """Note that a batch was inserted that held new results only."""
        self._compared_after_failure = FEWEST_COMPARED

    def failed(self) -> None:
        """Note that a batch held a stored identity, and is compared now."""
        self._compared_next = self._compared_after_failure - 1
        self._compared_after_failure = min(2 * self._compared_after_failure, MOST_COMPARED)


_SKIPPED = Status.SKIPPED.value
# an attribute of an enumeration takes longer
_TEXTS = {status: status.value for status in Status}
_COMPARED = "results_compared"
MOST_ROWID = 2**63 - 1
_KEY = [column.name for column in results.primary_key.columns]
KEY_PARTS = len(_KEY)
"""Of a row: how many of its first values are its identity."""


class UpsertedResults:
    """Row by row, by statements that were compiled once: SQLite's way.

    New rows are inserted; if that was not all, the batch is compared with what was stored, and that is upserted.
    """

    def __init__(self, dialect: Dialect) -> None:
        columns = results.c.keys()
        statement = insert_into(results, dialect)
        self._insert = Bulk(statement.on_conflict_do_nothing(), columns, dialect)
        self._upsert = Bulk(
            statement.on_conflict_do_update(
                index_elements=list(results.primary_key.columns), set_=changes(statement.excluded, dialect)
            ),
            columns,
            dialect,
        )
        self._attempts = Attempts()

    def prepare(self, engine: Engine, received: Sequence[Received[Result]], stored_at: int) -> None:
        """Nothing to prepare."""

    def put(
        self, connection: Connection, fresh: Sequence[Result], stored_at: int, _meanwhile: object, /
    ) -> ResultChanges:
        if not fresh:
            return ResultChanges()
        batch = folded((row_of(result, stored_at) for result in fresh), _SKIPPED)
        if not self._attempts.is_likely_new():
            stored = self._stored(connection, batch)
            self._upsert.run(connection, batch)
            return compared(batch, stored)
        # no savepoint to go back to: SQLite would copy each page that the batch changes, which is nearly one for a row
        [newest] = connection.exec_driver_sql("SELECT coalesce(max(rowid), 0) FROM results").one()
        if self._insert.run(connection, batch) == len(batch):
            self._attempts.succeeded()
            return ResultChanges(batch)
        self._attempts.failed()
        # new rows have been inserted, with larger numbers
        stored = self._stored(connection, batch, newest)
        self._upsert.run(connection, [batch[place] for place, *_ in stored])
        return compared(batch, stored)

    def close(self) -> None:
        """Nothing to release."""

    def _stored(self, connection: Connection, batch: list[Row], newest: int = MOST_ROWID) -> list[tuple[int, str, int]]:
        """Return which rows of the batch, by their place, are stored: with what status and how many skipped.

        ``newest``: the last row that counts as stored.
        """
        connection.exec_driver_sql(f"CREATE TEMPORARY TABLE IF NOT EXISTS {_COMPARED} (place, {', '.join(_KEY)})")
        connection.exec_driver_sql(
            f"INSERT INTO {_COMPARED} VALUES (?, ?, ?, ?, ?, ?)",  # noqa: S608 - own words
            [(place, *row[:KEY_PARTS]) for place, row in enumerate(batch)],
        )
        # CROSS JOIN: SQLite goes through the batch and looks each of it up
        same = " AND ".join(f"r.{name} = c.{name}" for name in _KEY)
        found = connection.exec_driver_sql(
            f"SELECT c.place, r.status, r.skipped_count FROM {_COMPARED} c CROSS JOIN results r ON {same}"  # noqa: S608
            " WHERE r.rowid <= ?",
            (newest,),
        ).all()
        connection.exec_driver_sql(f"DELETE FROM {_COMPARED}")  # noqa: S608
        return [(place, status, skipped_count) for place, status, skipped_count in found]


def row_of(result: Result, stored_at: int) -> Row:
    """A row of ``results`` as SQLite has it, delivered once."""
    return row_mapping.result_row(result, stored_at, _TEXTS[result.status])


def compared(batch: Sequence[Row], stored: Iterable[tuple[int, Any, int]]) -> ResultChanges:
    """Return what a batch changes; ``stored``: the place, status and skipped count of each row that was stored."""
    inserted: list[Row | None] = list(batch)
    merged = []
    for place, status, skipped_count in stored:
        inserted[place] = None
        merged.append(Merged(batch[place], status, skipped_count))
    return ResultChanges([row for row in inserted if row is not None], merged)


def changes(new: Any, dialect: Dialect) -> dict[str, ColumnElement[Any]]:
    """Merge of a stored row with another result of its identity: ``folded`` in SQL."""
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


_key_of = itemgetter(*range(KEY_PARTS))


def folded(all_rows: Iterable[Row], skipped: object) -> list[Row]:
    """Rows of ``results``, one for each identity and in the order of the key.

    The first one stays and deliveries add up; what ran beats what was ``skipped``; the larger span is kept.
    """
    rows = list(all_rows)
    if len(set(map(_key_of, rows))) == len(rows):
        # nearly always; the key's columns come first, and they differ, so that no others are compared
        rows.sort()
        return rows
    held: dict[Row, Row] = {}
    for row in rows:
        key = row[:KEY_PARTS]
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

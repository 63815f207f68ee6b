"""Whole days of results as Parquet files, so that they can be read after the database has deleted them.

A day is archived when it has been over for a day, so that what came late is in its file. The fact ``archived_until``
says how far the database is archived without a gap; results are kept until then if the settings say so.
"""

import os
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import Connection, Engine, select

from everwatch.core.errors import EverwatchError
from everwatch.core.private_files import FILE_MODE, make_private_folder
from everwatch.schedule.duration import DAY_MS
from everwatch.store.database import clear_errors
from everwatch.store.facts import ARCHIVED_UNTIL, facts, raise_fact
from everwatch.store.sql_schema import results

ROWS_AT_ONCE = 50_000
"""Rows of a row group: about 20 MB of memory."""

_timings = msgspec.json.Decoder(dict[str, float])
_COLUMNS = results.c.keys()


class ArchiveUnavailable(EverwatchError):
    """pyarrow, which writes Parquet, is not installed."""


class ArchivedDay(msgspec.Struct, frozen=True):
    """A file that was written: the day's begin (ms), rows and bytes."""

    file: str
    day: int
    rows: int
    size: int


class Archive:
    """Writes days of a database into a folder. Raises ArchiveUnavailable when pyarrow is not installed."""

    def __init__(self, engine: Engine, folder: Path) -> None:
        self._engine = engine
        self._folder = folder
        self._parquet = _Parquet()

    def days(self, now: int) -> list[int]:
        """Return the days (their begin, ms) that are over for a day and have no file, the earliest first."""
        with clear_errors(self._engine.url), self._engine.begin() as connection:
            return [day for day in _days(connection, now) if not self._file(day).exists()]

    def write(self, day: int) -> ArchivedDay:
        """Write a day's file. It appears under its name when it is whole. Raises StoreError, EverwatchError."""
        file = self._file(day)
        unfinished = file.with_name(f"{file.name}.unfinished")
        try:
            make_private_folder(self._folder)
            with (
                clear_errors(self._engine.url),
                self._engine.connect() as connection,
                os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, FILE_MODE), "wb") as out,
            ):
                count = self._parquet.write(out, _rows(connection, day))
                out.flush()
                os.fsync(out.fileno())
            unfinished.replace(file)
        except OSError as error:
            raise EverwatchError(f"The archive {file} cannot be written: {error.strerror or error}.") from None
        return ArchivedDay(str(file), day, count, file.stat().st_size)

    def note(self, now: int) -> None:
        """Note in the database how far it is archived without a gap. Raises StoreError, StoreBusy."""
        with clear_errors(self._engine.url), self._engine.begin() as connection:
            until = 0
            for day in _days(connection, now):
                if not self._file(day).exists():
                    break
                until = day + DAY_MS
            if until:
                raise_fact(connection, ARCHIVED_UNTIL, until)

    def _file(self, day: int) -> Path:
        return self._folder / f"results-{datetime.fromtimestamp(day / 1000, UTC):%Y-%m-%d}.parquet"


def archived_until(connection: Connection) -> int:
    """Return the instant (ms) before which all results are archived; 0 if none are."""
    return facts(connection).get(ARCHIVED_UNTIL, 0)


def _days(connection: Connection, now: int) -> Iterator[int]:
    """Yield days with results that have been over for a day, one index look-up for each."""
    c = results.c
    end = now - now % DAY_MS - DAY_MS
    at = 0
    while True:
        after = select(c.scheduled_at).where(c.scheduled_at >= at, c.scheduled_at < end)
        first = connection.execute(after.order_by(c.scheduled_at).limit(1)).scalar_one_or_none()
        if first is None:
            return
        yield first - first % DAY_MS
        at = first - first % DAY_MS + DAY_MS


def _rows(connection: Connection, day: int) -> Iterator[Sequence[Sequence[Any]]]:
    c = results.c
    within = select(results).where(c.scheduled_at >= day, c.scheduled_at < day + DAY_MS)
    streaming = connection.execution_options(yield_per=ROWS_AT_ONCE)
    yield from streaming.execute(within.order_by(c.scheduled_at)).partitions()


class _Parquet:
    """The schema of the files, and how rows get into them."""

    def __init__(self) -> None:
        try:
            import pyarrow as pa  # optional
            import pyarrow.parquet as parquet
        except ImportError:
            raise ArchiveUnavailable(
                "Parquet files are written by pyarrow, which is not installed: pip install 'everwatch[archive]'."
            ) from None
        self._pa, self._parquet = pa, parquet
        instant = pa.timestamp("ms", "UTC")
        types = {
            "user_id": pa.string(), "monitor_id": pa.string(), "kind": pa.string(), "status": pa.string(),
            "scheduled_at": instant, "started_at": instant, "stored_at": instant, "skipped_until": instant,
            "duration_ms": pa.float64(), "timings": pa.map_(pa.string(), pa.float64()),
            "attempt": pa.int32(), "version": pa.int32(), "deliveries": pa.int32(), "skipped_count": pa.int64(),
            "manual": pa.bool_(), "reason": pa.string(), "executor": pa.string(), "detail": pa.string(),
            "region": pa.string(),
        }  # fmt: skip
        self._schema = pa.schema([(name, types[name]) for name in _COLUMNS])

    def write(self, out: Any, batches: Iterator[Sequence[Sequence[Any]]]) -> int:
        """Write batches of rows of ``results``; return how many rows."""
        count = 0
        with self._parquet.ParquetWriter(out, self._schema, compression="zstd") as writer:
            for rows in batches:
                count += len(rows)
                columns = [
                    self._column(name, list(values))
                    for name, values in zip(_COLUMNS, zip(*rows, strict=True), strict=True)
                ]
                writer.write_table(self._pa.table(columns, schema=self._schema))
        return count

    def _column(self, name: str, values: list[Any]) -> Any:
        if name == "timings":
            values = [None if text == "{}" else list(_timings.decode(text).items()) for text in values]
        elif name == "skipped_until":
            values = [instant or None for instant in values]
        return self._pa.array(values, self._schema.field(name).type)

"""A database filled by SQL alone, as a sink leaves it: users, monitors of all sorts, and what came of them."""

import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby

from sqlalchemy import Connection, Engine, Index, inspect

from bench.errors import Unmeasured
from bench.generated_rows import DAYS, NOW_MS, Filling, Scale, Step
from everwatch.core.clock import SystemClock
from everwatch.core.config import Settings
from everwatch.schedule.duration import DAY_MS
from everwatch.store import open_store, postgres, sqlite
from everwatch.store.database import parse_url
from everwatch.store.day_partitions import Days
from everwatch.store.search import TABLES, ensure_indexes, has_index, index_of
from everwatch.store.sql_schema import metadata, results

CACHE_KIB = 512 * 1024
"""Memory of SQLite's page cache while a database is filled; one of a million users has primary keys of that size."""
FILLING = "bench_filling"
"""The table of the steps that are done, each with the scale; the last one is done when the database is full."""
AT_ONCE = 2
"""Connections that insert results into PostgreSQL."""
SAY_EVERY_S, SAY_ROWS = 5.0, 1_000_000


def generate(settings: Settings, scale: Scale, say: Callable[[str], None] = lambda _: None) -> None:
    """Fill an empty database; ``say`` gets a line of progress every few seconds.

    Rows are inserted in transactions of bounded size, so that no log holds all of them. Indexes are made at the end,
    from sorted keys: one that grows at random places costs a read and a write for each row. The same holds for the key
    of results on PostgreSQL, which are inserted over two connections. One that was begun before is filled further, and
    one that is full stays as it is. Raises Unmeasured if it was begun at another scale.
    """
    url = parse_url(settings.database_url)
    on_postgresql = url.get_backend_name() == "postgresql"
    if on_postgresql:
        # an index of 100,000,000 rows takes longer than anything that a sink does
        url = url.update_query_dict({"options": f"{url.query.get('options', '')} -c statement_timeout=0"})
    engine = (postgres if on_postgresql else sqlite).new_writer(url)
    try:
        if not inspect(engine).has_table(FILLING):
            open_store(settings).close()
            if on_postgresql:
                Days().ensure(engine, {NOW_MS - n * DAY_MS for n in range(DAYS + 1)}, NOW_MS)
            with engine.begin() as connection:
                _drop_indexes(connection)
                if on_postgresql:
                    connection.exec_driver_sql("ALTER TABLE results DROP CONSTRAINT results_pkey")
                # the same transaction: a database whose tables have no indexes is one that is being filled
                connection.exec_driver_sql(f"CREATE TABLE {FILLING} AS SELECT 0 AS step, '{scale}' AS scale")
        _fill(engine, scale, say, on_postgresql=on_postgresql)
    finally:
        engine.dispose()


def _fill(engine: Engine, scale: Scale, say: Callable[[str], None], *, on_postgresql: bool) -> None:
    with engine.connect() as connection:
        if not on_postgresql:
            _make_room(connection)
        with connection.begin():
            noted = dict(map(tuple, connection.exec_driver_sql(f"SELECT * FROM {FILLING}")))
            steps = dict(enumerate(Filling(connection).steps(scale), 1))
        if (begun_at := max(noted.values())) != str(scale):
            raise Unmeasured(f"the database was filled at another scale: {begun_at}")
        if len(steps) + 1 in noted:
            return
        left = {number: step for number, step in steps.items() if number not in noted}
        pace = _Pace(sum(step.rows for step in left.values()), say)
        for table, some in groupby(left.items(), lambda each: each[1].table):
            if on_postgresql and table == results.name:
                _fill_at_once(engine, list(some), scale, pace)
                continue
            for number, step in some:
                _take(connection, number, step, scale)
                pace.done(step)
        if on_postgresql:
            pace.next("the key of results")
            with connection.begin():
                if not inspect(connection).get_pk_constraint(results.name)["constrained_columns"]:
                    key = ", ".join(column.name for column in results.primary_key.columns)
                    connection.exec_driver_sql(f"ALTER TABLE results ADD PRIMARY KEY ({key})")
        for index in _indexes():
            pace.next(f"index {index.name}")
            with connection.begin():
                index.create(connection, checkfirst=True)
        pace.next("indexes of texts")
        with connection.begin():
            ensure_indexes(connection)
    if on_postgresql:
        # what autovacuum does a minute later; SQLite's planner works without
        pace.next("VACUUM ANALYZE")
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("VACUUM ANALYZE")
    with engine.begin() as connection:
        _note(connection, len(steps) + 1, scale)


def _fill_at_once(engine: Engine, some: list[tuple[int, Step]], scale: Scale, pace: "_Pace") -> None:
    """Take steps that do not depend on each other, over two connections."""

    def take(numbered: tuple[int, Step]) -> Step:
        with engine.connect() as connection:
            _take(connection, *numbered, scale)
        return numbered[1]

    with ThreadPoolExecutor(AT_ONCE) as threads:
        for step in threads.map(take, some):
            pace.done(step)


def _take(connection: Connection, number: int, step: Step, scale: Scale) -> None:
    # the driver of PostgreSQL takes % for the start of a parameter
    on_postgresql = connection.dialect.name == "postgresql"
    with connection.begin():
        connection.exec_driver_sql(step.statement.replace("%", "%%") if on_postgresql else step.statement)
        _note(connection, number, scale)


def _note(connection: Connection, number: int, scale: Scale) -> None:
    connection.exec_driver_sql(f"INSERT INTO {FILLING} VALUES ({number}, '{scale}')")


def _make_room(connection: Connection) -> None:
    driver = connection.connection.driver_connection
    assert isinstance(driver, sqlite3.Connection)
    # primary keys are filled in no order: their pages stay in memory
    driver.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
    driver.execute("PRAGMA synchronous = OFF")


def _indexes() -> list[Index]:
    """All but those of primary keys."""
    return [
        index for table in metadata.sorted_tables for index in sorted(table.indexes, key=lambda each: str(each.name))
    ]


def _drop_indexes(connection: Connection) -> None:
    for index in _indexes():
        index.drop(connection)
    dialect = connection.dialect.name
    for table in filter(lambda name: has_index(connection, name), TABLES):
        if dialect == "postgresql":
            connection.exec_driver_sql(f"DROP INDEX {index_of(table, dialect)}")
            continue
        for when in ("insert", "delete", "update"):
            connection.exec_driver_sql(f"DROP TRIGGER {table}_{when}")
        connection.exec_driver_sql(f"DROP TABLE {index_of(table, dialect)}")


class _Pace:
    """Says how far the filling is, and how long the rest of the rows takes at the pace so far."""

    def __init__(self, rows: int, say: Callable[[str], None]) -> None:
        self._clock = SystemClock()
        self._began_s = self._said_s = self._clock.monotonic_s()
        self._rows, self._done, self._say = rows, 0, say

    def done(self, step: Step) -> None:
        """Note what is done."""
        self._done += step.rows
        now_s = self._clock.monotonic_s()
        if now_s - self._said_s < SAY_EVERY_S or not self._done:
            return
        self._said_s = now_s
        took_s = now_s - self._began_s
        left_s = took_s / self._done * (self._rows - self._done)
        self._say(
            f"{self._done:,} of {self._rows:,} rows in {took_s:,.0f} s ({step.table});"
            f" the others take about {left_s:,.0f} s, and then indexes"
        )

    def next(self, what: str) -> None:
        """Say what is done next, if that may take a while."""
        if self._rows > SAY_ROWS:
            self._say(f"{what}, after {self._clock.monotonic_s() - self._began_s:,.0f} s")

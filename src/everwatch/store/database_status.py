"""Status of the database: size and age of each table, and the next deletions."""

from typing import Any

import msgspec
from msgspec.structs import replace
from sqlalchemy import Connection, Engine, text
from sqlalchemy.engine import URL

from everwatch.core.config import Settings
from everwatch.schedule.duration import DAY_MS
from everwatch.store import sqlite
from everwatch.store.database import clear_errors, open_for_reading
from everwatch.store.day_partitions import attached
from everwatch.store.facts import THINNED_UNTIL, facts
from everwatch.store.plan_keeping import KINDS, NO_PLANS, Keep, PlanKeeping
from everwatch.store.retention import AGEING
from everwatch.store.rollup_journal import FOLD_EVERY_MS
from everwatch.store.stored_values import DatabaseVolume
from everwatch.store.table_status import TableStatus, ThinningStatus

MOST_COUNTED = 100_000
"""Rows that are counted where that must not take long."""
# what is listed beside what ages
_LASTING = ("users", "monitors")


class DatabaseStatus(msgspec.Struct, frozen=True):
    """The whole database.

    ``size``: bytes on disk. ``free``: bytes of it that SQLite uses again before the file grows. ``days``: how many days
    of results PostgreSQL has partitions for.
    """

    kind: str
    size: int
    free: int | None
    days: int | None
    tables: list[TableStatus]


def status_of(settings: Settings, plans: PlanKeeping = NO_PLANS) -> DatabaseStatus:
    """Return what the database at ``settings.database_url`` holds. Raises StoreError.

    ``plans``: as the sink has them.
    """
    engine = open_for_reading(settings.database_url)
    try:
        with clear_errors(engine.url), engine.begin() as connection:
            return _status(connection, engine, Keep.of(settings), plans)
    finally:
        engine.dispose()


def contents_of(settings: Settings, most_counted: int = MOST_COUNTED) -> str:
    """Say how many users, monitors and results there are; of a table it counts ``most_counted`` rows at most.

    Raises StoreError.
    """
    engine = open_for_reading(settings.database_url)
    try:
        with clear_errors(engine.url), engine.begin() as connection:
            return ", ".join(f"{_about(connection, table, most_counted)} {table}" for table in (*_LASTING, "results"))
    finally:
        engine.dispose()


def volume_of(connection: Connection, url: URL) -> DatabaseVolume:
    """Return how large and how old the database is, by its indexes and catalogue alone."""
    if connection.dialect.name != "postgresql":
        oldest = _one(connection, "SELECT min(scheduled_at) FROM results")
        return DatabaseVolume(sqlite.size_of(url), oldest or 0)
    # partitions are made ahead of their day
    filled = (day.begin for day in attached(connection) if day.begin and _has_rows(connection, day.table))
    size = _one(connection, "SELECT pg_database_size(current_database())")
    return DatabaseVolume(size, next(filled, 0))


def _has_rows(connection: Connection, table: str) -> bool:
    return bool(_one(connection, f"SELECT EXISTS (SELECT FROM {table})"))  # noqa: S608 - own names


def _about(connection: Connection, table: str, most_counted: int) -> str:
    some = f"SELECT count(*) FROM (SELECT 1 FROM {table} LIMIT {most_counted + 1}) AS found"  # noqa: S608 - own names
    counted = _one(connection, some)
    if counted <= most_counted:
        return f"{counted:,}"
    estimate = _table(connection, table).rows if connection.dialect.name == "postgresql" else 0
    return f"about {estimate:,}" if estimate > counted else f"more than {most_counted:,}"


def _status(connection: Connection, engine: Engine, keep: Keep, plans: PlanKeeping) -> DatabaseStatus:
    on_postgresql = engine.dialect.name == "postgresql"
    tables = [
        replace(_ageing(connection, name, kept), kept_of_plans=plans.own(name, keep) if name in KINDS else {})
        for name, kept in keep._asdict().items()
        if name in AGEING
    ]
    thinning = _thinning(connection, keep, plans)
    tables = [replace(each, thinning=thinning) if each.table == "results" else each for each in tables]
    tables += [_table(connection, name) for name in _LASTING]
    tables.append(replace(_table(connection, "rollup_journal"), kept=FOLD_EVERY_MS))
    if not on_postgresql:
        page = _one(connection, "PRAGMA page_size")
        size, free = sqlite.size_of(engine.url), page * _one(connection, "PRAGMA freelist_count")
        return DatabaseStatus("sqlite", size, free, None, tables)
    days = [day for day in attached(connection) if day.begin is not None]
    size = _one(connection, "SELECT pg_database_size(current_database())")
    return DatabaseStatus("postgresql", size, None, len(days), tables)


def _thinning(connection: Connection, keep: Keep, plans: PlanKeeping) -> ThinningStatus | None:
    after, of_plans = keep.every_result, plans.own("every_result", keep)
    if not after:
        return ThinningStatus(0, of_plans) if of_plans else None
    [usual] = [look for look in plans.looks("every_result", keep) if look.age_ms == after]
    done = facts(connection).get(usual.fact or THINNED_UNTIL)
    return ThinningStatus(after, of_plans, done, None if done is None else done + DAY_MS + after)


def _ageing(connection: Connection, name: str, kept: int) -> TableStatus:
    ageing = AGEING[name]
    known = _table(connection, ageing.table)
    oldest = _one(connection, f"SELECT min({ageing.column}) FROM {ageing.table} WHERE {ageing.aged}")  # noqa: S608
    if not kept or oldest is None:
        return replace(known, oldest=oldest, kept=kept)
    due, what = oldest + kept, "hours, which become days" if name == "hourly_rollups" else "the oldest rows"
    if name == "results" and connection.dialect.name == "postgresql":
        day = next((d for d in attached(connection) if d.begin is not None and d.begin <= oldest < d.end), None)
        if day is not None:
            due, what = day.end + kept, f"the day {day.table}"
    return replace(known, oldest=oldest, kept=kept, next=due, next_what=what)


def _table(connection: Connection, table: str) -> TableStatus:
    if connection.dialect.name != "postgresql":
        return TableStatus(table, _one(connection, f"SELECT count(*) FROM {table}"))  # noqa: S608 - own names
    # a table alone is its own only leaf; of a partitioned one each day is
    found = text(
        "SELECT coalesce(sum(greatest(c.reltuples, s.n_live_tup, 0)), 0)::bigint,"
        " coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint"
        " FROM pg_partition_tree(to_regclass(:table)) t JOIN pg_class c ON c.oid = t.relid"
        " LEFT JOIN pg_stat_all_tables s ON s.relid = c.oid WHERE t.isleaf"
        if table == "results"
        else "SELECT greatest(c.reltuples, s.n_live_tup, 0)::bigint, pg_total_relation_size(c.oid)"
        " FROM pg_class c LEFT JOIN pg_stat_all_tables s ON s.relid = c.oid WHERE c.oid = to_regclass(:table)"
    )
    rows, size = connection.execute(found, {"table": table}).one()
    return TableStatus(table, rows, size)


def _one(connection: Connection, question: str) -> Any:
    return connection.exec_driver_sql(question).scalar_one()

"""Partitions of ``results`` in PostgreSQL: one for each day (UTC), made ahead of time by the process that stores.

One partition more takes all results from before the first days: whatever instants results name, no row lacks its
partition, and there are never more partitions than days since Everwatch was installed. A partition is made apart and
then attached, which locks no reader or writer out.
"""

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import NamedTuple

from sqlalchemy import Connection, Engine, text

from everwatch.schedule.duration import DAY_MS

DAYS_AHEAD = 2
"""Number of days after today for which partitions are made."""
DAYS_BEHIND = 32
"""Results older than this when the first ones are stored go into the partition of all before."""
BEFORE = "results_before"
# advisory lock of a process that makes or drops partitions
LOCK = 0x4556_5741_5443_4801

_BOUND = re.compile(r"FROM \((MINVALUE|'?(\d+)'?)\) TO \('?(-?\d+)'?\)")
_ATTACHED = text(
    "SELECT c.relname, pg_get_expr(c.relpartbound, c.oid) FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid"
    " WHERE i.inhparent = 'results'::regclass AND NOT i.inhdetachpending ORDER BY c.relname"
)


class Day(NamedTuple):
    """A partition: its table, and what it holds: ``begin`` <= ``scheduled_at`` < ``end``, ms; ``begin`` None: all."""

    table: str
    begin: int | None
    end: int


class Days:
    """Knows which partitions there are, and makes those that are missing."""

    def __init__(self) -> None:
        self._known: set[int] = set()
        self._first = 0

    def ensure(self, engine: Engine, instants: Iterable[int], now: int) -> None:
        """Make every partition that results of these instants need, and those of the next days."""
        today = now // DAY_MS
        wanted = {instant // DAY_MS for instant in instants}
        wanted.update(range(today, today + DAYS_AHEAD + 1))
        if not self._missing(wanted):
            return
        try:
            with engine.begin() as connection:
                self._make(connection, wanted, today)
        except Exception:
            # undo the creation
            self.forget()
            raise

    def forget(self) -> None:
        """Look again which there are: one was dropped."""
        self._known.clear()
        self._first = 0

    def _make(self, connection: Connection, wanted: set[int], today: int) -> None:
        hold_days(connection)
        self._learn(connection)
        if not self._first:
            self._first = max(1, today - DAYS_BEHIND)
            _attach(connection, Day(BEFORE, None, self._first * DAY_MS))
        for day in self._missing(wanted):
            _attach(connection, day_of(day))
            self._known.add(day)

    def _missing(self, wanted: set[int]) -> list[int]:
        return sorted(day for day in wanted - self._known if day >= self._first)

    def _learn(self, connection: Connection) -> None:
        for partition in attached(connection):
            if partition.begin is None:
                self._first = partition.end // DAY_MS
            else:
                self._known.add(partition.begin // DAY_MS)


def hold_days(connection: Connection) -> None:
    """Lock out other processes that make or drop partitions until the transaction ends; SQLite has none."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": LOCK})


def attached(connection: Connection) -> list[Day]:
    """Return the partitions that there are, by name: the oldest day first, the one of all before last."""
    found = []
    for table, bound in connection.execute(_ATTACHED):
        if match := _BOUND.search(bound):
            found.append(Day(table, None if match[2] is None else int(match[2]), int(match[3])))
    return found


def day_of(number: int) -> Day:
    """Return the partition of a day, counted from 1970-01-01."""
    date = datetime.fromtimestamp(number * DAY_MS / 1000, UTC)
    return Day(f"results_{date:%Y%m%d}", number * DAY_MS, (number + 1) * DAY_MS)


def _attach(connection: Connection, day: Day) -> None:
    # LIKE and then ATTACH: a partition that is created as one locks the whole table
    begin = "MINVALUE" if day.begin is None else str(day.begin)
    connection.exec_driver_sql(f"CREATE TABLE {day.table} (LIKE results INCLUDING DEFAULTS INCLUDING STORAGE)")
    connection.exec_driver_sql(
        f"ALTER TABLE results ATTACH PARTITION {day.table} FOR VALUES FROM ({begin}) TO ({day.end})"
    )

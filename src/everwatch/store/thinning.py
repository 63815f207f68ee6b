"""Days of results of which only changes and failures are kept.

When a day (UTC) is older than all results are kept, each success is deleted that follows a success of its monitor and
is followed by another result on that day. So each monitor keeps of each day its first and last result, everything that
is no success, and the first success after it. Thinning the same day again changes nothing.

PostgreSQL gets a smaller table, filled some users at a time, which then takes the day's place; SQLite deletes rows.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, select, text

from everwatch.model import Status
from everwatch.schedule.duration import DAY_MS, HOUR_MS
from everwatch.store.day_partitions import Day, attached
from everwatch.store.facts import RESULTS_FROM, THINNED_UNTIL, facts, put_fact, raise_fact
from everwatch.store.plan_keeping import Look
from everwatch.store.sql_schema import STATUS_CODES, results, users

# what a look at one user costs, in deleted rows
USER_ROWS = 20

_NAMES: list[str] = results.c.keys()
_COLUMNS = ", ".join(_NAMES)
_KEY = [column.name for column in results.primary_key.columns]
_ORDER = "PARTITION BY user_id, monitor_id, region ORDER BY scheduled_at, attempt"
_WITHIN = "within_day"
_SUCCESS = STATUS_CODES[Status.SUCCESS]
# which rows stay in PostgreSQL, and which go from SQLite
_NEEDED = f"status <> {_SUCCESS} OR before IS DISTINCT FROM {_SUCCESS} OR following IS NULL OR skipped_until > 0"
_DELETE_SUPERFLUOUS = f"""
    DELETE FROM results WHERE rowid IN (
        SELECT place FROM (
            SELECT rowid AS place, status, skipped_until, lag(status) OVER w AS before, lead(status) OVER w AS following
            FROM results WHERE user_id = ? AND scheduled_at >= ? AND scheduled_at < ? WINDOW w AS ({_ORDER})
        ) WHERE status = 'success' AND before = 'success' AND following IS NOT NULL AND skipped_until = 0
    )
"""  # noqa: S608 - own words


class Thinning:
    """Thins one day after the other, in bites, of the users that a look means, when a day is older than ``age_ms``.

    Each method runs in a transaction of its caller's.
    """

    def __init__(self, look: Look) -> None:
        self.age_ms = look.age_ms
        self._look = look
        self._done = look.fact or THINNED_UNTIL
        needed = f"({_NEEDED}) OR NOT ({look.condition('%s')})" if look.plans else _NEEDED
        self.replacing = DayReplacing(f"thin{look.name}", needed, look.plans, self._done)
        # how far the day is thinned in SQLite; after a restart the day is begun again
        self._day = 0
        self._after = ""

    def bite(self, connection: Connection, until: int, now: int, most: int) -> int:
        """Thin some of the first day that ends by ``until`` and is not thin; return about how many rows that took.

        0: all are thin.
        """
        if connection.dialect.name == "postgresql":
            return self.replacing.bite(connection, until, now, most)
        thinned = facts(connection).get(self._done, 0)
        first = connection.exec_driver_sql(
            "SELECT min(scheduled_at) FROM results WHERE scheduled_at >= ?", (thinned,)
        ).scalar_one()
        if first is None or first - first % DAY_MS + DAY_MS > until:
            return 0
        return self._delete_some(connection, first - first % DAY_MS, most)

    def _delete_some(self, connection: Connection, day: int, most: int) -> int:
        if day != self._day:
            self._day, self._after = day, ""
        # while the day is being thinned, its results count as not known
        raise_fact(connection, RESULTS_FROM, day + DAY_MS)
        cost = 0
        while cost < most:
            user_id = connection.exec_driver_sql(
                "SELECT min(user_id) FROM results WHERE user_id > ?", (self._after,)
            ).scalar_one()
            if user_id is None:
                raise_fact(connection, self._done, day + DAY_MS)
                return cost + 1
            plan = connection.execute(select(users.c.plan).where(users.c.user_id == user_id)).scalar_one_or_none()
            if not self._look.spares(plan or ""):
                within = (user_id, day, day + DAY_MS)
                cost += connection.exec_driver_sql(_DELETE_SUPERFLUOUS, within).rowcount
            cost += USER_ROWS
            self._after = user_id
        return cost


class DayReplacing:
    """Replaces days in PostgreSQL, one after the other, by tables of the rows that are ``needed``.

    ``needed``: SQL about a row, with the status of the monitor's result before and after it on that day as ``before``
    and ``following``. ``done``: the fact that says up to which instant (ms) days are replaced.
    """

    def __init__(self, name: str, needed: str, parameters: Sequence[Any], done: str) -> None:
        self._name = name
        self._needed = needed
        self._parameters = tuple(parameters)
        self._done = done

    def table_for(self, day: Day) -> str:
        """Return the name of the table that is to take the day's place."""
        return f"{day.table}_{self._name}"

    def bite(self, connection: Connection, until: int, now: int, most: int) -> int:
        """Copy some of the first day that ends by ``until`` and is not replaced; return about how many rows, 0: none.

        ``now`` is when that is.
        """
        replaced = facts(connection).get(self._done, 0)
        days = [day for day in attached(connection) if day.begin is not None and replaced <= day.begin]
        return self._copy_some(connection, days[0], now, most) if days and days[0].end <= until else 0

    def _copy_some(self, connection: Connection, day: Day, now: int, most: int) -> int:
        table = self.table_for(day)
        begun = f"{self._done}_begun"
        if connection.execute(text("SELECT to_regclass(:name)"), {"name": table}).scalar_one() is None:
            connection.exec_driver_sql(
                f"CREATE TABLE {table} (LIKE results INCLUDING DEFAULTS INCLUDING STORAGE INCLUDING INDEXES,"
                # with this constraint, attaching the table does not scan it
                f" CONSTRAINT {_WITHIN} CHECK (scheduled_at >= {day.begin} AND scheduled_at < {day.end}))"
            )
            # clocks of other sinks may differ
            put_fact(connection, begun, now - HOUR_MS)
        # the table's comment is the last user whose rows were copied
        copied = text("SELECT obj_description(to_regclass(:name)::oid, 'pg_class')")
        after = connection.execute(copied, {"name": table}).scalar_one() or ""
        behind = f"FROM {day.table} WHERE user_id > %s"
        ahead = f"SELECT user_id {behind} ORDER BY user_id LIMIT 1 OFFSET %s"
        last = connection.exec_driver_sql(ahead, (after, most - 1)).scalar_one_or_none()
        if last is None:
            last = connection.exec_driver_sql(f"SELECT max(user_id) {behind}", (after,)).scalar_one()
        if last is None:
            self._put_in_place(connection, day, facts(connection).get(begun, 0))
            return 1
        window = f"SELECT *, lag(status) OVER w AS before, lead(status) OVER w AS following {behind}"
        connection.exec_driver_sql(
            f"INSERT INTO {table} ({_COLUMNS}) SELECT {_COLUMNS} FROM"  # noqa: S608
            f" ({window} AND user_id <= %s WINDOW w AS ({_ORDER})) AS d WHERE {self._needed}",
            (after, last, *self._parameters),
        )
        from psycopg import sql  # the driver is imported where it is used

        comment = sql.SQL("COMMENT ON TABLE {} IS {}").format(sql.Identifier(table), sql.Literal(last))
        connection.exec_driver_sql(comment.as_string(connection.connection.driver_connection).replace("%", "%%"))
        return most

    def _put_in_place(self, connection: Connection, day: Day, begun_at: int) -> None:
        table = self.table_for(day)
        # sinks that store into this day wait now; others do not
        connection.exec_driver_sql(f"LOCK TABLE {day.table} IN SHARE MODE")
        same = " AND ".join(f"t.{name} = d.{name}" for name in _KEY)
        # what was purged meanwhile
        connection.exec_driver_sql(
            f"DELETE FROM {table} t WHERE NOT EXISTS (SELECT FROM {day.table} d WHERE {same})"  # noqa: S608
        )
        # what was delivered again meanwhile
        others = [name for name in _NAMES if name not in _KEY]
        newer = ", ".join(f"{name} = d.{name}" for name in others)
        connection.exec_driver_sql(
            f"UPDATE {table} t SET {newer} FROM {day.table} d WHERE {same} AND t.deliveries <> d.deliveries"  # noqa: S608
        )
        # what has come since the first users were copied
        changed = ", ".join(f"{name} = excluded.{name}" for name in others)
        connection.exec_driver_sql(
            f"INSERT INTO {table} ({_COLUMNS}) SELECT {_COLUMNS} FROM {day.table} WHERE stored_at >= %s"  # noqa: S608
            f" ON CONFLICT ({', '.join(_KEY)}) DO UPDATE SET {changed}",
            (begun_at,),
        )
        connection.exec_driver_sql(f"DROP TABLE {day.table}")
        connection.exec_driver_sql(f"ALTER TABLE {table} RENAME TO {day.table}")
        connection.exec_driver_sql(f"COMMENT ON TABLE {day.table} IS NULL")
        connection.exec_driver_sql(
            f"ALTER TABLE results ATTACH PARTITION {day.table} FOR VALUES FROM ({day.begin}) TO ({day.end})"
        )
        connection.exec_driver_sql(f"ALTER TABLE {day.table} DROP CONSTRAINT {_WITHIN}")
        raise_fact(connection, RESULTS_FROM, day.end)
        raise_fact(connection, self._done, day.end)

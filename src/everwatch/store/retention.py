"""Deletion of expired rows, some at a time.

PostgreSQL drops whole days of results. Everything else is deleted by an index, in transactions of a few thousand rows,
so that no statement waits for long. SQLite reuses the freed pages, so its file stops growing.
"""

from collections.abc import Callable, Iterable
from functools import partial
from typing import NamedTuple

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

from everwatch.schedule.duration import DAY_MS
from everwatch.store.archive import archived_until
from everwatch.store.day_partitions import BEFORE, LOCK, Day, attached
from everwatch.store.facts import RESULTS_FROM, facts, raise_fact
from everwatch.store.plan_keeping import NO_PLANS, Keep, Look, PlanKeeping
from everwatch.store.rollup_looks import RollupLook
from everwatch.store.rollup_rows import RollupRows
from everwatch.store.sql_schema import daily_rollups, hourly_rollups
from everwatch.store.thinning import DayReplacing, Thinning

# maximum number of days whose lock may be waited for without success (see ``_is_alone``)
MOST_TRIED = 5


class Ageing(NamedTuple):
    """Rows that age: their table, the column of their age, and which of them (SQL; what lasts has no age)."""

    table: str
    column: str
    condition: str = ""

    @property
    def aged(self) -> str:
        """The condition of rows that have an age, in the words of the index."""
        return self.condition or f"{self.column} >= 0"


AGEING = {
    "results": Ageing("results", "scheduled_at"),
    "transitions": Ageing("transitions", "at"),
    "history": Ageing("monitor_history", "until", "until IS NOT NULL"),
    "tasks": Ageing("tasks", "ended_at", "ended_at > 0"),
    "hourly_rollups": Ageing("hourly_rollups", "at"),
    "daily_rollups": Ageing("daily_rollups", "at"),
    "dead_letters": Ageing("dead_letters", "refused_at"),
    "replies": Ageing("replies", "at"),
    "audit": Ageing("audit_log", "at"),
    "specs": Ageing("former_specs", "replaced_at"),
}


class Trimmer:
    """Deletes expired rows."""

    def __init__(
        self, engine: Engine, keep: Keep, *, until_archived: bool = False, plans: PlanKeeping = NO_PLANS
    ) -> None:
        self._engine = engine
        self._keep = keep
        self._until_archived = until_archived
        self._on_postgresql = engine.dialect.name == "postgresql"
        self._rollups = RollupRows(engine.dialect)
        self.plans = plans
        self._thinning = [Thinning(look) for look in plans.looks("every_result", keep)]
        self._rollup_looks = {
            look: RollupLook(table, look)
            for table in (hourly_rollups, daily_rollups)
            for look in plans.looks(table.name, keep)
            if look.plans
        }
        self._reducing = {
            look: DayReplacing(f"plans{look.name}", f"NOT ({look.condition('%s')})", look.plans, look.fact)
            for look in plans.looks("results", keep)
            if look.plans
        }

    def trim(self, now: int, most: int) -> int:
        """Delete up to ``most`` rows of each kind, or one day of results; return how many, 0: nothing is too old.

        A failure (a day that another connection reads is locked) delays no other deletion; it is raised at the end.
        """
        bites: list[Callable[[], int]] = []
        for name in Keep._fields:
            if name == "every_result":
                bites += [partial(self._thin, thinning, now, most) for thinning in self._thinning]
            else:
                delete = self._condense if name == "hourly_rollups" else partial(self._delete, name)
                looks = self.plans.looks(name, self._keep)
                bites += [partial(delete, look, now, most) for look in looks]
        return _first_or_all(bites, until_one_deletes=False)

    def _thin(self, thinning: Thinning, now: int, most: int) -> int:
        until = self._deletable_until(now - thinning.age_ms)
        return self._alone(lambda connection: thinning.bite(connection, until, now, most))

    def _condense(self, look: Look, now: int, most: int) -> int:
        until = now - look.age_ms
        until -= until % DAY_MS
        if look.plans:
            return self._look(look, until, most)
        return self._alone(lambda connection: self._rollups.condense(connection, until, most))

    def _look(self, look: Look, until: int, most: int) -> int:
        """Look at roll-ups whose plan matters; return at how many."""
        rollup_look = self._rollup_looks[look]

        def bite(connection: Connection) -> int:
            looked_at, old = rollup_look.bite(connection, until, most)
            if look.kind == "hourly_rollups":
                self._rollups.condense_these(connection, old)
            else:
                self._rollups.delete_days(connection, old)
            return looked_at

        looked_at = self._alone(bite)
        if looked_at:
            # 0: another process deletes just now, or there was nothing
            rollup_look.committed()
        return looked_at

    def _delete(self, name: str, look: Look, now: int, most: int) -> int:
        """Delete rows of a kind that are old enough, each bite in a transaction of its own."""
        until = now - look.age_ms
        if look in self._rollup_looks:
            return self._look(look, until, most)
        if name != "results":
            ageing = AGEING[name]
            return self._alone(lambda connection: self._bite(connection, ageing, ageing.table, until, most, look)[0])
        until = self._deletable_until(until)
        if not self._on_postgresql:
            return self._alone(lambda connection: self._bite_of_results(connection, "results", until, most, look))
        with self._engine.begin() as connection:
            days = attached(connection)
        if not days:  # they are made when the first batch is stored
            return 0
        bite = partial(self._alone, lambda connection: self._bite_of_results(connection, BEFORE, until, most, look))
        if look.plans:
            replace_day = self._reducing[look].bite
            return _first_or_all(
                [partial(self._alone, lambda connection: replace_day(connection, until, now, most)), bite]
            )
        old = [day for day in days if day.begin is not None and day.end <= until]
        return _first_or_all([*(partial(self._alone, partial(self._drop, day)) for day in old[:MOST_TRIED]), bite])

    def _deletable_until(self, until: int) -> int:
        if not self._until_archived:
            return until
        with self._engine.begin() as connection:
            return min(until, archived_until(connection))

    def _alone(self, delete: Callable[[Connection], int]) -> int:
        """Delete in a transaction of its own, unless another process deletes just now; return how many."""
        with self._engine.begin() as connection:
            return 0 if self._on_postgresql and not _is_alone(connection) else delete(connection)

    def _bite_of_results(self, connection: Connection, table: str, until: int, most: int, look: Look) -> int:
        # what was skipped into the time that is kept still answers for it
        ageing = AGEING["results"]._replace(condition=f"skipped_until < {int(until)}")
        looked_at, deleted = self._bite(connection, ageing, table, until, most, look)
        if deleted:
            raise_fact(connection, RESULTS_FROM, until)
        return looked_at

    def _bite(
        self,
        connection: Connection,
        ageing: Ageing,
        table: str,
        until: int,
        most: int,
        look: Look,
    ) -> tuple[int, int]:
        """Delete rows; return how many were looked at and how many went."""
        old = f"{ageing.column} < {int(until)} AND {ageing.aged}"
        if not look.plans:
            place = "ctid" if self._on_postgresql else "rowid"
            rows = f"SELECT {place} FROM {table} WHERE {old} ORDER BY {ageing.column} LIMIT {int(most)}"  # noqa: S608 - own words
            some = f"{place} = ANY(ARRAY({rows}))" if self._on_postgresql else f"{place} IN ({rows})"
            gone = connection.exec_driver_sql(f"DELETE FROM {table} WHERE {some}").rowcount  # noqa: S608
            return gone, gone
        # the fact itself says which days are replaced
        fact = f"{look.fact}_before" if table == BEFORE else look.fact
        # however few of them go, no more rows than these are looked at
        within = f"{ageing.column} >= {facts(connection).get(fact, 0)} AND {old}"
        oldest = f"SELECT {ageing.column} AS age FROM {table} WHERE {within} ORDER BY {ageing.column} LIMIT {int(most)}"  # noqa: S608
        last, count = connection.exec_driver_sql(f"SELECT max(age), count(*) FROM ({oldest}) AS oldest").one()  # noqa: S608
        which = look.condition("%s" if self._on_postgresql else "?")
        gone = connection.exec_driver_sql(
            f"DELETE FROM {table} WHERE {within} AND {ageing.column} <= {last or 0} AND {which}",  # noqa: S608
            look.plans,
        ).rowcount
        raise_fact(connection, fact, until if count < most else last + 1)
        return count, gone

    def _drop(self, day: Day, connection: Connection) -> int:
        if day not in attached(connection):
            return 0  # another process was quicker
        skipped = text(f"SELECT coalesce(max(skipped_until), 0) FROM {day.table} WHERE skipped_until > 0")  # noqa: S608
        # an audit knows nothing for certain of what was skipped by a result that goes
        known_from = max(day.end, connection.execute(skipped).scalar_one() + 1)
        raise_fact(connection, RESULTS_FROM, known_from)
        connection.exec_driver_sql(f"DROP TABLE {day.table}")
        # what was to take its place
        begun = text("SELECT relname FROM pg_class WHERE relkind = 'r' AND NOT relispartition AND relname LIKE :names")
        for (table,) in connection.execute(begun, {"names": f"{day.table}\\_%"}).all():
            connection.exec_driver_sql(f"DROP TABLE {table}")
        return 1


def _first_or_all(deletions: Iterable[Callable[[], int]], *, until_one_deletes: bool = True) -> int:
    """Run deletions until one has deleted something, or all; return how many rows they deleted.

    One that the database refuses keeps no other one. If nothing was deleted, what it said is raised.
    """
    deleted, failure = 0, None
    for delete in deletions:
        try:
            deleted += delete()
        except DBAPIError as error:
            if error.connection_invalidated:
                raise
            failure = failure or error
        if deleted and until_one_deletes:
            break
    if failure is not None and not deleted:
        raise failure
    return deleted


def _is_alone(connection: Connection) -> bool:
    """Take the lock for making and dropping days, if it is free, and wait for no other lock for long.

    A day is dropped under a lock of the whole table. While that lock is waited for, all that begins later waits too, so
    the day is dropped another time instead.
    """
    connection.exec_driver_sql("SET LOCAL lock_timeout = '300ms'")
    return bool(connection.execute(text("SELECT pg_try_advisory_xact_lock(:key)"), {"key": LOCK}).scalar_one())

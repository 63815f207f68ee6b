"""What the database keeps, for how long, and its deletion a bite at a time.

PostgreSQL drops whole days of results; everything else is deleted by an index, so many rows in a transaction of their
own that nobody waits for long. SQLite uses the freed pages again: its file grows no more once as much goes as comes.
"""

from collections.abc import Callable, Iterable
from functools import partial
from typing import NamedTuple

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

from everwatch.core.config import Settings
from everwatch.store.archive import archived_until
from everwatch.store.day_partitions import BEFORE, DAY_MS, LOCK, Day, attached
from everwatch.store.facts import RESULTS_FROM, raise_fact
from everwatch.store.rollup_rows import RollupRows
from everwatch.store.thinning import Thinning, thin_table

# days of which each may be waited for in vain (see ``_is_alone``)
MOST_TRIED = 5


class Keep(NamedTuple):
    """For how long each is kept, ms; 0: for good. Roll-ups of hours become roll-ups of days when their time is over.

    Results older than ``every_result`` are kept if they are changes and failures.
    """

    results: int = 0
    transitions: int = 0
    history: int = 0
    tasks: int = 0
    hourly_rollups: int = 0
    daily_rollups: int = 0
    every_result: int = 0

    @classmethod
    def of(cls, settings: Settings) -> "Keep":
        """What the settings say."""
        return cls(
            settings.keep_results_days * DAY_MS,
            settings.keep_transitions_days * DAY_MS,
            settings.keep_history_days * DAY_MS,
            settings.keep_tasks_days * DAY_MS,
            settings.keep_hourly_rollups_days * DAY_MS,
            settings.keep_daily_rollups_days * DAY_MS,
            settings.keep_every_result_days * DAY_MS,
        )


KEEP_ALL = Keep()


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
}


class Trimmer:
    """Deletes what is older than it is kept."""

    def __init__(self, engine: Engine, keep: Keep, *, until_archived: bool = False) -> None:
        self._engine = engine
        self._keep = keep
        self._until_archived = until_archived
        self._on_postgresql = engine.dialect.name == "postgresql"
        self._rollups = RollupRows(engine.dialect)
        self._thinning = Thinning()

    def trim(self, now: int, most: int) -> int:
        """Delete up to ``most`` rows of each kind, or one day of results; return how many, 0: nothing is too old.

        What fails (a day that somebody reads is locked) keeps nothing else. It is raised when all else is deleted.
        """
        kinds = self._keep._asdict().items()
        return _first_or_all(
            [partial(self._delete, name, now - kept, most, now) for name, kept in kinds if kept],
            until_one_deletes=False,
        )

    def _delete(self, name: str, until: int, most: int, now: int) -> int:
        """Delete rows of a kind whose age lies before ``until``, each bite in a transaction of its own."""
        if name in ("results", "every_result") and self._until_archived:
            with self._engine.begin() as connection:
                until = min(until, archived_until(connection))
        if name == "results" and self._on_postgresql:
            with self._engine.begin() as connection:
                days = attached(connection)
            if not days:  # they are made when the first batch is stored
                return 0
            old = [day for day in days if day.begin is not None and day.end <= until]
            bite = partial(self._alone, lambda connection: self._bite_of_results(connection, BEFORE, until, most))
            days_left = [partial(self._alone, partial(self._drop, day)) for day in old[:MOST_TRIED]]
            return _first_or_all([*days_left, bite])
        if name == "results":
            return self._alone(lambda connection: self._bite_of_results(connection, "results", until, most))
        if name == "every_result":
            return self._alone(lambda connection: self._thinning.bite(connection, until, now, most))
        if name == "hourly_rollups":
            return self._alone(lambda connection: self._rollups.condense(connection, until - until % DAY_MS, most))
        return self._alone(lambda connection: self._bite(connection, AGEING[name], AGEING[name].table, until, most))

    def _alone(self, delete: Callable[[Connection], int]) -> int:
        """Delete in a transaction of its own, unless another process deletes just now; return how many."""
        with self._engine.begin() as connection:
            return 0 if self._on_postgresql and not _is_alone(connection) else delete(connection)

    def _bite_of_results(self, connection: Connection, table: str, until: int, most: int) -> int:
        ageing = AGEING["results"]
        # what was skipped into the time that is kept still answers for it
        deleted = self._bite(connection, ageing, table, until, most, f"skipped_until < {int(until)}")
        if deleted:
            raise_fact(connection, RESULTS_FROM, until)
        return deleted

    def _bite(
        self, connection: Connection, ageing: Ageing, table: str, until: int, most: int, condition: str = ""
    ) -> int:
        found = f"FROM {table} WHERE {ageing.column} < {int(until)} AND {condition or ageing.aged}"
        found += f" ORDER BY {ageing.column} LIMIT {int(most)}"
        if self._on_postgresql:
            statement = f"DELETE FROM {table} WHERE ctid = ANY(ARRAY(SELECT ctid {found}))"  # noqa: S608 - own words
        else:
            statement = f"DELETE FROM {table} WHERE rowid IN (SELECT rowid {found})"  # noqa: S608
        return connection.exec_driver_sql(statement).rowcount

    def _drop(self, day: Day, connection: Connection) -> int:
        if day not in attached(connection):
            return 0  # another process was quicker
        skipped = text(f"SELECT coalesce(max(skipped_until), 0) FROM {day.table} WHERE skipped_until > 0")  # noqa: S608
        # an audit knows nothing for certain of what was skipped by a result that goes
        known_from = max(day.end, connection.execute(skipped).scalar_one() + 1)
        raise_fact(connection, RESULTS_FROM, known_from)
        connection.exec_driver_sql(f"DROP TABLE {day.table}")
        # one that was being thinned
        connection.exec_driver_sql(f"DROP TABLE IF EXISTS {thin_table(day)}")
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
    """Take the lock of who makes and drops days, if it is free, and wait for no other lock for long.

    A day is dropped under a lock of the whole table. While that lock is waited for, all that begins later waits too, so
    the day is dropped another time instead.
    """
    connection.exec_driver_sql("SET LOCAL lock_timeout = '300ms'")
    return bool(connection.execute(text("SELECT pg_try_advisory_xact_lock(:key)"), {"key": LOCK}).scalar_one())

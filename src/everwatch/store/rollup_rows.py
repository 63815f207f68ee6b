"""The tables of roll-ups: adding to them, merging hours into days, and building them anew from results."""

from collections.abc import Callable, Collection, Sequence
from typing import Any

from sqlalchemy import (
    Connection,
    Dialect,
    Select,
    Table,
    and_,
    bindparam,
    delete,
    literal_column,
    select,
    tuple_,
    update,
)

from everwatch.schedule.duration import DAY_MS
from everwatch.store import sketch
from everwatch.store.bulk_statements import Bulk, Row
from everwatch.store.facts import COUNTED_FROM, RESULTS_FROM, ROLLUPS_FROM, facts, lower_facts, put_fact
from everwatch.store.plan_keeping import looked_at
from everwatch.store.rollup_counts import Rollup, RollupStep
from everwatch.store.rollup_journal import BUCKETS, FEWEST_JOURNALED, RollupJournal, waiting, written
from everwatch.store.rollups import USED, ResultChanges, Since, additions, by_day, by_hour, condensed, rollup
from everwatch.store.selections import When
from everwatch.store.sql_schema import daily_rollups, hourly_rollups, results

_READ_AT_ONCE = 2_000
# keys of three values in one statement; SQLite takes at most 32,766
_KEYS_AT_ONCE = 2_000
_COUNTS = ("successes", "failures", "lates", "skips", "duration_us")


class RollupRows:
    """Writes roll-ups, in transactions of others."""

    def __init__(self, dialect: Dialect, fewest_journaled: int = FEWEST_JOURNALED) -> None:
        self._hours = _Adding(hourly_rollups, dialect)
        self._days = _Adding(daily_rollups, dialect)
        self._journal = RollupJournal(dialect.name == "postgresql")
        self._fewest_journaled = fewest_journaled
        self._prepared: tuple[list[Row], list[tuple[int, bytes]]] | None = None

    def preparing(self, connection: Connection) -> Callable[[list[Row]], None]:
        """Return what prepares counting rows that will be inserted, as a rule, and uses no connection."""
        from_when = since(facts(connection))

        def prepare(rows: list[Row]) -> None:
            if len(rows) >= self._fewest_journaled:
                self._prepared = (rows, written(ResultChanges(rows), from_when))

        return prepare

    def count(self, connection: Connection, changes: ResultChanges) -> int:
        """Add what a batch changed of the results; once in a transaction. Return how many results are in the journal.

        Of a large batch it is written into the journal.
        """
        prepared, self._prepared = self._prepared, None
        if not (changes.inserted or changes.merged):
            return 0
        if prepared is not None and prepared[0] is changes.inserted and not changes.merged:
            self._journal.put(connection, prepared[1])
            return len(prepared[0])
        from_when = since(facts(connection))
        inserted = list(changes.inserted)
        if len(inserted) < self._fewest_journaled:
            self._hours.add(connection, additions(ResultChanges(inserted, changes.merged), from_when))
            return 0
        self._journal.put(connection, written(ResultChanges(inserted, changes.merged), from_when))
        return len(inserted)

    def parts_to_fold(self, connection: Connection, buckets: Collection[int]) -> list[list[int]]:
        """Return those of the buckets of which the journal holds something, in parts for ``fold``."""
        return self._journal.parts(connection, buckets)

    def fold(self, connection: Connection, buckets: Collection[int], *, all_of_it: bool = False) -> None:
        """Add what the journal holds of some buckets to the roll-ups.

        Additions that another transaction holds are left to it; ``all_of_it``: wait for them.
        """
        self._hours.add(connection, self._journal.take(connection, buckets, all_of_it=all_of_it))

    def condense(self, connection: Connection, until: int, most: int) -> int:
        """Merge up to ``most`` hours from before ``until`` (ms), the earliest first, into days; return how many.

        Once in a transaction.
        """
        c = hourly_rollups.c
        earliest = select(hourly_rollups).where(c.at < until).order_by(c.at).limit(most)
        return self._condense(connection, earliest)

    def condense_these(self, connection: Connection, keys: list[Row]) -> None:
        """Merge the hours of these keys into days; once in a transaction."""
        c = hourly_rollups.c
        key = tuple_(c.user_id, c.monitor_id, c.at)
        for begin in range(0, len(keys), _KEYS_AT_ONCE):
            some = keys[begin : begin + _KEYS_AT_ONCE]
            self._condense(connection, select(hourly_rollups).where(key.in_(some)).order_by(*key))

    def delete_days(self, connection: Connection, keys: list[Row]) -> None:
        """Delete the days of these keys."""
        self._days.delete(connection, keys)

    def _condense(self, connection: Connection, which: Select[*tuple[Any, ...]]) -> int:
        # a late result that is being added to such an hour is waited for, and one that comes later begins it anew
        hours = [tuple(row) for row in connection.execute(which.with_for_update())]
        days = condensed(hours)
        self._days.add(connection, days)
        if days:
            # a look for plans may have passed these days already
            lower_facts(connection, looked_at("daily_rollups"), min(day[2] for day in days))
        self._hours.delete(connection, [row[:3] for row in hours])
        return len(hours)

    def rebuild(self, connection: Connection, after: str, from_ms: int, most: int) -> str | None:
        """Build the roll-ups of the users behind ``after`` anew; return the last one of them, None: of all the others.

        So many users that they have about ``most`` results. The days from ``from_ms`` on are rebuilt whose results are
        all there. No results may be stored meanwhile. Call it once in a transaction.
        """
        # what it holds is in the results too
        self.fold(connection, range(BUCKETS), all_of_it=True)
        known = facts(connection)
        from_ms = first_day(from_ms, known)
        # hours that are built anew have not been looked at
        lower_facts(connection, looked_at("hourly_rollups"), from_ms)
        if not after and from_ms < since(known).rollups:
            # so that what is stored meanwhile counts for users that are done
            put_fact(connection, COUNTED_FROM, from_ms)
        c = results.c
        behind = select(c.user_id).where(c.user_id > after, c.scheduled_at >= from_ms).order_by(c.user_id)
        last = connection.execute(behind.limit(1).offset(most)).scalar_one_or_none()
        for table in (hourly_rollups, daily_rollups):
            connection.execute(delete(table).where(_between(table, after, last), table.c.at >= from_ms))
        # texts are as long as they are, and nothing counts them
        columns = [column if column.name in USED else literal_column("''") for column in c]
        wanted = select(*columns).where(_between(results, after, last), c.scheduled_at >= from_ms)
        # one user may have millions, which are never all in memory
        found = connection.execute(wanted.execution_options(yield_per=_READ_AT_ONCE))
        self._hours.add(connection, additions(ResultChanges(map(tuple, found)), Since()))
        if last is None and from_ms < known.get(ROLLUPS_FROM, 0):
            put_fact(connection, ROLLUPS_FROM, from_ms)
        return last


def since(known: dict[str, int]) -> Since:
    """Return from which instants on results count, by the facts."""
    return Since(known.get(COUNTED_FROM, known.get(ROLLUPS_FROM, 0)), known.get(RESULTS_FROM, 0))


def first_day(from_ms: int, known: dict[str, int]) -> int:
    """Return the begin of the first day, of that of ``from_ms`` and later ones, whose results are all there."""
    return max(from_ms - from_ms % DAY_MS, -(-known.get(RESULTS_FROM, 0) // DAY_MS) * DAY_MS)


def read(connection: Connection, user_id: str, monitor_id: str, step: RollupStep, when: When) -> list[Rollup]:
    """Return the roll-ups of a monitor that begin within ``when``, the earliest first.

    All of it must be read as of one instant.
    """
    if step is RollupStep.DAY:
        # hours that have not become days yet belong to the days in which they lie
        when = When(when.since and -(-when.since // DAY_MS) * DAY_MS, when.until and -(-when.until // DAY_MS) * DAY_MS)
    hours = [rollup(row, RollupStep.HOUR) for row in connection.execute(_of(hourly_rollups, user_id, monitor_id, when))]
    hours += [
        rollup(row, RollupStep.HOUR)
        for row in waiting(connection, user_id, monitor_id)
        if row[2] >= when.since and (not when.until or row[2] < when.until)
    ]
    if step is RollupStep.HOUR:
        return by_hour(hours)
    days = connection.execute(_of(daily_rollups, user_id, monitor_id, when))
    return by_day([*(rollup(row, RollupStep.DAY) for row in days), *hours])


def _of(table: Table, user_id: str, monitor_id: str, when: When) -> Select[*tuple[Any, ...]]:
    c = table.c
    found = select(table).where(c.user_id == user_id, c.monitor_id == monitor_id, c.at >= when.since).order_by(c.at)
    return found.where(c.at < when.until) if when.until else found


def _between(table: Table, after: str, last: str | None) -> Any:
    """Rows of the users behind ``after``, up to and with ``last``."""
    behind = table.c.user_id > after
    return behind if last is None else and_(behind, table.c.user_id <= last)


class _Adding:
    """Adds rows to those of the same key in a table of roll-ups."""

    def __init__(self, table: Table, dialect: Dialect) -> None:
        self._on_postgresql = dialect.name == "postgresql"
        self._table = table.name
        self._staging = f"{table.name}_staging"
        self._names: list[str] = table.c.keys()
        names, key = ", ".join(self._names), ", ".join(column.name for column in table.primary_key.columns)
        grown = f"{table.name}.durations || excluded.durations"
        given = f"SELECT {names} FROM {self._staging}"  # noqa: S608 - own words
        if not self._on_postgresql:
            is_long = f"length({grown}) > {sketch.LONGEST_TEXT}"
            grown = f"CASE WHEN {is_long} THEN {sketch.COMPACTED}({grown}) ELSE {grown} END"
            given = f"VALUES ({', '.join('?' for _ in self._names)})"
        sums = ", ".join(f"{name} = {table.name}.{name} + excluded.{name}" for name in _COUNTS)
        put = f"INSERT INTO {table.name} ({names}) {given} ON CONFLICT ({key})"
        self._upsert = f"{put} DO UPDATE SET {sums}, durations = {grown}"
        long = f"length(durations) > {sketch.LONGEST_TEXT}"
        added = f"{self._upsert} RETURNING durations, user_id, monitor_id, at"
        self._upsert_and_find = f"WITH added AS ({added}) SELECT * FROM added WHERE {long}"  # noqa: S608
        keys = [f"b_{column.name}" for column in table.primary_key.columns]
        is_it = and_(*(column == bindparam(f"b_{column.name}") for column in table.primary_key.columns))
        self._delete = Bulk(delete(table).where(is_it), keys, dialect)
        self._compact = Bulk(
            update(table).where(is_it).values(durations=bindparam("b_durations")), ["b_durations", *keys], dialect
        )

    def add(self, connection: Connection, rows: Sequence[Row]) -> None:
        """Add rows, which are in the order of their key, each key once."""
        if not rows:
            return
        if not self._on_postgresql:
            connection.exec_driver_sql(self._upsert, list(rows))
            return
        from everwatch.store.copied_results import copy_rows  # its driver is imported where it is used

        connection.exec_driver_sql(
            f"CREATE TEMPORARY TABLE IF NOT EXISTS {self._staging} (LIKE {self._table}) ON COMMIT DELETE ROWS"
        )
        connection.exec_driver_sql(f"DELETE FROM {self._staging}")  # noqa: S608 - own words
        copy_rows(connection, self._staging, self._names, ["text", "text", *["int8"] * 6, "text"], rows)
        grown = connection.exec_driver_sql(self._upsert_and_find)
        self._compact.run(connection, [(sketch.compacted(durations), *key) for durations, *key in grown])

    def delete(self, connection: Connection, keys: list[Row]) -> None:
        """Delete the rows of these keys."""
        self._delete.run(connection, keys)

"""Reading the database: what the command line shows and what an audit streams."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, groupby
from operator import itemgetter
from typing import Any, TypeVar

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Engine,
    Select,
    and_,
    case,
    func,
    literal_column,
    not_,
    or_,
    select,
    union_all,
)

from everwatch.core.config import Settings
from everwatch.model import Monitor, State, Transition, User
from everwatch.store import rollup_rows, row_mapping
from everwatch.store.availability import Availability
from everwatch.store.database import clear_errors, open_for_reading
from everwatch.store.facts import BEGUN_AT, RESULTS_FROM, ROLLUPS_FROM, facts
from everwatch.store.interface import (
    ALWAYS,
    Counts,
    Identity,
    ListedUser,
    Selection,
    StoredResult,
    StoredTask,
    Stretch,
    TaskStatus,
    When,
)
from everwatch.store.listing_pages import monitors_page, states_of, users_page
from everwatch.store.past_reading import read_availability
from everwatch.store.rollup_counts import Rollup, Step
from everwatch.store.sql_schema import monitor_history, monitors, results, tasks, transitions, users
from everwatch.store.task_records import HELD, as_of

_STREAM_ROWS = 10_000

Value = TypeVar("Value")


class SqlReader:
    """What an SQL database holds; see ``Reader`` for what the methods promise."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def results(
        self,
        user_id: str = "",
        monitor_id: str = "",
        *,
        status: str = "",
        kind: str = "",
        when: When = ALWAYS,
        limit: int = 100,
    ) -> list[StoredResult]:
        c = results.c
        statement = select(results).order_by(c.scheduled_at.desc(), c.attempt.desc()).limit(limit)
        wanted = ((c.user_id, user_id), (c.monitor_id, monitor_id), (c.status, status), (c.kind, kind))
        return self._all(_within(_equal(statement, wanted), c.scheduled_at, when), row_mapping.stored_result)

    def transitions(
        self,
        user_id: str = "",
        monitor_id: str = "",
        *,
        state: str = "",
        alerts: bool = False,
        when: When = ALWAYS,
        limit: int = 100,
    ) -> list[Transition]:
        c = transitions.c
        statement = select(transitions).order_by(c.at.desc()).limit(limit)
        if alerts:
            statement = statement.where(c.alert)
        wanted = ((c.user_id, user_id), (c.monitor_id, monitor_id), (c.to_state, state))
        return self._all(_within(_equal(statement, wanted), c.at, when), row_mapping.transition)

    def list_monitors(
        self, which: Selection, after: tuple[str, str] = ("", ""), *, limit: int = 1_000
    ) -> list[Monitor]:
        return self._all(monitors_page(which, after, limit), row_mapping.monitor)

    def list_users(self, which: Selection, after: str = "", *, limit: int = 1_000) -> list[ListedUser]:
        with clear_errors(self._engine.url), self._engine.begin() as connection:
            found = [row_mapping.user(row) for row in connection.execute(users_page(which, after, limit))]
            states: dict[str, dict[State, int]] = {user.user_id: {} for user in found}
            for user_id, state, count in connection.execute(states_of(list(states))) if found else ():
                states[user_id][State(state)] = count
        return [ListedUser(user, states[user.user_id]) for user in found]

    def user(self, user_id: str) -> User | None:
        return self._one(select(users).where(users.c.user_id == user_id), row_mapping.user)

    def partition_of(self, user_id: str) -> int | None:
        return self._one(select(users.c.partition).where(users.c.user_id == user_id), lambda row: int(row[0]))

    def monitor(self, user_id: str, monitor_id: str) -> Monitor | None:
        c = monitors.c
        return self._one(select(monitors).where(c.user_id == user_id, c.monitor_id == monitor_id), row_mapping.monitor)

    def monitors(self, user_id: str) -> list[Monitor]:
        statement = select(monitors).where(monitors.c.user_id == user_id).order_by(monitors.c.monitor_id)
        return self._all(statement, row_mapping.monitor)

    def catalogue(self, user_id: str = "") -> Iterator[tuple[User, list[Monitor]]]:
        # one statement, so that a user and the monitors are as of one instant
        of_user = monitors.c.user_id == users.c.user_id
        statement = (
            select(users, monitors)
            .select_from(users.outerjoin(monitors, of_user))
            .order_by(users.c.user_id, monitors.c.monitor_id)
        )
        if user_id:
            statement = statement.where(users.c.user_id == user_id)
        width = len(users.c)
        for _, found in groupby(self._stream(statement, tuple), key=itemgetter(0)):
            first = next(found)
            held = [row_mapping.monitor(row[width:]) for row in chain([first], found) if row[width] is not None]
            yield row_mapping.user(first[:width]), held

    def count_users(self) -> int:
        (count,) = self._all(select(func.count()).select_from(users), lambda row: int(row[0]))
        return count

    def counts(self) -> Counts:
        by_state = select(monitors.c.state, func.count()).group_by(monitors.c.state)
        with clear_errors(self._engine.url), self._engine.begin() as connection:
            states = {State(state): count for state, count in connection.execute(by_state)}
            return Counts(
                users=connection.execute(select(func.count()).select_from(users)).scalar_one(),
                monitors=sum(states.values()),
                by_state=states,
                results=connection.execute(select(func.count()).select_from(results)).scalar_one(),
            )

    def task(self, user_id: str, task_id: str, now: int) -> StoredTask | None:
        found = self._one(
            select(tasks).where(tasks.c.user_id == user_id, tasks.c.monitor_id == task_id), row_mapping.stored_task
        )
        return None if found is None else as_of(found, now)

    def tasks(
        self, user_id: str = "", status: str = "", from_ms: int = 0, until_ms: int = 0, *, now: int, limit: int = 100
    ) -> list[StoredTask]:
        c, stored_status = tasks.c, _stored_status(user_id)
        within = _tasks_within(user_id, from_ms, until_ms)
        if status == TaskStatus.RUNNING:
            within.append(_running(now))
        elif status == TaskStatus.PENDING:
            within.append(not_(_running(now)))
        held = {"": HELD, TaskStatus.RUNNING: (TaskStatus.PENDING,)}.get(status, (status,))
        # status by status, each of which an index gives in order: never all of them sorted
        of_each = [
            select(tasks)
            .where(stored_status.in_(some), *within)
            .order_by(c.due_at, c.user_id, c.monitor_id)
            .limit(limit)
            for some in ([held] if user_id else [(one,) for one in held])
        ]
        found = union_all(*(select(some.subquery()) for some in of_each)).subquery()
        statement = select(found).order_by(found.c.due_at, found.c.user_id, found.c.monitor_id).limit(limit)
        return [as_of(task, now) for task in self._all(statement, row_mapping.stored_task)]

    def count_tasks(self, user_id: str = "", from_ms: int = 0, until_ms: int = 0, *, now: int) -> dict[str, int]:
        status = _stored_status(user_id)
        statement = (
            select(status, func.count(), func.sum(case((_running(now), 1), else_=0)))
            .where(status.in_(HELD), *_tasks_within(user_id, from_ms, until_ms))
            .group_by(status)
        )
        counts = dict.fromkeys(map(str, TaskStatus), 0)
        for name, count, overdue in self._all(statement, tuple):
            counts[name] = count
            if name == TaskStatus.PENDING:
                counts[name] -= overdue
                counts[TaskStatus.RUNNING] = overdue
        return counts

    def history(self, user_id: str = "") -> Iterator[Stretch]:
        c = monitor_history.c
        statement = select(monitor_history).order_by(c.user_id, c.monitor_id, c.since, c.version)
        if user_id:
            statement = statement.where(c.user_id == user_id)
        return self._stream(statement, row_mapping.stretch)

    def identities(self, from_ms: int, until_ms: int, user_id: str = "") -> Iterator[Identity]:
        c = results.c
        zero = literal_column("0", BigInteger)
        within = and_(c.scheduled_at >= from_ms, c.scheduled_at < until_ms)
        # said twice, the first time in the words of the partial index
        skipped_into = and_(c.skipped_until > zero, c.skipped_until >= from_ms)
        wanted = select(*(c[name] for name in Identity._fields))
        if user_id:
            # a range of the key, and what was skipped into it by that index: expressions, so that SQLite takes neither
            # the key nor the instants, which would lead it through all that there was before
            hers = and_(c.user_id + literal_column("''") == user_id, c.scheduled_at + zero < from_ms)
            found = union_all(wanted.where(c.user_id == user_id, within), wanted.where(skipped_into, hers)).subquery()
            statement = select(found).order_by(found.c.scheduled_at, found.c.monitor_id, found.c.attempt)
        else:
            # an expression, so that SQLite sorts what it found instead of walking all results in the key's order
            statement = wanted.where(or_(within, and_(skipped_into, c.scheduled_at < from_ms))).order_by(
                c.user_id + literal_column("''"), c.scheduled_at, c.monitor_id, c.attempt
            )
        return self._stream(statement, row_mapping.identity)

    def known_since(self) -> int:
        first = select(func.min(results.c.scheduled_at))
        with clear_errors(self._engine.url), self._engine.begin() as connection:
            known = facts(connection)
            first_at = connection.execute(first).scalar_one_or_none()
        begun_at = known.get(BEGUN_AT, 0)
        return max(min(begun_at, begun_at if first_at is None else first_at), known.get(RESULTS_FROM, 0))

    def rollups(self, user_id: str, monitor_id: str, step: Step, when: When = ALWAYS) -> list[Rollup]:
        with clear_errors(self._engine.url), self._engine.begin() as connection:
            return rollup_rows.read(connection, user_id, monitor_id, step, when)

    def availability(self, user_id: str, monitor_id: str, begin: int, end: int, bars: int = 0) -> Availability:
        return read_availability(self, user_id, monitor_id, begin, end, bars)

    def rollups_from(self) -> int:
        with clear_errors(self._engine.url), self._engine.begin() as connection:
            return facts(connection).get(ROLLUPS_FROM, 0)

    def close(self) -> None:
        """Release the database."""
        self._engine.dispose()

    def _all(self, statement: Select[*tuple[Any, ...]], build: Callable[[Sequence[Any]], Value]) -> list[Value]:
        with clear_errors(self._engine.url), self._engine.begin() as connection:
            return [build(row) for row in connection.execute(statement)]

    def _one(self, statement: Select[*tuple[Any, ...]], build: Callable[[Sequence[Any]], Value]) -> Value | None:
        found = self._all(statement, build)
        return found[0] if found else None

    def _stream(self, statement: Select[*tuple[Any, ...]], build: Callable[[Sequence[Any]], Value]) -> Iterator[Value]:
        with clear_errors(self._engine.url), self._engine.begin() as connection:
            streaming = connection.execution_options(yield_per=_STREAM_ROWS)
            for row in streaming.execute(statement):
                yield build(row)


def _equal(
    statement: Select[*tuple[Any, ...]], wanted: Iterable[tuple[ColumnElement[str], str]]
) -> Select[*tuple[Any, ...]]:
    """The statement for the rows that have these values; an empty one does not matter."""
    for column, value in wanted:
        if value:
            statement = statement.where(column == value)
    return statement


def _within(statement: Select[*tuple[Any, ...]], column: ColumnElement[int], when: When) -> Select[*tuple[Any, ...]]:
    if when.since:
        statement = statement.where(column >= when.since)
    return statement.where(column < when.until) if when.until else statement


def _running(now: int) -> ColumnElement[bool]:
    """Of what is held as pending: due at ``now``."""
    return and_(tasks.c.due_at <= now, not_(tasks.c.paused))


def _stored_status(user_id: str) -> ColumnElement[str]:
    """The status; for one user an expression, so that SQLite goes through the user's tasks and not the status's."""
    return tasks.c.status + literal_column("''") if user_id else tasks.c.status


def _tasks_within(user_id: str, from_ms: int, until_ms: int) -> list[ColumnElement[bool]]:
    c = tasks.c
    within = [c.due_at >= from_ms]
    if until_ms:
        within.append(c.due_at < until_ms)
    if user_id:
        within.append(c.user_id == user_id)
    return within


def open_reader(settings: Settings) -> SqlReader:
    """A reader of the database at ``settings.database_url``. Raises StoreError when no sink of this version made it."""
    return SqlReader(open_for_reading(settings.database_url))

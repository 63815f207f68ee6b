"""Reading the database: what the command line shows and what an audit streams."""

from collections.abc import Callable, Iterator, Sequence
from itertools import chain, groupby
from operator import itemgetter
from typing import Any, TypeVar

from sqlalchemy import BigInteger, Engine, Select, and_, func, literal_column, or_, select, union_all

from everwatch.core.config import Settings
from everwatch.model import AuditEntry, Monitor, Reply, State, Transition, User
from everwatch.store import letter_rows, rollup_rows, row_mapping
from everwatch.store.audit_log import EVERY_ENTRY, AuditPlace, AuditSelection, entry_of, place_of_entry
from everwatch.store.availability import Availability
from everwatch.store.counters import read_counts
from everwatch.store.database import clear_errors, open_for_reading
from everwatch.store.facts import BEGUN_AT, RESULTS_FROM, ROLLUPS_FROM, facts
from everwatch.store.keyed import rows_of_keys
from everwatch.store.letters import (
    EVERY_LETTER,
    LetterCount,
    LetterPlace,
    LetterSelection,
    StoredLetter,
    place_of_letter,
)
from everwatch.store.offsets import stored_offsets
from everwatch.store.paging import Sort, StoredPage, is_descending, no_state_of_users, page_at, page_of, place_of
from everwatch.store.partition import Partition
from everwatch.store.past_reading import read_availability
from everwatch.store.purge_records import find_purge
from everwatch.store.purged_users import StoredPurge, key_of_purge
from everwatch.store.queries import events
from everwatch.store.queries.audit_log import audit_page
from everwatch.store.queries.letters import (
    ReplyPlace,
    counted_letters,
    letter_at,
    letters_page,
    place_of_reply,
    replies_page,
)
from everwatch.store.queries.monitors import monitor_places, monitors_at
from everwatch.store.queries.sets import USUAL_WAYS, ListWays, WantedPage
from everwatch.store.queries.tasks import Place as TaskPlace
from everwatch.store.queries.tasks import counted_tasks, place_of_task, tasks_page
from everwatch.store.queries.users import user_places, users_at
from everwatch.store.rollup_counts import Rollup, RollupStep
from everwatch.store.selections import (
    ALWAYS,
    EVERY_RESULT,
    EVERY_TRANSITION,
    ResultSelection,
    Selection,
    TransitionSelection,
    When,
)
from everwatch.store.sql_schema import former_specs, monitor_history, monitors, results, tasks, users
from everwatch.store.stored_values import (
    CatalogueCounts,
    Counts,
    FormerSpec,
    Identity,
    ListedUser,
    StoredResult,
    StoredTask,
    Stretch,
    TaskStatus,
)
from everwatch.store.task_records import as_of

_STREAM_ROWS = 10_000
_SNAPSHOT: dict[str, Any] = {"isolation_level": "REPEATABLE READ"}

Value = TypeVar("Value")


class SqlReader:
    """Reader of an SQL database; ``Reader`` describes the methods. ``engine``: SQLAlchemy's."""

    def __init__(self, engine: Engine, ways: ListWays = USUAL_WAYS) -> None:
        self.engine = engine
        self._ways = ways
        self._dialect = engine.dialect.name

    def offsets(self) -> dict[Partition, int]:
        with clear_errors(self.engine.url), self.engine.begin() as connection:
            return stored_offsets(connection)

    def results(
        self, which: ResultSelection = EVERY_RESULT, *, when: When = ALWAYS, after: str = "", limit: int = 100
    ) -> StoredPage[StoredResult]:
        question = ("results", *which, when)
        place = place_of(question, after, events.ResultPlace)
        statement = events.results_page(which, when, place, limit + 1, self._dialect)
        found = self._all(statement, row_mapping.stored_result)
        return page_of(found, limit, question, lambda stored: events.place_of_result(stored.result))

    def transitions(
        self, which: TransitionSelection = EVERY_TRANSITION, *, when: When = ALWAYS, after: str = "", limit: int = 100
    ) -> StoredPage[Transition]:
        question = ("transitions", *which, when)
        place = place_of(question, after, events.TransitionPlace)
        statement = events.transitions_page(which, when, place, limit + 1)
        return page_of(self._all(statement, row_mapping.transition), limit, question, events.place_of_transition)

    def dead_letters(
        self, which: LetterSelection = EVERY_LETTER, *, when: When = ALWAYS, after: str = "", limit: int = 100
    ) -> StoredPage[StoredLetter]:
        question = ("dead letters", which, when)
        place = place_of(question, after, LetterPlace)
        statement = letters_page(which, when, place, limit + 1, self._dialect)
        return page_of(self._all(statement, letter_rows.letter), limit, question, place_of_letter)

    def dead_letter(self, partition: int, offset: int) -> StoredLetter | None:
        found = self._all(letter_at(partition, offset), letter_rows.letter)
        return found[0] if found else None

    def count_letters(self, which: LetterSelection = EVERY_LETTER, *, when: When = ALWAYS) -> list[LetterCount]:
        counted = self._all(counted_letters(which, when, self._dialect), lambda row: LetterCount(*row))
        return sorted(counted, key=lambda each: (-each.letters, *each))

    def replies(
        self, user_id: str, asked_id: str = "", *, when: When = ALWAYS, after: str = "", limit: int = 100
    ) -> StoredPage[Reply]:
        question = ("replies", user_id, asked_id, when)
        statement = replies_page(user_id, asked_id, when, place_of(question, after, ReplyPlace), limit + 1)
        return page_of(self._all(statement, letter_rows.reply), limit, question, place_of_reply)

    def purge(self, user_id: str, command_id: str) -> StoredPurge | None:
        with clear_errors(self.engine.url), self.engine.begin() as connection:
            return find_purge(connection, key_of_purge(user_id, command_id))

    def audit(
        self, which: AuditSelection = EVERY_ENTRY, *, when: When = ALWAYS, after: str = "", limit: int = 100
    ) -> StoredPage[AuditEntry]:
        question = ("audit", which, when)
        statement = audit_page(which, when, place_of(question, after, AuditPlace), limit + 1)
        return page_of(self._all(statement, entry_of), limit, question, place_of_entry)

    def list_monitors(
        self, which: Selection, after: str = "", *, sort: Sort = Sort.ID, reverse: bool = False, limit: int = 1_000
    ) -> StoredPage[Monitor]:
        question = ("monitors", which, sort, reverse)
        place = place_of(question, after, tuple[str, str] if sort is Sort.ID else tuple[int, str, str])
        with clear_errors(self.engine.url), self.engine.begin() as connection:
            page = WantedPage(sort, place, is_descending(sort, reverse), limit + 1)
            places = monitor_places(connection, which, page, self._ways)
            found = monitors_at(connection, places[:limit])
        return page_at(found, places, limit, question)

    def list_monitor_ids(self, which: Selection, after: str = "", *, limit: int = 1_000) -> StoredPage[tuple[str, str]]:
        question = ("monitors", which, Sort.ID, False)
        place = place_of(question, after, tuple[str, str])
        with clear_errors(self.engine.url), self.engine.begin() as connection:
            page = WantedPage(Sort.ID, place, descending=False, limit=limit + 1)
            places = monitor_places(connection, which, page, self._ways)
        found = [(str(user_id), str(monitor_id)) for user_id, monitor_id in places[:limit]]
        return page_at(found, places, limit, question)

    def list_users(
        self, which: Selection, after: str = "", *, sort: Sort = Sort.ID, reverse: bool = False, limit: int = 1_000
    ) -> StoredPage[ListedUser]:
        if sort is Sort.STATE_SINCE:
            raise no_state_of_users()
        question = ("users", which, sort, reverse)
        place = place_of(question, after, tuple[str] if sort is Sort.ID else tuple[int, str])
        with clear_errors(self.engine.url), self.engine.begin() as connection:
            page = WantedPage(sort, place, is_descending(sort, reverse), limit + 1)
            places = user_places(connection, which, page, self._ways)
            found = users_at(connection, places[:limit])
        return page_at(found, places, limit, question)

    def user(self, user_id: str) -> User | None:
        return self._one(select(users).where(users.c.user_id == user_id), row_mapping.user)

    def monitor_versions(self, user_id: str, monitor_ids: Sequence[str]) -> dict[str, int]:
        keys = [(user_id, each) for each in monitor_ids]
        with clear_errors(self.engine.url), self.engine.begin() as connection:
            found = rows_of_keys(connection, "monitor_id, version", "monitors", "user_id, monitor_id", keys)
            return {row[0]: row[1] for row in found}

    def partition_of(self, user_id: str) -> int | None:
        return self._one(select(users.c.partition).where(users.c.user_id == user_id), lambda row: int(row[0]))

    def monitor(self, user_id: str, monitor_id: str) -> Monitor | None:
        c = monitors.c
        return self._one(select(monitors).where(c.user_id == user_id, c.monitor_id == monitor_id), row_mapping.monitor)

    def former_specs(self, user_id: str, monitor_id: str, *, limit: int = 50) -> list[FormerSpec]:
        c = former_specs.c
        statement = select(former_specs).where(c.user_id == user_id, c.monitor_id == monitor_id)
        return self._all(statement.order_by(c.version.desc()).limit(limit), row_mapping.former_spec)

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
        return sum(self.catalogue_counts().users.values())

    def catalogue_counts(self) -> CatalogueCounts:
        with clear_errors(self.engine.url), self.engine.begin() as connection:
            return read_counts(connection)

    def counts(self) -> Counts:
        with clear_errors(self.engine.url), self.engine.begin() as connection:
            held = read_counts(connection)
            stored = connection.execute(select(func.count()).select_from(results)).scalar_one()
        states: dict[State, int] = {}
        for each in held.monitors:
            states[State(each.state)] = states.get(State(each.state), 0) + each.monitors
        return Counts(sum(held.users.values()), sum(states.values()), states, stored)

    def task(self, user_id: str, task_id: str, now: int) -> StoredTask | None:
        found = self._one(
            select(tasks).where(tasks.c.user_id == user_id, tasks.c.monitor_id == task_id), row_mapping.stored_task
        )
        return None if found is None else as_of(found, now)

    def tasks(
        self, user_id: str = "", status: str = "", *, when: When = ALWAYS, now: int, after: str = "", limit: int = 100
    ) -> StoredPage[StoredTask]:
        # not ``now``: a page asked for later goes on anyway
        question = ("tasks", user_id, status, *when)
        place = place_of(question, after, TaskPlace)
        statement = tasks_page(user_id, status, when, now, place, limit + 1)
        found = [as_of(task, now) for task in self._all(statement, row_mapping.stored_task)]
        return page_of(found, limit, question, place_of_task)

    def count_tasks(self, user_id: str = "", *, when: When = ALWAYS, now: int) -> dict[str, int]:
        counts = dict.fromkeys(map(str, TaskStatus), 0)
        for name, count, overdue in self._all(counted_tasks(user_id, when, now), tuple):
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
            statement = select(found).order_by(
                found.c.scheduled_at, found.c.monitor_id, found.c.attempt, found.c.region
            )
        else:
            # an expression, so that SQLite sorts what it found instead of walking all results in the key's order
            statement = wanted.where(or_(within, and_(skipped_into, c.scheduled_at < from_ms))).order_by(
                c.user_id + literal_column("''"), c.scheduled_at, c.monitor_id, c.attempt, c.region
            )
        return self._stream(statement, row_mapping.identity)

    def known_since(self) -> int:
        first = select(func.min(results.c.scheduled_at))
        with clear_errors(self.engine.url), self.engine.begin() as connection:
            known = facts(connection)
            first_at = connection.execute(first).scalar_one_or_none()
        begun_at = known.get(BEGUN_AT, 0)
        return max(min(begun_at, begun_at if first_at is None else first_at), known.get(RESULTS_FROM, 0))

    def rollups(self, user_id: str, monitor_id: str, step: RollupStep, when: When = ALWAYS) -> list[Rollup]:
        with clear_errors(self.engine.url), self._one_instant().begin() as connection:
            return rollup_rows.read(connection, user_id, monitor_id, step, when)

    def availability(self, user_id: str, monitor_id: str, begin: int, end: int, bars: int = 0) -> Availability:
        return read_availability(self, user_id, monitor_id, begin, end, bars)

    def rollups_from(self) -> int:
        with clear_errors(self.engine.url), self.engine.begin() as connection:
            return facts(connection).get(ROLLUPS_FROM, 0)

    def close(self) -> None:
        """Release the database."""
        self.engine.dispose()

    def _one_instant(self) -> Engine:
        """Return an engine whose transactions see the database as of one instant; SQLite's always do."""
        return self.engine if self._dialect == "sqlite" else self.engine.execution_options(**_SNAPSHOT)

    def _all(self, statement: Select[*tuple[Any, ...]], build: Callable[[Sequence[Any]], Value]) -> list[Value]:
        with clear_errors(self.engine.url), self.engine.begin() as connection:
            return [build(row) for row in connection.execute(statement)]

    def _one(self, statement: Select[*tuple[Any, ...]], build: Callable[[Sequence[Any]], Value]) -> Value | None:
        found = self._all(statement, build)
        return found[0] if found else None

    def _stream(self, statement: Select[*tuple[Any, ...]], build: Callable[[Sequence[Any]], Value]) -> Iterator[Value]:
        with clear_errors(self.engine.url), self.engine.begin() as connection:
            streaming = connection.execution_options(yield_per=_STREAM_ROWS)
            for row in streaming.execute(statement):
                yield build(row)


def open_reader(settings: Settings) -> SqlReader:
    """A reader of the database at ``settings.database_url``. Raises StoreError when no sink of this version made it."""
    return SqlReader(open_for_reading(settings.database_url))

"""Reading the database: what the command line shows and what an audit streams."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from sqlalchemy import Engine, Select, and_, func, literal_column, or_, select

from everwatch.config import Settings
from everwatch.model import Monitor, State, Transition
from everwatch.store import rows
from everwatch.store.engine import clear_errors, open_for_reading
from everwatch.store.interface import Counts, Identity, StoredResult, Stretch
from everwatch.store.schema import monitor_history, monitors, results, transitions, users

_STREAM_ROWS = 10_000

Value = TypeVar("Value")


class SqlReader:
    """What an SQL database holds; see ``Reader`` for what the methods promise."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def results(self, user_id: str = "", monitor_id: str = "", *, limit: int = 100) -> list[StoredResult]:
        statement = select(results).order_by(results.c.scheduled_at.desc(), results.c.attempt.desc()).limit(limit)
        if user_id:
            statement = statement.where(results.c.user_id == user_id)
        if monitor_id:
            statement = statement.where(results.c.monitor_id == monitor_id)
        return self._all(statement, rows.stored_result)

    def transitions(self, *, limit: int = 100) -> list[Transition]:
        return self._all(select(transitions).order_by(transitions.c.at.desc()).limit(limit), rows.transition)

    def monitors(self, user_id: str) -> list[Monitor]:
        statement = select(monitors).where(monitors.c.user_id == user_id).order_by(monitors.c.monitor_id)
        return self._all(statement, rows.monitor)

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

    def history(self) -> Iterator[Stretch]:
        c = monitor_history.c
        return self._stream(select(monitor_history).order_by(c.user_id, c.monitor_id, c.since, c.version), rows.stretch)

    def identities(self, from_ms: int, until_ms: int) -> Iterator[Identity]:
        c = results.c
        statement = (
            select(c.user_id, c.monitor_id, c.scheduled_at, c.attempt, c.deliveries, c.skipped_until, c.skipped_count)
            .where(
                or_(
                    and_(c.scheduled_at >= from_ms, c.scheduled_at < until_ms),
                    # said twice, the first time in the words of the partial index
                    and_(c.skipped_until > literal_column("0"), c.skipped_until >= from_ms, c.scheduled_at < from_ms),
                )
            )
            # an expression, so that SQLite sorts what it found instead of walking all results in the key's order
            .order_by(c.user_id + literal_column("''"), c.scheduled_at, c.monitor_id, c.attempt)
        )
        return self._stream(statement, rows.identity)

    def close(self) -> None:
        """Release the database."""
        self._engine.dispose()

    def _all(self, statement: Select[Any], build: Callable[[Sequence[Any]], Value]) -> list[Value]:
        with clear_errors(self._engine.url), self._engine.begin() as connection:
            return [build(row) for row in connection.execute(statement)]

    def _stream(self, statement: Select[Any], build: Callable[[Sequence[Any]], Value]) -> Iterator[Value]:
        with clear_errors(self._engine.url), self._engine.begin() as connection:
            streaming = connection.execution_options(yield_per=_STREAM_ROWS)
            for row in streaming.execute(statement):
                yield build(row)


def open_reader(settings: Settings) -> SqlReader:
    """A reader of the database at ``settings.database_url``. Raises StoreError when no sink of this version made it."""
    return SqlReader(open_for_reading(settings.database_url))

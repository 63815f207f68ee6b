"""Reader of the database that judges results by the schedules alone: which rows are due, and when each can be read.

It asks the database itself, several times a second, how many rows each instant has that is still open. A result that is
new since the look before counts as late as that look: the time of the look counts as lateness, and no process is asked.
"""

import sqlite3
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from bench.expectation import Expectation
from bench.population import Population
from everwatch.model import Status
from everwatch.store.sql_schema import STATUS_CODES

_COUNTS = "SELECT scheduled_at, count(*) FROM results WHERE scheduled_at > ? AND scheduled_at <= ? GROUP BY 1"
_ROWS = (
    "SELECT user_id, monitor_id, scheduled_at, status, deliveries FROM results"
    " WHERE scheduled_at > ? AND scheduled_at <= ?"
)
Row = tuple[str, str, int, Any, int]


class Database(ABC):
    """A database of results, read by a connection of the bench's own."""

    success: Any

    @abstractmethod
    def ask(self, statement: str, *values: int) -> list[Any]:
        """Return the rows of a statement whose placeholders are question marks."""

    @abstractmethod
    def close(self) -> None:
        """Close the connection."""


class SqliteDatabase(Database):
    """The file of a sink."""

    success = Status.SUCCESS.value

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=30)

    def ask(self, statement: str, *values: int) -> list[Any]:
        return self._connection.execute(statement, values).fetchall()

    def close(self) -> None:
        self._connection.close()


class PostgresDatabase(Database):
    """A database of a server; ``process_id`` is that of the server's process for this connection."""

    success = STATUS_CODES[Status.SUCCESS]

    def __init__(self, url: str) -> None:
        self._connection = psycopg.connect(url, autocommit=True)
        self.process_id = self._connection.info.backend_pid

    def ask(self, statement: str, *values: int) -> list[Any]:
        return self._connection.execute(statement.replace("?", "%s").encode(), values).fetchall()

    def close(self) -> None:
        self._connection.close()


@dataclass
class StoredReader:
    """Lateness of the rows of a window: due at ``after`` < t <= ``upto``, ``due`` of them at each instant."""

    database: Database
    due: Mapping[int, int]
    after: int
    upto: int
    late_ms: Counter[int] = field(default_factory=Counter)
    _seen: dict[int, int] = field(default_factory=dict)
    _open: list[int] = field(default_factory=list)
    _complete_to: int = 0

    def __post_init__(self) -> None:
        self._complete_to, self._open = self.after, sorted(self.due, reverse=True)

    @property
    def missing(self) -> int:
        """Rows that are due in the window and were not seen yet."""
        return sum(self.due.values()) - sum(min(count, self.due.get(at, 0)) for at, count in self._seen.items())

    def look(self, now_ms: Callable[[], int]) -> None:
        """Ask once; rows that are new are as late as the time at which the answer is here."""
        found = self.database.ask(_COUNTS, self._complete_to, self.upto)
        seen_at = now_ms()
        for instant, count in found:
            new = count - self._seen.get(instant, 0)
            if new > 0:
                self.late_ms[max(0, seen_at - instant)] += new
                self._seen[instant] = count
        # instants whose rows are all here are asked no more
        while self._open and self._seen.get(self._open[-1], 0) >= self.due[self._open[-1]]:
            self._complete_to = self._open.pop()

    def late(self, share: float) -> float:
        """The lateness of this share of all due rows, ms; a row that is missing is later than any."""
        wanted, seen = share * sum(self.due.values()), 0
        for late_ms in sorted(self.late_ms):
            seen += self.late_ms[late_ms]
            if seen >= wanted:
                return late_ms
        return float("inf")


@dataclass(frozen=True)
class Identity:
    """Rows compared one by one with what is due: missing, not due at all, without success, delivered more than once."""

    rows: int
    missing: int
    wrong: int
    failed: int
    repeated: int


def due_rows(populations: Iterable[Population], after: int, upto: int) -> set[tuple[str, str, int]]:
    """User, monitor and instant of each row that is due at after < t <= upto, by the schedules alone."""
    return {
        (user, item.monitor_id, instant)
        for population in populations
        for number in population.numbers
        for user in (population.user_id(number),)
        for item in population.items
        for instant in population.due(item, number, population.phase(item, user), after, upto)
    }


def compare_rows(database: Database, due: set[tuple[str, str, int]], after: int, upto: int) -> Identity:
    """Compare the rows of the window with those that are due."""
    rows: list[Row] = database.ask(_ROWS, after, upto)
    found = {(user, monitor, at) for user, monitor, at, _, _ in rows}
    return Identity(
        len(rows),
        len(due - found),
        len(found - due),
        sum(status != database.success for *_, status, _ in rows),
        sum(deliveries != 1 for *_, deliveries in rows),
    )


def counted_due(expected: Expectation, after: int, upto: int) -> dict[int, int]:
    """Number of rows that are due at each instant of the window."""
    counts: Counter[int] = Counter()
    for (_, instant), count in expected.due(after, upto).items():
        counts[instant] += count
    return dict(counts)

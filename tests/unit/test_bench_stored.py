"""The reader of ``bench chain`` judges rows by the schedules and by when they can be read, not by what they say."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from bench.expectation import Expectation
from bench.population import Population, Recurring
from bench.stored import SqliteDatabase, StoredReader, compare_rows, counted_due, due_rows

AFTER, UPTO = 1_000_000_000_000, 1_000_000_004_000
USERS = Population((Recurring("a", 2_000), Recurring("b", 1_000)), 5)
DUE = due_rows([USERS], AFTER, UPTO)


class Table:
    """A table of results that the test writes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._connection = sqlite3.connect(path)
        self._connection.execute("CREATE TABLE results (user_id, monitor_id, scheduled_at, status, deliveries)")
        self._connection.commit()

    def store(self, *rows: tuple[str, str, int], status: str = "success", deliveries: int = 1) -> None:
        """Store rows and commit."""
        values = [(*row, status, deliveries) for row in rows]
        self._connection.executemany("INSERT INTO results VALUES (?, ?, ?, ?, ?)", values)
        self._connection.commit()

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


@pytest.fixture
def table(tmp_path: Path) -> Iterator[Table]:
    with closing(Table(tmp_path / "results.db")) as made:
        yield made


@pytest.fixture
def database(table: Table) -> Iterator[SqliteDatabase]:
    with closing(SqliteDatabase(table.path)) as opened:
        yield opened


def counts() -> dict[int, int]:
    expected = Expectation(4)
    expected.add(USERS)
    return counted_due(expected, AFTER, UPTO)


def test_due_rows_and_their_counts_are_those_of_the_schedules() -> None:
    assert len(DUE) == 5 * (2 + 4)
    assert sum(counts().values()) == len(DUE)
    assert all(AFTER < instant <= UPTO for _, _, instant in DUE)


def test_a_row_is_as_late_as_the_first_look_that_finds_it(table: Table, database: SqliteDatabase) -> None:
    reader = StoredReader(database, counts(), AFTER, UPTO)
    rows = sorted(DUE, key=lambda row: row[2])
    table.store(*rows[:10])
    reader.look(lambda: UPTO + 500)
    assert reader.missing == len(rows) - 10
    assert sum(reader.late_ms.values()) == 10
    assert max(reader.late_ms) == UPTO + 500 - rows[0][2]
    assert reader.late(0.99) == float("inf")
    table.store(*rows[10:])
    reader.look(lambda: UPTO + 9_000)
    assert reader.missing == 0
    assert reader.late(1.0) == UPTO + 9_000 - rows[10][2]
    assert reader.late(0.01) == UPTO + 500 - rows[9][2]


def test_each_kind_of_wrong_row_is_counted(table: Table, database: SqliteDatabase) -> None:
    first, second, third, *rest = sorted(DUE)
    table.store(*rest)
    table.store(first, status="failure")
    table.store(second, deliveries=2)
    table.store(("user-00000000", "a", AFTER + 1))
    found = compare_rows(database, DUE, AFTER, UPTO)
    assert third not in rest
    assert (found.rows, found.missing, found.wrong, found.failed, found.repeated) == (len(DUE), 1, 1, 1, 1)

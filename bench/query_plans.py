"""Reader of a database's plan for a statement; it shares no code with what makes the statements."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import orjson
from sqlalchemy import Engine, event

# a few rows, whatever is stored
SMALL = frozenset({"monitor_counts", "user_counts", "database_facts"})
Asked = tuple[str, Any]


@contextmanager
def listening(engine: Engine, *words: str) -> Iterator[list[Asked]]:
    """Note every statement that begins with one of these words (usually each question), with what is filled in."""
    asked: list[Asked] = []

    def note(_connection: Any, _cursor: Any, statement: str, given: Any, _context: Any, is_of_many: bool) -> None:
        if statement.lstrip().upper().startswith(words or ("SELECT", "WITH")):
            asked.append((statement, given[0] if is_of_many else given))

    event.listen(engine, "before_cursor_execute", note)
    try:
        yield asked
    finally:
        event.remove(engine, "before_cursor_execute", note)


def full_scans(engine: Engine, asked: list[Asked]) -> list[str]:
    """The tables that questions go through from end to end, out of any order, and what is sorted as a whole."""
    read: Callable[[Engine, Asked], Iterator[str]] = _of_sqlite if engine.dialect.name == "sqlite" else _of_postgresql
    return [f"{found} in {statement[:60]}" for statement, given in asked for found in read(engine, (statement, given))]


def _of_sqlite(engine: Engine, asked: Asked) -> Iterator[str]:
    assert engine.url.database is not None
    with sqlite3.connect(engine.url.database) as connection:
        steps = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {asked[0]}", asked[1])]
    connection.close()
    for step in steps:
        name = step.removeprefix("SCAN ").partition(" ")[0]
        # rows that the statement itself makes
        is_made = " CONSTANT ROW" in step or name.startswith(("(", "anon_")) or name in ("f", "wanted")
        # a page is read from an index in its order; what asks for no order goes through all of it
        in_order = " INDEX " in step and "ORDER BY" in asked[0]
        if step.startswith("SCAN ") and not in_order and not is_made and name not in SMALL:
            yield step


def _of_postgresql(engine: Engine, asked: Asked) -> Iterator[str]:
    with engine.connect() as connection:
        [(plan,)] = connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {asked[0]}", asked[1])
    document = plan if isinstance(plan, list) else orjson.loads(plan)
    nodes = [document[0]["Plan"]]
    while nodes:
        node = nodes.pop()
        nodes += node.get("Plans", [])
        if node["Node Type"] == "Seq Scan" and node["Relation Name"] not in SMALL:
            yield f"Seq Scan of {node['Relation Name']}"

"""Tests of what the database is asked: work in proportion to the answer, not to all that was ever stored."""

import sqlite3
from pathlib import Path
from typing import Any

from sqlalchemy import event
from support.new_databases import open_new_store

from everwatch.core.config import Settings
from everwatch.store.sql_reader import open_reader


def test_an_audit_of_one_user_goes_through_that_users_results_of_the_time_alone(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    open_new_store(settings).close()
    reader = open_reader(settings)
    asked: list[tuple[str, Any]] = []
    event.listen(reader.engine, "before_cursor_execute", lambda _c, _k, text, given, *_: asked.append((text, given)))
    assert list(reader.identities(10, 20, "anna")) == []
    assert reader.engine.url.database is not None
    with sqlite3.connect(reader.engine.url.database) as file:
        [statement] = [each for each in asked if "FROM results" in each[0]]
        plan = [row[3] for row in file.execute(f"EXPLAIN QUERY PLAN {statement[0]}", statement[1])]
    file.close()
    reader.close()
    assert [step.partition("INDEX ")[2] for step in plan if "results" in step] == [
        "sqlite_autoindex_results_1 (user_id=? AND scheduled_at>? AND scheduled_at<?)",
        "results_skipped (skipped_until>?)",
    ]

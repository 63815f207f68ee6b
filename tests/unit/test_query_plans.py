"""Tests of how each database answers what pages ask: never by going through a large table."""

from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from bench.generated import generate
from bench.generated_rows import NOW_MS, Scale
from bench.queries import questions
from bench.query_plans import full_scans, listening
from everwatch.core.config import Settings
from everwatch.store import Partition, Purge, SqlReader, open_reader
from everwatch.store.database import open_for_writing
from everwatch.store.purge_rows import delete_some
from everwatch.store.queries.sets import ListWays

SCALE = Scale(users=300, results=1_000, transitions=300, tasks=300)


@pytest.fixture(params=["sqlite", "postgresql"])
def reader(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SqlReader]:
    url = ""
    if request.param == "postgresql":
        # so small a table is read faster from end to end: what is asked here is whether an index could answer
        url = request.getfixturevalue("empty_postgres_url") + "&options=-c%20enable_seqscan=off"
    settings = Settings(data_dir=tmp_path, database=url)
    generate(settings, SCALE)
    # what is rare among a thousand monitors, so that frequent filters take the ways that they take among millions
    reader = SqlReader(open_reader(settings).engine, ListWays(few=40))
    yield reader
    reader.close()


def test_each_question_is_answered_by_an_index(reader: SqlReader) -> None:
    scans: dict[str, list[str]] = {}
    for question, ask in questions(SCALE):
        with listening(reader.engine) as asked:
            ask(reader, Random(3))
        assert asked, question
        if found := full_scans(reader.engine, asked):
            scans[question] = found
    assert scans == {}


def test_a_search_takes_the_index_of_trigrams(reader: SqlReader) -> None:
    by_part = dict(questions(SCALE))["monitors by part, few"]
    with listening(reader.engine) as asked:
        by_part(reader, Random(3))
    [searched] = [statement for statement, _ in asked if "monitor_search" in statement and "LIMIT" in statement]
    if reader.engine.dialect.name == "sqlite":
        assert "MATCH" in searched
    else:
        with reader.engine.connect() as connection:
            given = next(given for statement, given in asked if statement == searched)
            plan = "\n".join(row[0] for row in connection.exec_driver_sql(f"EXPLAIN {searched}", given))
        assert "monitor_search_trigrams" in plan


def test_failures_of_a_user_are_read_without_the_successes_between_them(reader: SqlReader) -> None:
    by_user = dict(questions(SCALE))["failures of a user"]
    with listening(reader.engine) as asked:
        by_user(reader, Random(3))
    [(statement, given)] = [each for each in asked if " results" in each[0]]
    explain = "EXPLAIN QUERY PLAN" if reader.engine.dialect.name == "sqlite" else "EXPLAIN"
    with reader.engine.connect() as connection:
        plan = "\n".join(str(row) for row in connection.exec_driver_sql(f"{explain} {statement}", given))
    # PostgreSQL names the index of each day after the day and the columns
    assert "results_failed_of_user" in plan or "user_id_scheduled_at_monitor_id_attempt_re_idx" in plan, plan


def test_a_purge_goes_through_no_table_of_all_users(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    generate(settings, SCALE)
    engine = open_for_writing(settings.database_url)
    purge = Purge("user-0000007", NOW_MS, NOW_MS, {Partition("monitors", 0): 1})
    with listening(engine, "DELETE", "SELECT", "WITH") as asked, engine.begin() as connection:
        assert delete_some(connection, purge, {}, 100)["monitors"] == 3
    assert full_scans(engine, asked) == []
    engine.dispose()

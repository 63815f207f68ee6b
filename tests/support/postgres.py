"""Databases of a PostgreSQL server of the tests' own."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from bench.errors import Unmeasured
from bench.postgres import Missing, PostgresServer, name_in, running
from everwatch.core.config import Settings
from everwatch.store import open_store

__all__ = ["FAST", "Databases", "Missing", "PostgresServer", "Unmeasured", "name_in", "running"]

# what is durable is not what these tests are about, and their server ends with them; the tests of kills say otherwise
FAST = (
    "fsync=off",
    "full_page_writes=off",
    "synchronous_commit=off",
    "shared_buffers=64MB",
    "max_connections=60",
    "jit=off",
    "autovacuum=off",
)


# what a test may change in a database besides the rows of its tables
_MADE_OF = """
SELECT string_agg(each, E'\\n' ORDER BY each) FROM (
    SELECT format('%s %s %s %s', oid, relname, relkind, reloptions) FROM pg_class WHERE relnamespace = {schema}
    UNION ALL SELECT format('%s.%s %s', attrelid, attname, atttypid)
        FROM pg_attribute JOIN pg_class ON attrelid = pg_class.oid WHERE relnamespace = {schema}
    UNION ALL SELECT format('%s %s', conname, conrelid) FROM pg_constraint WHERE connamespace = {schema}
    UNION ALL SELECT extname || extversion FROM pg_extension
    UNION ALL SELECT setconfig::text FROM pg_db_role_setting
    UNION ALL SELECT rolname FROM pg_roles
    UNION ALL SELECT version_num FROM alembic_version
    UNION ALL SELECT database_facts::text FROM database_facts
) AS all_of_it (each)
""".format(schema="'public'::regnamespace")
_TABLES = """
SELECT string_agg(quote_ident(relname), ', ') FROM pg_class WHERE relnamespace = 'public'::regnamespace
    AND relkind IN ('r', 'p') AND NOT relispartition AND relname NOT IN ('alembic_version', 'database_facts')
"""


# as a drop with force does: nobody who was left writes into it later
_CUT_OFF = """
SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
"""


class Databases:
    """Databases of one server, each with the tables in place: copies of one that was migrated once.

    One that is given back with its tables as they were is emptied and given out again: that takes an eighth of the time
    of another copy.
    """

    def __init__(self, server: PostgresServer) -> None:
        self.server = server
        template = server.new_database()
        open_store(Settings(database=template)).close()
        self._template = name_in(template)
        self._tables = self._only(_TABLES, template)
        self._emptied: dict[str, object] = {}

    def ask(self, url: str, question: str) -> list[tuple[object, ...]]:
        """Return what a database answers."""
        return self.server.run(question, name_in(url))

    @contextmanager
    def empty(self) -> Iterator[str]:
        """The URL of a database without tables."""
        url = self.server.new_database()
        try:
            yield url
        finally:
            self.server.drop_database(url)

    @contextmanager
    def one(self) -> Iterator[str]:
        """The URL of a database of the caller's own."""
        if self._emptied:
            url, made_of = self._emptied.popitem()
        else:
            url = self.server.new_database(self._template)
            made_of = self._only(_MADE_OF, url)
        try:
            yield url
        finally:
            if self._has_emptied(url, made_of):
                self._emptied[url] = made_of
            else:
                self.server.drop_database(url)

    def _has_emptied(self, url: str, made_of: object) -> bool:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(_CUT_OFF)
            is_as_it_was = connection.execute(_MADE_OF).fetchone() == (made_of,)
            if is_as_it_was:
                connection.execute(f"TRUNCATE {self._tables} RESTART IDENTITY".encode())
        return is_as_it_was

    def _only(self, question: str, url: str) -> object:
        [(found,)] = self.ask(url, question)
        return found

"""Databases of a PostgreSQL server of the tests' own."""

from collections.abc import Iterator
from contextlib import contextmanager

from bench.errors import Unmeasured
from bench.postgres import Missing, PostgresServer, name_in, running
from everwatch.core.config import Settings
from everwatch.store import open_store

__all__ = ["FAST", "Databases", "Missing", "PostgresServer", "Unmeasured", "name_in", "running"]

# what is durable is not what these tests are about, and their server ends with them; the tests of kills say otherwise
FAST = ("fsync=off", "full_page_writes=off", "synchronous_commit=off", "shared_buffers=64MB", "max_connections=60")


class Databases:
    """Databases of one server, each with the tables in place: copies of one that was migrated once."""

    def __init__(self, server: PostgresServer) -> None:
        self.server = server
        template = server.new_database()
        open_store(Settings(database=template)).close()
        self._template = name_in(template)

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
        url = self.server.new_database(self._template)
        try:
            yield url
        finally:
            self.server.drop_database(url)

"""Check of the database."""

from collections.abc import Iterator
from contextlib import closing

from everwatch.diagnosis.finding import Finding, well
from everwatch.diagnosis.system import System
from everwatch.store.sql_reader import open_reader


def check_database(system: System) -> Iterator[Finding]:
    """Open the database and count what it holds. Raises StoreError."""
    with closing(open_reader(system.settings)) as reader:
        counts = reader.counts()
    yield well("database", f"{counts.users} users, {counts.monitors} monitors, {counts.results} results")

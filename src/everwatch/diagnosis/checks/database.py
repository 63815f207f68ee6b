"""Check of the database."""

from collections.abc import Iterator

from everwatch.diagnosis.finding import Finding, well
from everwatch.diagnosis.system import System
from everwatch.store.database_status import contents_of


def check_database(system: System) -> Iterator[Finding]:
    """Open the database and say what it holds, which takes no longer where that is much. Raises StoreError."""
    yield well("database", contents_of(system.settings))

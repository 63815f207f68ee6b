"""A PostgreSQL database that is made for one verification, and dropped after it."""

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

from sqlalchemy import create_engine, text

from everwatch.core.errors import SettingsError
from everwatch.store.database import clear_errors, parse_url

NAME_PREFIX = "everwatch_verify_"
"""Begin of the name of each: one that a killed verification has left is found by it."""


@contextmanager
def scratch_database(server_url: str) -> Iterator[str]:
    """Create a database beside the one that ``server_url`` names; gives its URL. Nothing of the other is touched.

    Raises SettingsError for another kind of URL, StoreError where none may be created.
    """
    url = parse_url(server_url)
    if url.get_backend_name() != "postgresql":
        raise SettingsError("The scratch server is named by the URL of one of its databases: postgresql://…")
    name = NAME_PREFIX + uuid4().hex[:12]
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    try:
        with clear_errors(url), engine.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name}"))
        try:
            yield url.set(drivername="postgresql", database=name).render_as_string(hide_password=False)
        finally:
            with clear_errors(url), engine.connect() as connection:
                connection.execute(text(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"))
    finally:
        engine.dispose()

"""Search texts of monitors and users: a text of each in lower case, with an index of its trigrams.

A text is the id (of a monitor its name and target, too), each behind a line break: what stands behind one begins with
what is looked for. SQLite indexes it by FTS5, PostgreSQL by a GIN index of the extension pg_trgm. Where the extension
is missing and may not be created, texts are searched without an index, in the order of the list.
"""

import logging
import sqlite3
from typing import Any

from sqlalchemy import Connection, event, inspect, text
from sqlalchemy.exc import SQLAlchemyError

from everwatch.store.selections import Selection
from everwatch.store.sql_schema import metadata, monitor_search, user_search

logger = logging.getLogger(__name__)

# in one transaction, so that the sink goes on
_PAGES_MERGED = 500
SEPARATOR = "\n"
_IN_NO_TEXT = str.maketrans({SEPARATOR: "\x01", "\0": "\x01"})
TABLES = (monitor_search.name, user_search.name)
TRIGRAM = 3
"""Characters that a search must have to be answered by the index."""


def monitor_text(monitor_id: str, name: str, target: str) -> str:
    """Return what a monitor is found by."""
    return SEPARATOR + SEPARATOR.join((monitor_id, name, target)).lower()


def user_text(user_id: str) -> str:
    """Return what a user is found by."""
    return SEPARATOR + user_id.lower()


def needles_of(which: Selection) -> list[str]:
    """Return the texts that must all be in a found row."""
    # ids and names have no line breaks, and no NUL, which no database takes: a search for one finds nothing
    contains, prefix = (part.lower().translate(_IN_NO_TEXT) for part in (which.contains, which.prefix))
    return [contains] * bool(contains) + [SEPARATOR + prefix] * bool(prefix)


def trigram_query(needles: list[str]) -> str:
    """Return the FTS5 query of all trigrams of the needles, in any place; "" if none is long enough."""
    trigrams = dict.fromkeys(n[i : i + TRIGRAM] for n in needles for i in range(len(n) - TRIGRAM + 1))
    return " AND ".join('"' + trigram.replace('"', '""') + '"' for trigram in trigrams)


def like_pattern(needle: str) -> str:
    """Return the LIKE pattern of texts that contain the needle, escaped by a backslash."""
    for special in ("\\", "%", "_"):
        needle = needle.replace(special, f"\\{special}")
    return f"%{needle}%"


def index_of(table: str, dialect: str) -> str:
    """Return the name of a table's index of trigrams."""
    return f"{table}_trigrams" if dialect == "postgresql" else f"{table}_fts"


def has_index(connection: Connection, table: str) -> bool:
    """Tell whether there is an index of trigrams."""
    name = index_of(table, connection.dialect.name)
    if connection.dialect.name == "postgresql":
        found = connection.execute(text("SELECT to_regclass(:name) IS NOT NULL"), {"name": name})
        return bool(found.scalar_one())
    return inspect(connection).has_table(name)


def ensure_indexes(connection: Connection) -> None:
    """Make the indexes of trigrams that are missing, if the database can have them."""
    missing = [table for table in TABLES if not has_index(connection, table)]
    if not missing:
        return
    if connection.dialect.name == "postgresql":
        _make_on_postgresql(connection, missing)
        return
    for table in missing:
        _make_on_sqlite(connection, table)


def merge_on_sqlite(connection: Connection, table: str, *, begins: bool) -> bool:
    """Merge some of a table's index, which so drops the trigrams of deleted texts; return whether more is left.

    A deletion is only noted in the index, and what is noted is in the file until it is merged.
    """
    driver = connection.connection.driver_connection
    assert isinstance(driver, sqlite3.Connection)
    fts = index_of(table, "sqlite")
    before = driver.total_changes
    pages = -_PAGES_MERGED if begins else _PAGES_MERGED
    connection.exec_driver_sql(f"INSERT INTO {fts}({fts}, rank) VALUES ('merge', ?)", (pages,))  # noqa: S608
    # as the manual of FTS5 says: the statement itself is one
    return begins or driver.total_changes - before >= 2


def _make_on_postgresql(connection: Connection, missing: list[str]) -> None:
    try:
        with connection.begin_nested():
            connection.exec_driver_sql("CREATE EXTENSION IF NOT EXISTS pg_trgm")
    except SQLAlchemyError as error:
        logger.warning(
            "The extension pg_trgm cannot be created, so searching for a part of a name goes without an index: %s."
            " Let an administrator run CREATE EXTENSION pg_trgm in this database and restart the sink.",
            str(getattr(error, "orig", error)).partition("\n")[0],
        )
        return
    for table in missing:
        connection.exec_driver_sql(
            f"CREATE INDEX {index_of(table, 'postgresql')} ON {table} USING gin (text gin_trgm_ops)"
        )


def _make_on_sqlite(connection: Connection, table: str) -> None:
    fts = index_of(table, "sqlite")
    # detail=none: half the size; positions are not needed, as what is found is compared with the text
    connection.exec_driver_sql(
        f"CREATE VIRTUAL TABLE {fts} USING fts5("
        f"text, content='{table}', content_rowid='id', tokenize='trigram', detail='none')"
    )
    add = f"INSERT INTO {fts}(rowid, text) VALUES (new.id, new.text);"  # noqa: S608 - own words
    drop = f"INSERT INTO {fts}({fts}, rowid, text) VALUES ('delete', old.id, old.text);"  # noqa: S608 - own words
    for when, steps in (("INSERT", add), ("DELETE", drop), ("UPDATE OF text", f"{drop} {add}")):
        name = f"{table}_{when.partition(' ')[0].lower()}"
        connection.exec_driver_sql(f"CREATE TRIGGER {name} AFTER {when} ON {table} BEGIN {steps} END")
    connection.exec_driver_sql(f"INSERT INTO {fts}({fts}) VALUES ('rebuild')")  # noqa: S608


@event.listens_for(metadata, "after_create")
def _with_tables(_: object, connection: Connection, **__: Any) -> None:
    ensure_indexes(connection)

"""Facts about the database itself, each a number under a name."""

from sqlalchemy import Connection, select

from everwatch.store.bulk_statements import insert_into
from everwatch.store.sql_schema import database_facts

BEGUN_AT = "begun_at"
"""When the first batch was stored, ms."""
RESULTS_FROM = "results_from"
"""From which instant on (ms) no result was deleted."""
ROLLUPS_FROM = "rollups_from"
"""From which instant on (ms) roll-ups are complete: earlier results were stored before there were any."""
COUNTED_FROM = "rollups_counted_from"
"""Where that is to lie when roll-ups are rebuilt: results count from here on already."""
ARCHIVED_UNTIL = "archived_until"
"""Before which instant (ms) all results are archived."""
THINNED_UNTIL = "thinned_until"
"""Before which instant (ms) only changes and failures are kept."""
TEXTS_FILLED = "texts_filled"
"""1: each monitor and user has its search text."""

_c = database_facts.c


def facts(connection: Connection) -> dict[str, int]:
    """Return all of them by name."""
    return dict(map(tuple, connection.execute(select(_c.name, _c.value))))


def put_fact(connection: Connection, name: str, value: int) -> None:
    """Store a fact in place of what there was; another process may do the same at the same time."""
    insert = insert_into(database_facts, connection.dialect).values(name=name, value=value)
    connection.execute(insert.on_conflict_do_update(index_elements=["name"], set_={"value": insert.excluded.value}))


def lower_facts(connection: Connection, prefix: str, value: int) -> None:
    """Store a value in place of each greater fact whose name begins with ``prefix``."""
    for name, known in facts(connection).items():
        if name.startswith(prefix) and known > value:
            put_fact(connection, name, value)


def raise_fact(connection: Connection, name: str, value: int) -> None:
    """Store a fact unless it is greater already."""
    insert = insert_into(database_facts, connection.dialect).values(name=name, value=value)
    connection.execute(
        insert.on_conflict_do_update(
            index_elements=["name"], set_={"value": insert.excluded.value}, where=_c.value < insert.excluded.value
        )
    )

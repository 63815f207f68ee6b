"""Backfill after a migration: columns and search texts of stored monitors and users that SQL alone cannot derive.

Each transaction fills some thousand rows, so that a database of millions is neither locked for minutes nor given a log
as large as itself. After a kill the next start goes on: rows that are filled have their search text.
"""

import logging
from collections.abc import Iterator

from sqlalchemy import Connection, Engine, Table, bindparam, exists, select, tuple_, update

from everwatch.kinds.execution.targets import target_of_config
from everwatch.store.bulk_statements import Bulk, Row, insert_into
from everwatch.store.facts import TEXTS_FILLED, facts, put_fact
from everwatch.store.search import monitor_text, user_text
from everwatch.store.sql_schema import monitor_search, monitors, user_search, users

logger = logging.getLogger(__name__)

ROWS_AT_ONCE = 5_000
SAY_EVERY = 20


def fill_texts(engine: Engine) -> None:
    """Give each monitor its plan, target and last change, and monitors and users the text that they are found by."""
    for count, _ in enumerate(filling(engine, ROWS_AT_ONCE), 1):
        if count % SAY_EVERY == 0:
            logger.info("about %s monitors and users are filled in so far", f"{count * ROWS_AT_ONCE:,}")


def filling(engine: Engine, at_once: int) -> Iterator[None]:
    """Fill as ``fill_texts`` does, and yield after each transaction; each fills at most ``at_once`` rows."""
    with engine.begin() as connection:
        if facts(connection).get(TEXTS_FILLED):
            return
    for fill, after in ((_fill_monitors, ("", "")), (_fill_users, ("",))):
        place: tuple[str, ...] | None = after
        while place is not None:
            with engine.begin() as connection:
                place = fill(connection, place, at_once)
            yield
    with engine.begin() as connection:
        put_fact(connection, TEXTS_FILLED, 1)


def _fill_monitors(connection: Connection, after: tuple[str, ...], at_once: int) -> tuple[str, ...] | None:
    """Fill in some monitors behind ``after``; return the last one, None if there are no more."""
    c, own = monitors.c, monitor_search.c
    is_filled = exists().where(own.user_id == c.user_id, own.monitor_id == c.monitor_id)
    wanted = (
        select(c.user_id, c.monitor_id, c.kind, c.config, c.name, c.since, c.start_at, c.state_since, users.c.plan)
        .select_from(monitors.outerjoin(users, users.c.user_id == c.user_id))
        .where(tuple_(c.user_id, c.monitor_id) > tuple_(*after), ~is_filled)
        .order_by(c.user_id, c.monitor_id)
        .limit(at_once)
        # another sink that is started at the same time waits, and finds these filled
        .with_for_update(of=monitors)
    )
    changes: list[Row] = []
    texts: list[Row] = []
    for user_id, monitor_id, kind, config, name, since, start_at, state_since, plan in connection.execute(wanted):
        target = target_of_config(kind, config)
        # one that begins later has not changed by that
        changed_at = state_since if since == start_at - 1 else max(since, state_since)
        changes.append((plan or "", target, changed_at, user_id, monitor_id))
        texts.append((user_id, monitor_id, monitor_text(monitor_id, name, target)))
    update_of = (
        update(monitors)
        .values(plan=bindparam("b_plan"), target=bindparam("b_target"), changed_at=bindparam("b_changed_at"))
        .where(c.user_id == bindparam("b_user_id"), c.monitor_id == bindparam("b_monitor_id"))
    )
    names = ["b_plan", "b_target", "b_changed_at", "b_user_id", "b_monitor_id"]
    Bulk(update_of, names, connection.dialect).run(connection, changes)
    _put_texts(connection, monitor_search, texts)
    return texts[-1][:2] if texts else None


def _fill_users(connection: Connection, after: tuple[str, ...], at_once: int) -> tuple[str, ...] | None:
    """Fill in some users behind ``after``; return the last one, None if there are no more."""
    c = users.c
    is_filled = exists().where(user_search.c.user_id == c.user_id)
    wanted = select(c.user_id).where(c.user_id > after[0], ~is_filled).order_by(c.user_id).limit(at_once)
    texts: list[Row] = [
        (user_id, user_text(user_id)) for (user_id,) in connection.execute(wanted.with_for_update(of=users))
    ]
    _put_texts(connection, user_search, texts)
    return texts[-1][:1] if texts else None


def _put_texts(connection: Connection, table: Table, texts: list[Row]) -> None:
    names = [column.name for column in table.c if column.name != "id"]
    insert = insert_into(table, connection.dialect).values({name: bindparam(f"b_{name}") for name in names})
    Bulk(insert.on_conflict_do_nothing(), [f"b_{name}" for name in names], connection.dialect).run(connection, texts)

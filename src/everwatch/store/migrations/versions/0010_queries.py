"""Columns, counts and indexes of lists over all users: classes, targets, state since, last change, parts of names."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from alembic import op

from everwatch.kinds.execution.targets import target_of_config
from everwatch.store.search import ensure_indexes, monitor_text, user_text

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_AT_ONCE = 5_000


def upgrade() -> None:
    """Add the columns and tables, fill them from what is stored, and replace the indexes."""
    connection = op.get_bind()
    on_postgresql = connection.dialect.name == "postgresql"
    key = sa.Text(collation="C") if on_postgresql else sa.Text()
    for table, name in (("monitors", "plan"), ("monitors", "target")):
        op.add_column(table, sa.Column(name, key, nullable=False, server_default=""))
    op.add_column("monitors", sa.Column("changed_at", sa.BigInteger, nullable=False, server_default=sa.text("0")))
    for name in ("kind", "target", "plan"):
        op.add_column("transitions", sa.Column(name, key, nullable=False, server_default=""))
    op.add_column("transitions", sa.Column("labels", sa.Text, nullable=False, server_default="{}"))
    op.add_column("transitions", sa.Column("lasted_ms", sa.BigInteger, nullable=False, server_default=sa.text("0")))
    op.create_table(
        "monitor_counts",
        sa.Column("partition", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("state", key, primary_key=True),
        sa.Column("kind", key, primary_key=True),
        sa.Column("plan", key, primary_key=True),
        sa.Column("monitors", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "user_counts",
        sa.Column("partition", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("plan", key, primary_key=True),
        sa.Column("users", sa.BigInteger, nullable=False),
    )
    number = sa.BigInteger().with_variant(sa.Integer, "sqlite")
    op.create_table(
        "monitor_search",
        sa.Column("id", number, primary_key=True),
        sa.Column("user_id", key, nullable=False),
        sa.Column("monitor_id", key, nullable=False),
        sa.Column("text", key, nullable=False),
    )
    op.create_table(
        "user_search",
        sa.Column("id", number, primary_key=True),
        sa.Column("user_id", key, nullable=False),
        sa.Column("text", key, nullable=False),
    )
    _fill(connection)
    op.create_index("monitor_search_key", "monitor_search", ["user_id", "monitor_id"], unique=True)
    op.create_index("user_search_key", "user_search", ["user_id"], unique=True)
    op.drop_index("monitors_by_state", "monitors")
    op.drop_index("monitors_by_kind", "monitors")
    op.create_index("monitors_by_class", "monitors", ["state", "kind", "plan", "user_id", "monitor_id"])
    op.create_index("monitors_by_state_since", "monitors", ["state", "state_since", "user_id", "monitor_id"])
    op.create_index("monitors_by_changed", "monitors", ["changed_at", "user_id", "monitor_id"])
    _partial("monitors_by_target", "monitors", ["target", "user_id", "monitor_id"], "target <> ''")
    op.create_index("users_by_updated", "users", ["updated_at", "user_id"])
    op.drop_index("tasks_by_status", "tasks")
    op.create_index("tasks_by_status", "tasks", ["status", "due_at", "user_id", "monitor_id", "paused"])
    op.create_index("tasks_by_user", "tasks", ["user_id", "status", "due_at", "monitor_id"])
    op.drop_index("transitions_by_at", "transitions")
    op.create_index("transitions_by_at", "transitions", ["at", "user_id", "monitor_id", "to_state"])
    op.create_index("transitions_by_user", "transitions", ["user_id", "at", "monitor_id", "to_state"])
    failed = "status IN (2, 3)" if on_postgresql else "status IN ('failure', 'late')"
    _partial("results_failed", "results", ["scheduled_at", "user_id", "monitor_id", "attempt"], failed)
    ensure_indexes(connection)


def _partial(name: str, table: str, columns: list[str], which: str) -> None:
    op.create_index(name, table, columns, sqlite_where=sa.text(which), postgresql_where=sa.text(which))


def _fill(connection: sa.Connection) -> None:
    for statement in (
        "UPDATE monitors SET plan = coalesce((SELECT u.plan FROM users u WHERE u.user_id = monitors.user_id), ''),"
        " changed_at = CASE WHEN since = start_at - 1 OR since < state_since THEN state_since ELSE since END",
        "INSERT INTO monitor_counts (partition, state, kind, plan, monitors)"
        " SELECT partition, state, kind, plan, count(*) FROM monitors GROUP BY partition, state, kind, plan",
        "INSERT INTO user_counts (partition, plan, users)"
        " SELECT partition, plan, count(*) FROM users GROUP BY partition, plan",
    ):
        op.execute(statement)
    after: Sequence[Any] = ("", "")
    while found := _page(connection, "user_id, monitor_id, kind, config, name", "monitors", after):
        targets = [target_of_config(kind, config) for _, _, kind, config, _ in found]
        own = [(user_id, monitor_id) for user_id, monitor_id, *_ in found]
        given = [(*key, target) for key, target in zip(own, targets, strict=True) if target]
        _run(connection, "UPDATE monitors SET target = :c WHERE user_id = :a AND monitor_id = :b", given)
        names = [row[4] for row in found]
        texts = [monitor_text(key[1], name, target) for key, name, target in zip(own, names, targets, strict=True)]
        _run(
            connection,
            "INSERT INTO monitor_search (user_id, monitor_id, text) VALUES (:a, :b, :c)",
            [(*key, text) for key, text in zip(own, texts, strict=True)],
        )
        after = own[-1]
    after = ("",)
    while found := _page(connection, "user_id", "users", after):
        _run(
            connection,
            "INSERT INTO user_search (user_id, text) VALUES (:a, :b)",
            [(user_id, user_text(user_id)) for (user_id,) in found],
        )
        after = found[-1]


def _page(connection: sa.Connection, columns: str, table: str, after: Sequence[Any]) -> list[tuple[Any, ...]]:
    key = ", ".join(columns.split(", ")[: len(after)])
    marks = ", ".join(f":k{number}" for number in range(len(after)))
    statement = f"SELECT {columns} FROM {table} WHERE ({key}) > ({marks}) ORDER BY {key} LIMIT {_AT_ONCE}"  # noqa: S608
    found = connection.execute(sa.text(statement), {f"k{number}": value for number, value in enumerate(after)})
    return [tuple(row) for row in found]


def _run(connection: sa.Connection, statement: str, given: Sequence[Sequence[Any]]) -> None:
    if given:
        connection.execute(sa.text(statement), [dict(zip("abc", row, strict=False)) for row in given])

"""Columns, counts and indexes of lists over all users: classes, targets, state since, last change, parts of names."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns and tables, count what is stored, and replace the indexes."""
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
    _fill()
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


def _partial(name: str, table: str, columns: list[str], which: str) -> None:
    op.create_index(name, table, columns, sqlite_where=sa.text(which), postgresql_where=sa.text(which))


def _fill() -> None:
    """Count what is there. ``store.backfill`` fills in what SQL cannot compute of monitors and users."""
    for statement in (
        "INSERT INTO monitor_counts (partition, state, kind, plan, monitors)"
        " SELECT m.partition, m.state, m.kind, coalesce(u.plan, ''), count(*)"
        " FROM monitors m LEFT JOIN users u ON u.user_id = m.user_id GROUP BY 1, 2, 3, 4",
        "INSERT INTO user_counts (partition, plan, users)"
        " SELECT partition, plan, count(*) FROM users GROUP BY partition, plan",
    ):
        op.execute(statement)

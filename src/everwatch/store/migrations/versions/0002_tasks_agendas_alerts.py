"""Delayed tasks; agendas, bounds and payloads of monitors; maintenance windows; alerts, reminders and manual runs."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_Type = sa.Text | sa.Integer | sa.BigInteger | sa.Boolean


def upgrade() -> None:
    """Add the columns and the table, and fill in what is known: the monitors of signups, and the tasks."""
    _add("users", "monitor_ids", sa.Text, "[]")
    _add("users", "maintenance", sa.Text, "[]")
    _add("monitors", "payload", sa.Text, "")
    _add("monitors", "start_at", sa.BigInteger, sa.text("0"))
    _add("monitors", "end_at", sa.BigInteger, sa.text("0"))
    _add("monitors", "max_runs", sa.Integer, sa.text("0"))
    _add("monitors", "agenda", sa.Text, "{}")
    _add("monitors", "retry_at", sa.BigInteger, sa.text("0"))
    _add("monitors", "resume_at", sa.BigInteger, sa.text("0"))
    _add("monitor_history", "start_at", sa.BigInteger, sa.text("0"))
    _add("monitor_history", "end_at", sa.BigInteger, sa.text("0"))
    _add("monitor_history", "max_runs", sa.Integer, sa.text("0"))
    _add("monitor_history", "runs", sa.Integer, sa.text("0"))
    _add("monitor_history", "ends_at", sa.BigInteger, sa.text("0"))
    _add("results", "manual", sa.Boolean, sa.false())
    _add("transitions", "alert", sa.Boolean, sa.true())
    _add("transitions", "reminder", sa.Boolean, sa.false())
    op.create_table(
        "tasks",
        sa.Column("user_id", sa.Text, primary_key=True),
        sa.Column("monitor_id", sa.Text, primary_key=True),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("due_at", sa.BigInteger, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("paused", sa.Boolean, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("ended_at", sa.BigInteger, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("partition", sa.Integer, nullable=False),
    )
    # in SQLite's words: until 0006 there was no other database, so in another one the tables are empty
    if op.get_bind().dialect.name == "sqlite":
        op.execute(_MONITORS_OF_SIGNUPS)
        op.execute(_TASKS)
    op.create_index("tasks_by_status", "tasks", ["status", "due_at", "paused"])


def _add(
    table: str, name: str, column_type: type[_Type], default: str | sa.TextClause | sa.ColumnElement[bool]
) -> None:
    op.add_column(table, sa.Column(name, column_type, nullable=False, server_default=default))


# a sink goes on behind the records that told of them, so they would not be read again
_MONITORS_OF_SIGNUPS = """
    UPDATE users SET monitor_ids = (
        SELECT json_group_array(monitor_id) FROM (
            SELECT monitor_id FROM monitors
            WHERE monitors.user_id = users.user_id AND origin = 'signup'
            ORDER BY monitor_id
        )
    )
"""

# the reason of one that is over begins with the status of its run, unless that was a success
_TASKS = """
    INSERT INTO tasks (
        user_id, monitor_id, kind, due_at, status, paused, reason, created_at, ended_at, attempt, version, partition
    )
    SELECT
        user_id,
        monitor_id,
        kind,
        max(json_extract(schedule, '$.at'), since + 1),
        CASE WHEN state <> 'done' THEN 'pending' WHEN failed THEN 'failed' ELSE 'done' END,
        state = 'paused',
        CASE WHEN failed THEN substr(reason, length(how) + 3) ELSE reason END,
        state_since,
        CASE state WHEN 'done' THEN state_since ELSE 0 END,
        0,
        version,
        partition
    FROM (
        SELECT *, state = 'done' AND how IN ('failure', 'late', 'skipped') AS failed FROM (
            SELECT *, substr(reason, 1, instr(reason || ': ', ': ') - 1) AS how
            FROM monitors
            WHERE json_extract(schedule, '$.type') = 'at'
        )
    )
"""

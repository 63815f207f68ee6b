"""The first tables: users, monitors and their history, results, transitions, offsets."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "users",
        sa.Column("user_id", sa.Text, primary_key=True),
        sa.Column("plan", sa.Text, nullable=False),
        sa.Column("attributes", sa.Text, nullable=False),
        sa.Column("registered_at", sa.BigInteger, nullable=False),
        sa.Column("updated_at", sa.BigInteger, nullable=False),
        sa.Column("partition", sa.Integer, nullable=False),
    )
    op.create_table(
        "monitors",
        sa.Column("user_id", sa.Text, primary_key=True),
        sa.Column("monitor_id", sa.Text, primary_key=True),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("config", sa.Text, nullable=False),
        sa.Column("schedule", sa.Text, nullable=False),
        sa.Column("policy", sa.Text, nullable=False),
        sa.Column("origin", sa.Text, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("since", sa.BigInteger, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("state_since", sa.BigInteger, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("streak", sa.Integer, nullable=False),
        sa.Column("judged_at", sa.BigInteger, nullable=False),
        sa.Column("last_signal", sa.BigInteger, nullable=False),
        sa.Column("partition", sa.Integer, nullable=False),
    )
    op.create_index("monitors_by_state", "monitors", ["state"])
    op.create_table(
        "monitor_history",
        sa.Column("user_id", sa.Text, primary_key=True),
        sa.Column("monitor_id", sa.Text, primary_key=True),
        sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("since", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("until", sa.BigInteger, nullable=True),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("schedule", sa.Text, nullable=False),
        sa.Column("policy", sa.Text, nullable=False),
        sa.Column("misfire", sa.Text, nullable=False),
        sa.Column("misfire_grace_ms", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "results",
        sa.Column("user_id", sa.Text, primary_key=True),
        sa.Column("scheduled_at", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("monitor_id", sa.Text, primary_key=True),
        sa.Column("attempt", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("started_at", sa.BigInteger, nullable=False),
        sa.Column("duration_ms", sa.Float, nullable=False),
        sa.Column("timings", sa.Text, nullable=False),
        sa.Column("executor", sa.Text, nullable=False),
        sa.Column("skipped_until", sa.BigInteger, nullable=False),
        sa.Column("skipped_count", sa.BigInteger, nullable=False),
        sa.Column("stored_at", sa.BigInteger, nullable=False),
        sa.Column("deliveries", sa.Integer, nullable=False),
    )
    op.create_index("results_by_scheduled_at", "results", ["scheduled_at"])
    op.create_index(
        "results_skipped",
        "results",
        ["skipped_until"],
        sqlite_where=sa.text("skipped_until > 0"),
        postgresql_where=sa.text("skipped_until > 0"),
    )
    op.create_table(
        "transitions",
        sa.Column("user_id", sa.Text, primary_key=True),
        sa.Column("monitor_id", sa.Text, primary_key=True),
        sa.Column("at", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("to_state", sa.Text, primary_key=True),
        sa.Column("from_state", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
    )
    op.create_index("transitions_by_at", "transitions", ["at"])
    op.create_table(
        "sink_offsets",
        sa.Column("topic", sa.Text, primary_key=True),
        sa.Column("partition", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("next_offset", sa.BigInteger, nullable=False),
    )

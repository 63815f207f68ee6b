"""PostgreSQL: keys in the order of code points, results partitioned by day with a status of two bytes."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_KEYS = {
    "users": ("user_id", "plan"),
    "monitors": ("user_id", "monitor_id", "kind", "state"),
    "monitor_labels": ("user_id", "monitor_id", "key", "value"),
    "monitor_history": ("user_id", "monitor_id", "kind"),
    "tasks": ("user_id", "monitor_id", "kind", "status"),
    "transitions": ("user_id", "monitor_id", "to_state"),
    "sink_offsets": ("topic",),
}


def upgrade() -> None:
    """Make the tables of PostgreSQL what they are from here on. They are empty: it was not supported before."""
    if op.get_bind().dialect.name != "postgresql":
        return
    key = sa.Text(collation="C")
    for table, columns in _KEYS.items():
        for column in columns:
            op.alter_column(table, column, type_=key)
    op.drop_table("results")
    # what is of eight bytes first, so that nothing is lost to alignment
    op.create_table(
        "results",
        sa.Column("scheduled_at", sa.BigInteger, nullable=False),
        sa.Column("started_at", sa.BigInteger, nullable=False),
        sa.Column("duration_ms", sa.Float, nullable=False),
        sa.Column("skipped_until", sa.BigInteger, nullable=False),
        sa.Column("skipped_count", sa.BigInteger, nullable=False),
        sa.Column("stored_at", sa.BigInteger, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("deliveries", sa.Integer, nullable=False),
        sa.Column("status", sa.SmallInteger, nullable=False),
        sa.Column("manual", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("user_id", key, nullable=False),
        sa.Column("monitor_id", key, nullable=False),
        sa.Column("kind", key, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("timings", sa.Text, nullable=False),
        sa.Column("executor", sa.Text, nullable=False),
        sa.Column("detail", sa.Text, nullable=False, server_default=""),
        sa.PrimaryKeyConstraint("user_id", "scheduled_at", "monitor_id", "attempt"),
        postgresql_partition_by="RANGE (scheduled_at)",
    )
    op.create_index("results_by_scheduled_at", "results", ["scheduled_at"])
    op.create_index("results_skipped", "results", ["skipped_until"], postgresql_where=sa.text("skipped_until > 0"))

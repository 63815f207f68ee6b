"""The audit log: who changed what over HTTP."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table; the sink fills it."""
    key = sa.Text(collation="C") if op.get_bind().dialect.name == "postgresql" else sa.Text()
    op.create_table(
        "audit_log",
        sa.Column("entry_id", key, primary_key=True),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("token_id", key, nullable=False),
        sa.Column("token_name", sa.Text, nullable=False),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("address", sa.Text, nullable=False),
        sa.Column("forwarded_for", sa.Text, nullable=False),
        sa.Column("route", sa.Text, nullable=False),
        sa.Column("command", sa.Text, nullable=False),
        sa.Column("user_id", key, nullable=False),
        sa.Column("monitor_id", key, nullable=False),
        sa.Column("status", sa.Integer, nullable=False),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.Column("command_id", sa.Text, nullable=False),
        sa.Column("request_id", sa.Text, nullable=False),
    )
    op.create_index("audit_log_by_at", "audit_log", ["at", "entry_id"])
    op.create_index("audit_log_by_user", "audit_log", ["user_id", "at", "entry_id"])
    op.create_index("audit_log_by_monitor", "audit_log", ["user_id", "monitor_id", "at", "entry_id"])
    op.create_index("audit_log_by_token", "audit_log", ["token_id", "at", "entry_id"])

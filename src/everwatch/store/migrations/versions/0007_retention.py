"""Indexes by which what has ended is deleted in time."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the indexes."""
    for name, table, column, which in (
        ("monitor_history_ended", "monitor_history", "until", "until IS NOT NULL"),
        ("tasks_ended", "tasks", "ended_at", "ended_at > 0"),
    ):
        op.create_index(name, table, [column], sqlite_where=sa.text(which), postgresql_where=sa.text(which))

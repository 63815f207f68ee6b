"""Outcomes of monitors and tasks that are over, as a column; they stood before the reason."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns. Rows that are there keep their reason: who reads one takes the outcome from it."""
    for table in ("monitors", "tasks", "transitions"):
        op.add_column(table, sa.Column("outcome", sa.Text, nullable=False, server_default=""))

"""Monitors of what subscribers of status pages were told of."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns; of what was told before nothing more is told."""
    for name in ("user_id", "monitor_id"):
        op.add_column("status_announced", sa.Column(name, sa.Text, nullable=False, server_default=""))

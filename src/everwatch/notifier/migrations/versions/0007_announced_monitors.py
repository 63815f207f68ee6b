"""Monitors of the incidents that were sent to subscribers of status pages."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns; incidents that were sent before get no more news."""
    for name in ("user_id", "monitor_id"):
        op.add_column("status_announced", sa.Column(name, sa.Text, nullable=False, server_default=""))

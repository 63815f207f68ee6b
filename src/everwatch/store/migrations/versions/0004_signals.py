"""What is known of a monitor's signals."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column."""
    op.add_column("monitors", sa.Column("signals", sa.Text, nullable=False, server_default="{}"))

"""What a kind has to show of a failure, beside its reason."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; results of before have no detail."""
    op.add_column("results", sa.Column("detail", sa.Text, nullable=False, server_default=""))

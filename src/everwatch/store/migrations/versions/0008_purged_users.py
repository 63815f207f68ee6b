"""Users that were purged, by a hash of their id: their records that are still on topics are not stored again."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table."""
    op.create_table(
        "purged_users",
        sa.Column("user_hash", sa.Text, primary_key=True),
        sa.Column("ended_at", sa.BigInteger, nullable=False),
        sa.Column("kept_until", sa.BigInteger, nullable=False),
    )

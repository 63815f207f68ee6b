"""Silences by selector."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

# frozen here: what tables.py says may change
Key = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "alert_silences",
        sa.Column("silence_id", Key, primary_key=True),
        sa.Column("user_id", Key, nullable=False),
        sa.Column("ends_at", sa.BigInteger, nullable=False),
        sa.Column("document", sa.Text, nullable=False),
    )
    op.create_index("alert_silences_by_end", "alert_silences", ["ends_at"])
    op.create_index("alert_silences_of_user", "alert_silences", ["user_id"])

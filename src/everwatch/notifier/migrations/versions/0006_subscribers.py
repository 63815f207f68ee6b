"""Subscribers of operators' status pages."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

# frozen here: what tables.py says may change
Key = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "status_subscribers",
        sa.Column("subscriber_id", Key, primary_key=True),
        sa.Column("slug", Key, nullable=False),
        sa.Column("email", sa.Text, nullable=False),
        sa.Column("unsubscribe", sa.Text, nullable=False),
        sa.Column("asked_at", sa.BigInteger, nullable=False),
        sa.Column("confirmed_at", sa.BigInteger, nullable=False),
    )
    op.create_index("status_subscribers_of_page", "status_subscribers", ["slug", "confirmed_at"])
    op.create_table(
        "status_announced",
        sa.Column("slug", Key, primary_key=True),
        sa.Column("incident_id", Key, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("opened_at", sa.BigInteger, nullable=False),
    )

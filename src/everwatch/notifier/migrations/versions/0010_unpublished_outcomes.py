"""Outcomes of messages that are not on the topic notifications yet."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

# frozen here: what tables.py says may change
Key = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
Counted = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "unpublished_outcomes",
        sa.Column("seq", Counted, primary_key=True, autoincrement=True),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("taken_until", sa.BigInteger, nullable=False),
        sa.Column("user_id", Key, nullable=False),
        sa.Column("record_key", Key, nullable=False),
        sa.Column("document", sa.Text, nullable=False),
    )

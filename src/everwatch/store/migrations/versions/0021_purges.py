"""Purges that the sink carries out, with what came of each."""

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table."""
    op.create_table(
        "purges",
        sa.Column("purge_key", sa.Text, primary_key=True),
        sa.Column("user_id", sa.Text, nullable=False),
        sa.Column("ended_at", sa.BigInteger, nullable=False),
        sa.Column("partition", sa.Integer, nullable=False),
        sa.Column("deletion", sa.BigInteger, nullable=False),
        sa.Column("was_watched", sa.Boolean, nullable=False),
        sa.Column("deleted", sa.Text, nullable=False),
        sa.Column("over_at", sa.BigInteger, nullable=False),
        sa.Column("outcome", sa.Text, nullable=False),
    )
    op.create_index("purges_by_over_at", "purges", ["over_at"])

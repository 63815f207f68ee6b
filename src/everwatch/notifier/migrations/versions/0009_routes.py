"""The routes of the rules, as the API lists them."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

# frozen here: what tables.py says may change
Key = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "notifier_routes",
        sa.Column("name", Key, primary_key=True),
        sa.Column("place", sa.BigInteger, nullable=False),
        sa.Column("document", sa.Text, nullable=False),
    )

"""Mail addresses that are verified before alerts go to them."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

# frozen here: what tables.py says may change
Key = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "alert_contacts",
        sa.Column("contact_id", Key, primary_key=True),
        sa.Column("user_id", Key, nullable=False),
        sa.Column("shown", sa.Text, nullable=False),
        sa.Column("code", sa.Text, nullable=False),
        sa.Column("asked_at", sa.BigInteger, nullable=False),
        sa.Column("verified_at", sa.BigInteger, nullable=False),
    )
    op.create_index("alert_contacts_of_user", "alert_contacts", ["user_id"])

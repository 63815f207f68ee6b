"""Acknowledged and snoozed incidents."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

# frozen here: what tables.py says may change
Key = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
SNOOZED = sa.text("snoozed_until > 0")


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "alert_acks",
        sa.Column("incident_id", Key, primary_key=True),
        sa.Column("user_id", Key, nullable=False),
        sa.Column("monitor_id", Key, nullable=False),
        sa.Column("acked_at", sa.BigInteger, nullable=False),
        sa.Column("acked_by", sa.Text, nullable=False),
        sa.Column("snoozed_until", sa.BigInteger, nullable=False),
    )
    op.create_index(
        "alert_acks_snoozed", "alert_acks", ["snoozed_until"], sqlite_where=SNOOZED, postgresql_where=SNOOZED
    )
    op.create_index("alert_acks_of_user", "alert_acks", ["user_id"])

"""A journal of what large batches add to roll-ups, and indexes of roll-ups by instant, user and monitor."""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table, and make the indexes anew; roll-ups stay as they are."""
    op.create_table(
        "rollup_journal",
        sa.Column("bucket", sa.Integer, nullable=False),
        sa.Column("additions", sa.LargeBinary, nullable=False),
    )
    op.create_index("rollup_journal_by_bucket", "rollup_journal", ["bucket"])
    if op.get_bind().dialect.name == "postgresql":
        # rows live for minutes: trying to compress them costs more than they take
        op.execute("ALTER TABLE rollup_journal ALTER COLUMN additions SET STORAGE EXTERNAL")
    for name in ("hourly_rollups", "daily_rollups"):
        op.drop_index(f"{name}_by_at", name)
        op.create_index(f"{name}_by_at", name, ["at", "user_id", "monitor_id"])

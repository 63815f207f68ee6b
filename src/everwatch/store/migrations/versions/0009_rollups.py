"""Roll-ups of results by hour and day."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_HOUR_MS = 3_600_000


def upgrade() -> None:
    """Add the tables. Results of before do not count, up to the end of the newest one's hour, unless rebuilt."""
    key = sa.Text(collation="C") if op.get_bind().dialect.name == "postgresql" else sa.Text
    for name in ("hourly_rollups", "daily_rollups"):
        op.create_table(
            name,
            sa.Column("user_id", key, primary_key=True),
            sa.Column("monitor_id", key, primary_key=True),
            sa.Column("at", sa.BigInteger, primary_key=True, autoincrement=False),
            sa.Column("successes", sa.BigInteger, nullable=False),
            sa.Column("failures", sa.BigInteger, nullable=False),
            sa.Column("lates", sa.BigInteger, nullable=False),
            sa.Column("skips", sa.BigInteger, nullable=False),
            sa.Column("duration_us", sa.BigInteger, nullable=False),
            sa.Column("durations", sa.Text, nullable=False),
            postgresql_with={"fillfactor": 60},
        )
        op.create_index(f"{name}_by_at", name, ["at"])
    op.execute(
        f"INSERT INTO database_facts (name, value) SELECT 'rollups_from', (newest / {_HOUR_MS} + 1) * {_HOUR_MS}"  # noqa: S608
        " FROM (SELECT max(scheduled_at) AS newest FROM results) AS stored WHERE newest IS NOT NULL"
    )

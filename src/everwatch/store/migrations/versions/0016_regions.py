"""Results of several regions: the region of an executor is a part of a result's identity."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

_KEY = ["user_id", "scheduled_at", "monitor_id", "attempt", "region"]
_FAILED = ["scheduled_at", "user_id", "monitor_id", "attempt", "region"]


def upgrade() -> None:
    """Add the column and put it into the key; results of before have no region."""
    if op.get_bind().dialect.name == "postgresql":
        _upgrade_postgresql()
    else:
        _upgrade_sqlite()


def _upgrade_postgresql() -> None:
    # tables that are to take the place of a day once it is thinned: they are filled anew
    unfinished = sa.text(
        "SELECT relname FROM pg_class WHERE relkind = 'r' AND NOT relispartition AND relname ~ '^results_[0-9]{8}_'"
    )
    for name in op.get_bind().execute(unfinished).scalars().all():
        op.drop_table(name)
    op.add_column("results", sa.Column("region", sa.Text(collation="C"), nullable=False, server_default=""))
    op.drop_constraint("results_pkey", "results")
    op.create_primary_key("results_pkey", "results", _KEY)
    op.drop_index("results_failed", "results")
    op.create_index("results_failed", "results", _FAILED, postgresql_where=sa.text("status IN (2, 3)"))


def _upgrade_sqlite() -> None:
    # SQLite changes no key: the table is written once more
    old = sa.Table("results", sa.MetaData(), autoload_with=op.get_bind())
    names = ", ".join(column.name for column in old.columns)
    for index in old.indexes:
        op.drop_index(str(index.name), "results")
    op.rename_table("results", "results_old")
    op.create_table(
        "results",
        sa.Column("user_id", sa.Text, nullable=False),
        sa.Column("scheduled_at", sa.BigInteger, nullable=False),
        sa.Column("monitor_id", sa.Text, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("region", sa.Text, nullable=False, server_default=""),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("started_at", sa.BigInteger, nullable=False),
        sa.Column("duration_ms", sa.Float, nullable=False),
        sa.Column("timings", sa.Text, nullable=False),
        sa.Column("executor", sa.Text, nullable=False),
        sa.Column("skipped_until", sa.BigInteger, nullable=False),
        sa.Column("skipped_count", sa.BigInteger, nullable=False),
        sa.Column("stored_at", sa.BigInteger, nullable=False),
        sa.Column("deliveries", sa.Integer, nullable=False),
        sa.Column("manual", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("detail", sa.Text, nullable=False, server_default=""),
        sa.PrimaryKeyConstraint(*_KEY),
    )
    op.execute(f"INSERT INTO results ({names}) SELECT {names} FROM results_old")  # noqa: S608 - own words
    op.drop_table("results_old")
    op.create_index("results_by_scheduled_at", "results", ["scheduled_at"])
    op.create_index("results_failed", "results", _FAILED, sqlite_where=sa.text("status IN ('failure', 'late')"))
    op.create_index("results_skipped", "results", ["skipped_until"], sqlite_where=sa.text("skipped_until > 0"))

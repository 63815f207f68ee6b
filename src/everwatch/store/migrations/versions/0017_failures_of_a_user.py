"""An index of the results of each user that failed."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the index: a user's failures may lie thousands of successes apart."""
    columns = ["user_id", "scheduled_at", "monitor_id", "attempt", "region"]
    # 2 failure, 3 late: what version 0006 stores in PostgreSQL
    op.create_index(
        "results_failed_of_user",
        "results",
        columns,
        sqlite_where=sa.text("status IN ('failure', 'late')"),
        postgresql_where=sa.text("status IN (2, 3)"),
    )

"""A column of the audit log: the fields that a change over HTTP changed."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; entries that are there changed nothing that is known."""
    op.add_column("audit_log", sa.Column("change", sa.Text, nullable=False, server_default=""))

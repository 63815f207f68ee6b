"""Names and labels of monitors, indexes for lists over all users, and facts about the database itself."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns, the table and the indexes; monitors of before have no names and no labels."""
    op.add_column("monitors", sa.Column("name", sa.Text, nullable=False, server_default=""))
    op.add_column("monitors", sa.Column("labels", sa.Text, nullable=False, server_default="[]"))
    op.create_table(
        "monitor_labels",
        sa.Column("user_id", sa.Text, primary_key=True),
        sa.Column("monitor_id", sa.Text, primary_key=True),
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("value", sa.Text, nullable=False),
    )
    op.create_index("monitor_labels_by_key", "monitor_labels", ["key", "value", "user_id", "monitor_id"])
    op.drop_index("monitors_by_state", "monitors")
    op.create_index("monitors_by_state", "monitors", ["state", "user_id", "monitor_id"])
    op.create_index("monitors_by_kind", "monitors", ["kind", "user_id", "monitor_id"])
    op.create_index("users_by_plan", "users", ["plan", "user_id"])
    op.create_table(
        "database_facts",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("value", sa.BigInteger, nullable=False),
    )

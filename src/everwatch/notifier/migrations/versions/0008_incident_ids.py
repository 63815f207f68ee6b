"""Incidents by their ids, comments on them, and the key of links in messages."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

# frozen here: what tables.py says may change
Key = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
_TAKE_OUT = {
    "sqlite": "UPDATE incidents SET incident_id = json_extract(document, '$.incident_id')",
    "postgresql": "UPDATE incidents SET incident_id = document::json ->> 'incident_id'",
}


def upgrade() -> None:
    """Make the tables, and take the ids of incidents out of their documents."""
    op.add_column("incidents", sa.Column("incident_id", Key, nullable=False, server_default=""))
    op.execute(_TAKE_OUT[op.get_bind().dialect.name])
    op.create_index("incidents_by_id", "incidents", ["incident_id"])
    op.create_table(
        "alert_comments",
        sa.Column("comment_id", Key, primary_key=True),
        sa.Column("incident_id", Key, nullable=False),
        sa.Column("user_id", Key, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("by", sa.Text, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
    )
    op.create_index("alert_comments_of_incident", "alert_comments", ["incident_id", "at"])
    op.create_index("alert_comments_of_user", "alert_comments", ["user_id"])
    op.create_table(
        "notifier_secrets",
        sa.Column("name", Key, primary_key=True),
        sa.Column("secret", sa.Text, nullable=False),
    )

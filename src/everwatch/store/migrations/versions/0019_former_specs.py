"""Earlier versions of monitors' specs."""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table; the sink fills it with each change from now on."""
    key = sa.Text(collation="C") if op.get_bind().dialect.name == "postgresql" else sa.Text()
    op.create_table(
        "former_specs",
        sa.Column("user_id", key, primary_key=True),
        sa.Column("monitor_id", key, primary_key=True),
        sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("kind", key, nullable=False),
        sa.Column("config", sa.Text, nullable=False),
        sa.Column("schedule", sa.Text, nullable=False),
        sa.Column("policy", sa.Text, nullable=False),
        sa.Column("origin", sa.Text, nullable=False),
        sa.Column("payload", sa.Text, nullable=False),
        sa.Column("start_at", sa.BigInteger, nullable=False),
        sa.Column("end_at", sa.BigInteger, nullable=False),
        sa.Column("max_runs", sa.Integer, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("labels", sa.Text, nullable=False),
        sa.Column("replaced_at", sa.BigInteger, nullable=False),
    )
    op.create_index("former_specs_by_age", "former_specs", ["replaced_at"])

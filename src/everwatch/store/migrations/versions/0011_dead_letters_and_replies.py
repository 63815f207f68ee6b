"""Dead letters and replies."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the tables; the sink fills them from what the topics still hold."""
    key = sa.Text(collation="C") if op.get_bind().dialect.name == "postgresql" else sa.Text()
    op.create_table(
        "dead_letters",
        sa.Column("partition", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("letter_offset", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("refused_at", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("alike", key, nullable=False),
        sa.Column("path", sa.Text, nullable=False),
        sa.Column("code", key, nullable=False),
        sa.Column("refused_by", sa.Text, nullable=False),
        sa.Column("source_topic", key, nullable=False),
        sa.Column("source_partition", sa.Integer, nullable=False),
        sa.Column("source_offset", sa.BigInteger, nullable=False),
        sa.Column("source_ms", sa.BigInteger, nullable=False),
        sa.Column("user_id", key, nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("encoding", sa.Text, nullable=False),
        sa.Column("value", sa.Text, nullable=False),
        sa.Column("problem", sa.Text, nullable=False),
        sa.Column("cut", sa.Text, nullable=False),
        sa.Column("redriven_at", sa.BigInteger, nullable=False),
        sa.Column("redriven_to", sa.Text, nullable=False),
    )
    place = ["refused_at", "partition", "letter_offset"]
    op.create_index("dead_letters_by_refused", "dead_letters", [*place, "source_topic", "code", "alike"])
    for name, column in (("user", "user_id"), ("source", "source_topic"), ("code", "code"), ("alike", "alike")):
        op.create_index(f"dead_letters_by_{name}", "dead_letters", [column, *place])
    op.create_table(
        "replies",
        sa.Column("user_id", key, primary_key=True),
        sa.Column("asked_id", key, primary_key=True),
        sa.Column("asked", key, primary_key=True),
        sa.Column("at", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("answer", key, primary_key=True),
        sa.Column("monitor_id", key, nullable=False),
        sa.Column("command", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("path", sa.Text, nullable=False),
        sa.Column("code", sa.Text, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("partition", sa.Integer, nullable=False),
        sa.Column("log_offset", sa.BigInteger, nullable=False),
    )
    op.create_index("replies_by_user", "replies", ["user_id", "at", "asked_id", "asked", "answer"])
    op.create_index("replies_by_at", "replies", ["at"])

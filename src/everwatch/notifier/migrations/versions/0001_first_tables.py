"""The tables of the notifier."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# frozen here: what tables.py says may change
Key = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
Counted = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "notifier_offsets",
        sa.Column("topic", Key, primary_key=True),
        sa.Column("partition", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("next_offset", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "notifier_facts",
        sa.Column("name", Key, primary_key=True),
        sa.Column("value", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "notifier_users",
        sa.Column("user_id", Key, primary_key=True),
        sa.Column("plan", Key, nullable=False),
        sa.Column("attributes", sa.Text, nullable=False),
    )
    op.create_table(
        "alert_events",
        sa.Column("event_id", Key, primary_key=True),
        sa.Column("partition", sa.Integer, nullable=False),
        sa.Column("position", sa.BigInteger, nullable=False),
        sa.Column("user_id", Key, nullable=False),
        sa.Column("monitor_id", Key, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("taken_at", sa.BigInteger, nullable=False),
        sa.Column("judge_at", sa.BigInteger, nullable=True),
        sa.Column("verdict", sa.Text, nullable=False),
        sa.Column("document", sa.Text, nullable=False),
    )
    op.create_table(
        "incidents",
        sa.Column("user_id", Key, primary_key=True),
        sa.Column("monitor_id", Key, primary_key=True),
        sa.Column("partition", sa.Integer, nullable=False),
        sa.Column("phase", Key, nullable=False),
        sa.Column("settles_at", sa.BigInteger, nullable=False),
        sa.Column("document", sa.Text, nullable=False),
    )
    op.create_table(
        "alert_groups",
        sa.Column("group_id", Key, primary_key=True),
        sa.Column("route", Key, nullable=False),
        sa.Column("user_id", Key, nullable=False),
        sa.Column("flush_at", sa.BigInteger, nullable=True),
        sa.Column("flushed_at", sa.BigInteger, nullable=False),
        sa.Column("open_delivery", Key, nullable=False),
    )
    op.create_table(
        "alert_items",
        sa.Column("seq", Counted, primary_key=True, autoincrement=True),
        sa.Column("group_id", Key, nullable=False),
        sa.Column("item_id", Key, nullable=False),
        sa.Column("document", sa.Text, nullable=False),
    )
    op.create_table(
        "deliveries",
        sa.Column("delivery_id", Key, primary_key=True),
        sa.Column("group_id", Key, nullable=False),
        sa.Column("route", Key, nullable=False),
        sa.Column("user_id", Key, nullable=False),
        sa.Column("sender", Key, nullable=False),
        sa.Column("lane", Key, nullable=False),
        sa.Column("target", sa.Text, nullable=False),
        sa.Column("state", Key, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("doubts", sa.Integer, nullable=False),
        sa.Column("due_at", sa.BigInteger, nullable=False),
        sa.Column("lease_until", sa.BigInteger, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("settled_at", sa.BigInteger, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("payload", sa.Text, nullable=False),
    )
    op.create_table(
        "alert_channels",
        sa.Column("channel_id", Key, primary_key=True),
        sa.Column("route", Key, nullable=False),
        sa.Column("user_id", Key, nullable=False),
        sa.Column("target", sa.Text, nullable=False),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("failing_since", sa.BigInteger, nullable=False),
        sa.Column("disabled_at", sa.BigInteger, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
    )
    _partial("alert_events_waiting", "alert_events", ["partition", "position"], "judge_at IS NOT NULL")
    op.create_index("alert_events_of_monitor", "alert_events", ["user_id", "monitor_id", "at"])
    op.create_index("alert_events_by_taken_at", "alert_events", ["taken_at"])
    _partial("incidents_settling", "incidents", ["settles_at"], "settles_at > 0")
    _partial("alert_groups_flushing", "alert_groups", ["flush_at"], "flush_at IS NOT NULL")
    op.create_index("alert_groups_of_user", "alert_groups", ["user_id"])
    op.create_index("alert_items_of_group", "alert_items", ["group_id", "seq"])
    _partial("deliveries_pending", "deliveries", ["due_at"], "state = 'pending'")
    _partial("deliveries_pending_by_lane", "deliveries", ["lane", "due_at"], "state = 'pending'")
    _partial("deliveries_sending", "deliveries", ["lease_until"], "state = 'sending'")
    op.create_index("deliveries_by_created_at", "deliveries", ["created_at"])
    op.create_index("deliveries_of_user", "deliveries", ["user_id", "created_at"])
    op.create_index("alert_channels_of_user", "alert_channels", ["user_id"])


def _partial(name: str, table: str, columns: list[str], where: str) -> None:
    op.create_index(name, table, columns, sqlite_where=sa.text(where), postgresql_where=sa.text(where))

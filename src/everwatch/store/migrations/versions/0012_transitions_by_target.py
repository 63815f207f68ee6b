"""An index of transitions by the host that was checked."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the index; transitions from before version 0010 name no target and are not in it."""
    which = sa.text("target <> ''")
    columns = ["target", "at", "user_id", "monitor_id", "to_state"]
    op.create_index("transitions_by_target", "transitions", columns, sqlite_where=which, postgresql_where=which)

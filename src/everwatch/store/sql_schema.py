"""The tables. Columns are named after the model's fields; JSON is kept as text, every instant as whole ms.

The primary key of ``results`` has ``scheduled_at`` in second place: it answers "the newest of this user" by itself,
and one index less that grows at random places makes inserting half as fast again. For the same reason the tables
are not WITHOUT ROWID in SQLite: inserting a million results took twice as long with it.

All in one file: it is compared as a whole with what the migrations make, and a reader looks here for each table.
"""

from typing import Any, ClassVar

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Dialect,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    TypeDecorator,
    false,
    text,
    true,
)
from sqlalchemy.types import TypeEngine

from everwatch.model import Status

metadata = MetaData()

# ids and what indexes are made of, in the order of code points everywhere: a locale's order costs PostgreSQL three
# times the comparisons, and lets no index find what begins with a text
Key = Text().with_variant(Text(collation="C"), "postgresql")

STATUS_CODES = {Status.SUCCESS: 1, Status.FAILURE: 2, Status.LATE: 3, Status.SKIPPED: 4}
"""What PostgreSQL stores for a status; a code is never given another meaning."""
_NO_STATUS = 0
FAILED = {
    "sqlite": f"status IN ('{Status.FAILURE}', '{Status.LATE}')",
    "postgresql": f"status IN ({STATUS_CODES[Status.FAILURE]}, {STATUS_CODES[Status.LATE]})",
}
"""The condition of results that failed, in the words of each kind of database."""


class StatusText(TypeDecorator[str]):
    """A ``model.Status`` as text: stored as such by SQLite, and as a smallint of ``STATUS_CODES`` by PostgreSQL."""

    impl = Text
    cache_ok = True
    _texts: ClassVar[dict[int, str]] = {code: status.value for status, code in STATUS_CODES.items()}

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return dialect.type_descriptor(SmallInteger() if dialect.name == "postgresql" else Text())

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        return STATUS_CODES.get(value, _NO_STATUS) if dialect.name == "postgresql" else value

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:
        return self._texts[value] if dialect.name == "postgresql" else value


# what rows of an older schema get in a column that came later
_NONE = text("0")

users = Table(
    "users",
    metadata,
    Column("user_id", Key, primary_key=True),
    Column("plan", Key, nullable=False),
    Column("attributes", Text, nullable=False),
    Column("registered_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Column("partition", Integer, nullable=False),
    Column("monitor_ids", Text, nullable=False, server_default="[]"),
    Column("maintenance", Text, nullable=False, server_default="[]"),
    Index("users_by_plan", "plan", "user_id"),
    Index("users_by_updated", "updated_at", "user_id"),
)

monitors = Table(
    "monitors",
    metadata,
    Column("user_id", Key, primary_key=True),
    Column("monitor_id", Key, primary_key=True),
    Column("kind", Key, nullable=False),
    Column("config", Text, nullable=False),
    Column("schedule", Text, nullable=False),
    Column("policy", Text, nullable=False),
    Column("origin", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("since", BigInteger, nullable=False),
    Column("state", Key, nullable=False),
    Column("state_since", BigInteger, nullable=False),
    Column("reason", Text, nullable=False),
    Column("streak", Integer, nullable=False),
    Column("judged_at", BigInteger, nullable=False),
    Column("last_signal", BigInteger, nullable=False),
    Column("partition", Integer, nullable=False),
    Column("payload", Text, nullable=False, server_default=""),
    Column("start_at", BigInteger, nullable=False, server_default=_NONE),
    Column("end_at", BigInteger, nullable=False, server_default=_NONE),
    Column("max_runs", Integer, nullable=False, server_default=_NONE),
    Column("agenda", Text, nullable=False, server_default="{}"),
    # as in the agenda, for queries in SQL
    Column("retry_at", BigInteger, nullable=False, server_default=_NONE),
    Column("resume_at", BigInteger, nullable=False, server_default=_NONE),
    Column("signals", Text, nullable=False, server_default="{}"),
    Column("name", Text, nullable=False, server_default=""),
    # as text; each of them is a row of monitor_labels too
    Column("labels", Text, nullable=False, server_default="[]"),
    # of its user, whose record says it
    Column("plan", Key, nullable=False, server_default=""),
    # the host that its kind goes to, as the config says
    Column("target", Key, nullable=False, server_default=""),
    # when it was last put, changed, resumed or came into its state
    Column("changed_at", BigInteger, nullable=False, server_default=_NONE),
    # how the last run of one that is done ended
    Column("outcome", Text, nullable=False, server_default=""),
    # with the key behind, so that pages are read in order; see store.queries.monitors
    Index("monitors_by_class", "state", "kind", "plan", "user_id", "monitor_id"),
    Index("monitors_by_state_since", "state", "state_since", "user_id", "monitor_id"),
    Index("monitors_by_changed", "changed_at", "user_id", "monitor_id"),
    Index(
        "monitors_by_target",
        "target",
        "user_id",
        "monitor_id",
        sqlite_where=text("target <> ''"),
        postgresql_where=text("target <> ''"),
    ),
)

monitor_labels = Table(
    "monitor_labels",
    metadata,
    Column("user_id", Key, primary_key=True),
    Column("monitor_id", Key, primary_key=True),
    Column("key", Key, primary_key=True),
    Column("value", Key, nullable=False),
    Index("monitor_labels_by_key", "key", "value", "user_id", "monitor_id"),
)

# how many monitors there are of each state, kind and plan; for each partition, so that no two sinks write one row
monitor_counts = Table(
    "monitor_counts",
    metadata,
    Column("partition", Integer, primary_key=True, autoincrement=False),
    Column("state", Key, primary_key=True),
    Column("kind", Key, primary_key=True),
    Column("plan", Key, primary_key=True),
    Column("monitors", BigInteger, nullable=False),
)

# how many users there are of each plan
user_counts = Table(
    "user_counts",
    metadata,
    Column("partition", Integer, primary_key=True, autoincrement=False),
    Column("plan", Key, primary_key=True),
    Column("users", BigInteger, nullable=False),
)

# what monitors and users are found by: see store.search. The id is for SQLite's index of texts, which outlasts VACUUM
# only if it has one; apart from monitors, so that a change of state writes nothing here
_SearchId = BigInteger().with_variant(Integer, "sqlite")
monitor_search = Table(
    "monitor_search",
    metadata,
    Column("id", _SearchId, primary_key=True),
    Column("user_id", Key, nullable=False),
    Column("monitor_id", Key, nullable=False),
    Column("text", Key, nullable=False),
    Index("monitor_search_key", "user_id", "monitor_id", unique=True),
)
user_search = Table(
    "user_search",
    metadata,
    Column("id", _SearchId, primary_key=True),
    Column("user_id", Key, nullable=False),
    Column("text", Key, nullable=False),
    Index("user_search_key", "user_id", unique=True),
)

# one row for each stretch in which a monitor was active under one spec; until is NULL while it lasts
monitor_history = Table(
    "monitor_history",
    metadata,
    Column("user_id", Key, primary_key=True),
    Column("monitor_id", Key, primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("since", BigInteger, primary_key=True, autoincrement=False),
    Column("until", BigInteger, nullable=True),
    Column("kind", Key, nullable=False),
    Column("schedule", Text, nullable=False),
    Column("policy", Text, nullable=False),
    Column("misfire", Text, nullable=False),
    Column("misfire_grace_ms", BigInteger, nullable=False),
    Column("start_at", BigInteger, nullable=False, server_default=_NONE),
    Column("end_at", BigInteger, nullable=False, server_default=_NONE),
    Column("max_runs", Integer, nullable=False, server_default=_NONE),
    Column("runs", Integer, nullable=False, server_default=_NONE),
    Column("ends_at", BigInteger, nullable=False, server_default=_NONE),
    # for retention: what has ended, the earliest first
    Index(
        "monitor_history_ended",
        "until",
        sqlite_where=text("until IS NOT NULL"),
        postgresql_where=text("until IS NOT NULL"),
    ),
)

# one row for each earlier version of a monitor's spec, as the monitor's row had it
former_specs = Table(
    "former_specs",
    metadata,
    Column("user_id", Key, primary_key=True),
    Column("monitor_id", Key, primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("kind", Key, nullable=False),
    Column("config", Text, nullable=False),
    Column("schedule", Text, nullable=False),
    Column("policy", Text, nullable=False),
    Column("origin", Text, nullable=False),
    Column("payload", Text, nullable=False),
    Column("start_at", BigInteger, nullable=False),
    Column("end_at", BigInteger, nullable=False),
    Column("max_runs", Integer, nullable=False),
    Column("name", Text, nullable=False),
    Column("labels", Text, nullable=False),
    Column("replaced_at", BigInteger, nullable=False),
    # for retention
    Index("former_specs_by_age", "replaced_at"),
)

# one row for each delayed task there ever was under its name, from the changelog; that one is running is not
# stored, but follows from the instant at which the question is asked
tasks = Table(
    "tasks",
    metadata,
    Column("user_id", Key, primary_key=True),
    Column("monitor_id", Key, primary_key=True),
    Column("kind", Key, nullable=False),
    Column("due_at", BigInteger, nullable=False),
    Column("status", Key, nullable=False),
    Column("paused", Boolean, nullable=False),
    Column("reason", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("ended_at", BigInteger, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("version", Integer, nullable=False),
    Column("partition", Integer, nullable=False),
    # how the run ended that ended it
    Column("outcome", Text, nullable=False, server_default=""),
    # in the order of lists, with all that counting needs
    Index("tasks_by_status", "status", "due_at", "user_id", "monitor_id", "paused"),
    Index("tasks_by_user", "user_id", "status", "due_at", "monitor_id"),
    # for retention
    Index("tasks_ended", "ended_at", sqlite_where=text("ended_at > 0"), postgresql_where=text("ended_at > 0")),
)

results = Table(
    "results",
    metadata,
    Column("user_id", Key, primary_key=True),
    Column("scheduled_at", BigInteger, primary_key=True, autoincrement=False),
    Column("monitor_id", Key, primary_key=True),
    Column("attempt", Integer, primary_key=True, autoincrement=False),
    Column("region", Key, primary_key=True, server_default=""),
    Column("kind", Key, nullable=False),
    Column("version", Integer, nullable=False),
    Column("status", StatusText, nullable=False),
    Column("reason", Text, nullable=False),
    Column("started_at", BigInteger, nullable=False),
    Column("duration_ms", Float, nullable=False),
    Column("timings", Text, nullable=False),
    Column("executor", Text, nullable=False),
    Column("skipped_until", BigInteger, nullable=False),
    Column("skipped_count", BigInteger, nullable=False),
    Column("stored_at", BigInteger, nullable=False),
    Column("deliveries", Integer, nullable=False),
    Column("manual", Boolean, nullable=False, server_default=false()),
    Column("detail", Text, nullable=False, server_default=""),
    Index("results_by_scheduled_at", "scheduled_at"),
    # failures of all users, the newest first; a query repeats the condition
    Index(
        "results_failed",
        "scheduled_at",
        "user_id",
        "monitor_id",
        "attempt",
        "region",
        sqlite_where=text(FAILED["sqlite"]),
        postgresql_where=text(FAILED["postgresql"]),
    ),
    # and of one user, whose failures may lie thousands of successes apart
    Index(
        "results_failed_of_user",
        "user_id",
        "scheduled_at",
        "monitor_id",
        "attempt",
        "region",
        sqlite_where=text(FAILED["sqlite"]),
        postgresql_where=text(FAILED["postgresql"]),
    ),
    # skipped results are few; an audit must find those that reach into its interval
    Index(
        "results_skipped",
        "skipped_until",
        sqlite_where=text("skipped_until > 0"),
        postgresql_where=text("skipped_until > 0"),
    ),
    # PostgreSQL: a partition for each day, see store.day_partitions
    postgresql_partition_by="RANGE (scheduled_at)",
)


def _rollups(name: str) -> Table:
    """A table of roll-ups; see ``store.rollups``. Behind the key, the columns in the order of ``Rollup``."""
    return Table(
        name,
        metadata,
        Column("user_id", Key, primary_key=True),
        Column("monitor_id", Key, primary_key=True),
        Column("at", BigInteger, primary_key=True, autoincrement=False),
        Column("successes", BigInteger, nullable=False),
        Column("failures", BigInteger, nullable=False),
        Column("lates", BigInteger, nullable=False),
        Column("skips", BigInteger, nullable=False),
        Column("duration_us", BigInteger, nullable=False),
        Column("durations", Text, nullable=False),
        # for retention, whose bites are some monitors of an instant, and for rebuilding
        Index(f"{name}_by_at", "at", "user_id", "monitor_id"),
        # PostgreSQL: room for the next version of a row on its own page, so that no index has to follow it there
        postgresql_with={"fillfactor": 60},
    )


# one row for each monitor and hour in which it had results; the hours of a day become one row of that day later
hourly_rollups = _rollups("hourly_rollups")
daily_rollups = _rollups("daily_rollups")

# what large batches add to roll-ups of hours, until it is folded into them: see store.rollup_journal
rollup_journal = Table(
    "rollup_journal",
    metadata,
    Column("bucket", Integer, nullable=False),
    Column("additions", LargeBinary, nullable=False),
    Index("rollup_journal_by_bucket", "bucket"),
)

transitions = Table(
    "transitions",
    metadata,
    Column("user_id", Key, primary_key=True),
    Column("monitor_id", Key, primary_key=True),
    Column("at", BigInteger, primary_key=True, autoincrement=False),
    Column("to_state", Key, primary_key=True),
    Column("from_state", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("alert", Boolean, nullable=False, server_default=true()),
    Column("reminder", Boolean, nullable=False, server_default=false()),
    Column("kind", Key, nullable=False, server_default=""),
    Column("target", Key, nullable=False, server_default=""),
    Column("plan", Key, nullable=False, server_default=""),
    Column("labels", Text, nullable=False, server_default="{}"),
    Column("lasted_ms", BigInteger, nullable=False, server_default=_NONE),
    # how the last run of one that is done ended
    Column("outcome", Text, nullable=False, server_default=""),
    Index("transitions_by_at", "at", "user_id", "monitor_id", "to_state"),
    Index("transitions_by_user", "user_id", "at", "monitor_id", "to_state"),
    # a query repeats the condition
    Index(
        "transitions_by_target",
        "target",
        "at",
        "user_id",
        "monitor_id",
        "to_state",
        sqlite_where=text("target <> ''"),
        postgresql_where=text("target <> ''"),
    ),
)

# what was refused; its identity has the instant too, since the topic may be made anew
dead_letters = Table(
    "dead_letters",
    metadata,
    Column("partition", Integer, primary_key=True, autoincrement=False),
    Column("letter_offset", BigInteger, primary_key=True, autoincrement=False),
    Column("refused_at", BigInteger, primary_key=True, autoincrement=False),
    Column("reason", Text, nullable=False),
    Column("alike", Key, nullable=False),
    Column("path", Text, nullable=False),
    Column("code", Key, nullable=False),
    Column("refused_by", Text, nullable=False),
    Column("source_topic", Key, nullable=False),
    Column("source_partition", Integer, nullable=False),
    Column("source_offset", BigInteger, nullable=False),
    Column("source_ms", BigInteger, nullable=False),
    Column("user_id", Key, nullable=False),
    Column("key", Text, nullable=False),
    Column("encoding", Text, nullable=False),
    Column("value", Text, nullable=False),
    Column("problem", Text, nullable=False),
    Column("cut", Text, nullable=False),
    Column("redriven_at", BigInteger, nullable=False),
    Column("redriven_to", Text, nullable=False),
    # in the order of lists, with all that counting needs
    Index("dead_letters_by_refused", "refused_at", "partition", "letter_offset", "source_topic", "code", "alike"),
    Index("dead_letters_by_user", "user_id", "refused_at", "partition", "letter_offset"),
    Index("dead_letters_by_source", "source_topic", "refused_at", "partition", "letter_offset"),
    Index("dead_letters_by_code", "code", "refused_at", "partition", "letter_offset"),
    Index("dead_letters_by_alike", "alike", "refused_at", "partition", "letter_offset"),
)

# what became of inputs with an id: asked is command, signup or signal
replies = Table(
    "replies",
    metadata,
    Column("user_id", Key, primary_key=True),
    Column("asked_id", Key, primary_key=True),
    Column("asked", Key, primary_key=True),
    Column("at", BigInteger, primary_key=True, autoincrement=False),
    Column("answer", Key, primary_key=True),
    Column("monitor_id", Key, nullable=False),
    Column("command", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("path", Text, nullable=False),
    Column("code", Text, nullable=False),
    Column("version", Integer, nullable=False),
    # of the monitors changelog
    Column("partition", Integer, nullable=False),
    Column("log_offset", BigInteger, nullable=False),
    Index("replies_by_user", "user_id", "at", "asked_id", "asked", "answer"),
    # for retention
    Index("replies_by_at", "at"),
)

# who changed what over HTTP
audit_log = Table(
    "audit_log",
    metadata,
    Column("entry_id", Key, primary_key=True),
    Column("at", BigInteger, nullable=False),
    Column("token_id", Key, nullable=False),
    Column("token_name", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("address", Text, nullable=False),
    Column("forwarded_for", Text, nullable=False),
    Column("route", Text, nullable=False),
    Column("command", Text, nullable=False),
    Column("user_id", Key, nullable=False),
    Column("monitor_id", Key, nullable=False),
    Column("status", Integer, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("command_id", Text, nullable=False),
    Column("request_id", Text, nullable=False),
    # JSON: which fields of a spec, before and after
    Column("change", Text, nullable=False, server_default=""),
    # in the order of lists, and for retention
    Index("audit_log_by_at", "at", "entry_id"),
    Index("audit_log_by_user", "user_id", "at", "entry_id"),
    Index("audit_log_by_monitor", "user_id", "monitor_id", "at", "entry_id"),
    Index("audit_log_by_token", "token_id", "at", "entry_id"),
)

sink_offsets = Table(
    "sink_offsets",
    metadata,
    Column("topic", Key, primary_key=True),
    Column("partition", Integer, primary_key=True, autoincrement=False),
    Column("next_offset", BigInteger, nullable=False),
)

# facts about the database itself: begun_at, ms, when its first batch was stored; results_from, ms, from when on no
# result was deleted; rollups_from, ms, from when on roll-ups count
database_facts = Table(
    "database_facts",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", BigInteger, nullable=False),
)

# users that were purged, by a hash of their id; what was theirs until ended_at is not stored again while topics hold it
purged_users = Table(
    "purged_users",
    metadata,
    Column("user_hash", Text, primary_key=True),
    Column("ended_at", BigInteger, nullable=False),
    Column("kept_until", BigInteger, nullable=False),
)

# purges by a hash of user and command; user_id is "" once it is over, deleted (rows by table) and outcome are JSON
purges = Table(
    "purges",
    metadata,
    Column("purge_key", Text, primary_key=True),
    Column("user_id", Text, nullable=False),
    Column("ended_at", BigInteger, nullable=False),
    # of the changelog: where the user's deletion stands, and an offset behind it
    Column("partition", Integer, nullable=False),
    Column("deletion", BigInteger, nullable=False),
    Column("was_watched", Boolean, nullable=False),
    Column("deleted", Text, nullable=False),
    # ms; 0: not yet
    Column("over_at", BigInteger, nullable=False),
    Column("outcome", Text, nullable=False),
    Index("purges_by_over_at", "over_at"),
)

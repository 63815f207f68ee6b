"""The notifier's tables. JSON is kept as text, every instant as whole ms.

They are a schema of their own, with a revision of its own: in PostgreSQL they lie beside the sink's tables, with SQLite
in a file beside the sink's.
"""

from sqlalchemy import BigInteger, Column, Index, Integer, MetaData, Table, Text, text

from everwatch.store.sql_schema import Key

metadata = MetaData()

_WAITING = text("judge_at IS NOT NULL")
_SETTLING = text("settles_at > 0")
_FLUSHING = text("flush_at IS NOT NULL")
_PENDING = text("state = 'pending'")
_SNOOZED = text("snoozed_until > 0")
_SENDING = text("state = 'sending'")
# SQLite counts up an INTEGER primary key alone
_Counted = BigInteger().with_variant(Integer, "sqlite")

notifier_offsets = Table(
    "notifier_offsets",
    metadata,
    Column("topic", Key, primary_key=True),
    Column("partition", Integer, primary_key=True, autoincrement=False),
    Column("next_offset", BigInteger, nullable=False),
)

# begun_at: ms, when the notifier was first started; what happened before raises no alert
notifier_facts = Table(
    "notifier_facts",
    metadata,
    Column("name", Key, primary_key=True),
    Column("value", BigInteger, nullable=False),
)

# what routes need of a user, from the changelog of the table of monitors
notifier_users = Table(
    "notifier_users",
    metadata,
    Column("user_id", Key, primary_key=True),
    Column("plan", Key, nullable=False),
    Column("attributes", Text, nullable=False),
)

# transitions that concern people; judge_at: when one is judged, NULL once it is. verdict: what became of it
alert_events = Table(
    "alert_events",
    metadata,
    Column("event_id", Key, primary_key=True),
    Column("partition", Integer, nullable=False),
    Column("position", BigInteger, nullable=False),
    Column("user_id", Key, nullable=False),
    Column("monitor_id", Key, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("taken_at", BigInteger, nullable=False),
    Column("judge_at", BigInteger, nullable=True),
    Column("verdict", Text, nullable=False),
    Column("document", Text, nullable=False),
    Index("alert_events_waiting", "partition", "position", sqlite_where=_WAITING, postgresql_where=_WAITING),
    Index("alert_events_of_monitor", "user_id", "monitor_id", "at"),
    Index("alert_events_by_taken_at", "taken_at"),
)

# the newest incident of each monitor; document: the whole of it
incidents = Table(
    "incidents",
    metadata,
    Column("user_id", Key, primary_key=True),
    Column("monitor_id", Key, primary_key=True),
    Column("partition", Integer, nullable=False),
    Column("phase", Key, nullable=False),
    Column("settles_at", BigInteger, nullable=False),
    Column("document", Text, nullable=False),
    Column("incident_id", Key, nullable=False, server_default=""),
    Index("incidents_by_id", "incident_id"),
    Index("incidents_settling", "settles_at", sqlite_where=_SETTLING, postgresql_where=_SETTLING),
)

# alerts that are sent together; flush_at: when, NULL while none waits. open_delivery: the id of the last message
alert_groups = Table(
    "alert_groups",
    metadata,
    Column("group_id", Key, primary_key=True),
    Column("route", Key, nullable=False),
    Column("user_id", Key, nullable=False),
    Column("flush_at", BigInteger, nullable=True),
    Column("flushed_at", BigInteger, nullable=False),
    Column("open_delivery", Key, nullable=False),
    Index("alert_groups_flushing", "flush_at", sqlite_where=_FLUSHING, postgresql_where=_FLUSHING),
    Index("alert_groups_of_user", "user_id"),
)

alert_items = Table(
    "alert_items",
    metadata,
    Column("seq", _Counted, primary_key=True, autoincrement=True),
    Column("group_id", Key, nullable=False),
    Column("item_id", Key, nullable=False),
    Column("document", Text, nullable=False),
    Index("alert_items_of_group", "group_id", "seq"),
)

# one row for each message to one receiver. lane: the receiver's server, which limits and circuits apply to
deliveries = Table(
    "deliveries",
    metadata,
    Column("delivery_id", Key, primary_key=True),
    Column("group_id", Key, nullable=False),
    Column("route", Key, nullable=False),
    Column("user_id", Key, nullable=False),
    Column("sender", Key, nullable=False),
    Column("lane", Key, nullable=False),
    Column("target", Text, nullable=False),
    Column("state", Key, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("doubts", Integer, nullable=False),
    Column("due_at", BigInteger, nullable=False),
    Column("lease_until", BigInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("settled_at", BigInteger, nullable=False),
    Column("reason", Text, nullable=False),
    Column("payload", Text, nullable=False),
    Index("deliveries_pending", "due_at", sqlite_where=_PENDING, postgresql_where=_PENDING),
    Index("deliveries_pending_by_lane", "lane", "due_at", sqlite_where=_PENDING, postgresql_where=_PENDING),
    Index("deliveries_sending", "lease_until", sqlite_where=_SENDING, postgresql_where=_SENDING),
    Index("deliveries_by_created_at", "created_at"),
    Index("deliveries_of_user", "user_id", "created_at"),
)

# outcomes of messages that are not on the topic notifications yet. taken_until: a notifier has it. record_key: the
# user or a route, which may have the name of a user
unpublished_outcomes = Table(
    "unpublished_outcomes",
    metadata,
    Column("seq", _Counted, primary_key=True, autoincrement=True),
    Column("at", BigInteger, nullable=False),
    Column("taken_until", BigInteger, nullable=False),
    Column("user_id", Key, nullable=False),
    Column("record_key", Key, nullable=False),
    Column("document", Text, nullable=False),
)

# text messages of a day (since 1970, UTC) by receiver, "" for all users
text_counts = Table(
    "text_counts",
    metadata,
    Column("day", BigInteger, primary_key=True, autoincrement=False),
    Column("receiver", Key, primary_key=True),
    Column("messages", BigInteger, nullable=False),
)

# addresses at which sending failed; disabled_at: when the address was given up, 0 while it is not
alert_channels = Table(
    "alert_channels",
    metadata,
    Column("channel_id", Key, primary_key=True),
    Column("route", Key, nullable=False),
    Column("user_id", Key, nullable=False),
    Column("target", Text, nullable=False),
    Column("failures", Integer, nullable=False),
    Column("failing_since", BigInteger, nullable=False),
    Column("disabled_at", BigInteger, nullable=False),
    Column("reason", Text, nullable=False),
    Index("alert_channels_of_user", "user_id"),
)

# incidents of many monitors, by what they are about ("target:HOST"). failing: how many monitors fail there now
shared_incidents = Table(
    "shared_incidents",
    metadata,
    Column("subject", Key, primary_key=True),
    Column("failing", BigInteger, nullable=False),
    Column("changed_at", BigInteger, nullable=False),
    Column("document", Text, nullable=False),
)

# acknowledged incidents. snoozed_until: no alerts before then, 0 if it is not snoozed
alert_acks = Table(
    "alert_acks",
    metadata,
    Column("incident_id", Key, primary_key=True),
    Column("user_id", Key, nullable=False),
    Column("monitor_id", Key, nullable=False),
    Column("acked_at", BigInteger, nullable=False),
    Column("acked_by", Text, nullable=False),
    Column("snoozed_until", BigInteger, nullable=False),
    Index("alert_acks_snoozed", "snoozed_until", sqlite_where=_SNOOZED, postgresql_where=_SNOOZED),
    Index("alert_acks_of_user", "user_id"),
)

# what people wrote on incidents
alert_comments = Table(
    "alert_comments",
    metadata,
    Column("comment_id", Key, primary_key=True),
    Column("incident_id", Key, nullable=False),
    Column("user_id", Key, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("by", Text, nullable=False),
    Column("text", Text, nullable=False),
    Index("alert_comments_of_incident", "incident_id", "at"),
    Index("alert_comments_of_user", "user_id"),
)

# links: what signs links in messages, in hexadecimal
notifier_secrets = Table(
    "notifier_secrets",
    metadata,
    Column("name", Key, primary_key=True),
    Column("secret", Text, nullable=False),
)

# mail addresses of users that are to be verified. code: what confirms one, "" once it is; shown: as people may see it
alert_contacts = Table(
    "alert_contacts",
    metadata,
    Column("contact_id", Key, primary_key=True),
    Column("user_id", Key, nullable=False),
    Column("shown", Text, nullable=False),
    Column("code", Text, nullable=False),
    Column("asked_at", BigInteger, nullable=False),
    Column("verified_at", BigInteger, nullable=False),
    Index("alert_contacts_of_user", "user_id"),
)

# silences that are on or ahead. user_id: the one user that its selector names, "" for none; document: the whole of it
alert_silences = Table(
    "alert_silences",
    metadata,
    Column("silence_id", Key, primary_key=True),
    Column("user_id", Key, nullable=False),
    Column("ends_at", BigInteger, nullable=False),
    Column("document", Text, nullable=False),
    Index("alert_silences_by_end", "ends_at"),
    Index("alert_silences_of_user", "user_id"),
)

# addresses that asked for news of operators' status pages. confirmed_at: 0 while it is not confirmed, -1 if
# its owner wants no mail
status_subscribers = Table(
    "status_subscribers",
    metadata,
    Column("subscriber_id", Key, primary_key=True),
    Column("slug", Key, nullable=False),
    Column("email", Text, nullable=False),
    Column("unsubscribe", Text, nullable=False),
    Column("asked_at", BigInteger, nullable=False),
    Column("confirmed_at", BigInteger, nullable=False),
    Index("status_subscribers_of_page", "slug", "confirmed_at"),
)

# incidents whose beginning was sent to subscribers of a page, until their end is sent
status_announced = Table(
    "status_announced",
    metadata,
    Column("slug", Key, primary_key=True),
    Column("incident_id", Key, primary_key=True),
    Column("name", Text, nullable=False),
    Column("opened_at", BigInteger, nullable=False),
    Column("user_id", Text, nullable=False, server_default=""),
    Column("monitor_id", Text, nullable=False, server_default=""),
)

# routes of the rules that the notifier goes by, as the API lists them
notifier_routes = Table(
    "notifier_routes",
    metadata,
    Column("name", Key, primary_key=True),
    Column("place", BigInteger, nullable=False),
    Column("document", Text, nullable=False),
)

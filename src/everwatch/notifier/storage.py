"""Where the notifier keeps what it knows: transactions over its tables, in PostgreSQL or SQLite.

In PostgreSQL the tables lie in the sink's database. SQLite takes one writer at a time, and the sink writes all the
time; so there the notifier has a file of its own beside the sink's: neither waits for the other, and what must not be
lost in a power cut (an attempt that was made) is synced without slowing results down.
"""

from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import (
    Connection,
    Engine,
    Integer,
    and_,
    bindparam,
    delete,
    event,
    literal_column,
    select,
    tuple_,
    update,
)
from sqlalchemy.engine import URL

from everwatch.core.config import Settings
from everwatch.core.errors import StoreError
from everwatch.model import Scalar, Transition
from everwatch.notifier import alerts
from everwatch.notifier.incidents import Incident
from everwatch.notifier.tables import (
    alert_channels,
    alert_events,
    alert_groups,
    alert_items,
    deliveries,
    incidents,
    notifier_facts,
    notifier_offsets,
    notifier_users,
)
from everwatch.plans.placeholders import Given
from everwatch.store.bulk_statements import Bulk, Row, insert_into, storable, upsert
from everwatch.store.database import Schema, clear_errors, open_for_reading, open_for_writing, parse_url
from everwatch.store.partition import Partition
from everwatch.store.sqlite import READS_ONLY, file_of

SCHEMA = Schema(Path(__file__).parent / "migrations", "notifier_version", "notifier")
# SQLite takes 32,766 values in a statement
_MOST_KEYS = 5_000

# in a compiled statement every plain value would be a parameter
_SENDING: Any = literal_column("'sending'")
_ONE: Any = literal_column("1", Integer)

_event = alert_events.c
_incident = incidents.c
_group = alert_groups.c
_item = alert_items.c
_delivery = deliveries.c
_channel = alert_channels.c

_decode_transition = msgspec.json.Decoder(Transition).decode
_decode_incident = msgspec.json.Decoder(Incident).decode
_decode_attributes = msgspec.json.Decoder(dict[str, Scalar]).decode


class Event(NamedTuple):
    """A transition that was taken in and is to be judged."""

    event_id: str
    partition: int
    taken_at: int
    transition: Transition


class Group(NamedTuple):
    """Alerts that are told together, as ``tables.alert_groups``; ``flush_at`` 0: none waits."""

    group_id: str
    route: str
    user_id: str
    flush_at: int
    flushed_at: int
    open_delivery: str


class Item(NamedTuple):
    """An alert that waits in a group."""

    seq: int
    item_id: str
    alert: alerts.Alert


class Delivery(NamedTuple):
    """A message to one receiver, as ``tables.deliveries``."""

    delivery_id: str
    group_id: str
    route: str
    user_id: str
    sender: str
    lane: str
    target: str
    state: str
    attempt: int
    doubts: int
    due_at: int
    lease_until: int
    created_at: int
    settled_at: int
    reason: str
    message: alerts.Message


class Channel(NamedTuple):
    """An address at which sending failed, as ``tables.alert_channels``."""

    channel_id: str
    route: str
    user_id: str
    target: str
    failures: int
    failing_since: int
    disabled_at: int
    reason: str


def database_url_of(settings: Settings) -> str:
    """Return the URL of the notifier's database: the sink's, or a file beside it for SQLite. Raises StoreError."""
    url = parse_url(settings.database_url)
    if url.get_backend_name() == "sqlite":
        file = file_of(url)
        url = url.set(database=str(file.with_name(f"{file.stem}-notifier{file.suffix}")))
    return url.render_as_string(hide_password=False)


def open_storage(settings: Settings) -> "Storage":
    """The storage as the notifier, and a command that asks it for something, write it. Raises StoreError."""
    url = _named(parse_url(database_url_of(settings)))
    engine = open_for_writing(url.render_as_string(hide_password=False), SCHEMA)
    if engine.dialect.name == "sqlite":

        @event.listens_for(engine, "connect")
        def sync_each_commit(connection: Any, _record: object) -> None:
            # after a power cut an attempt that was made must still be known: some receivers cannot tell a second one
            connection.execute("PRAGMA synchronous = FULL")

        engine.dispose()
    return Storage(engine)


def open_existing(settings: Settings) -> "Storage":
    """The storage as commands read it. Raises StoreError while no notifier has made it."""
    url = parse_url(database_url_of(settings))
    if url.get_backend_name() == "sqlite" and not file_of(url).exists():
        raise StoreError(f"There is no database of the notifier at {file_of(url)} yet: it is made when one starts.")
    return Storage(open_for_reading(url.render_as_string(hide_password=False), SCHEMA))


class Storage:
    """Opens transactions. Safe to use from one thread at a time."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._statements = _Statements(engine)

    @contextmanager
    def begin(self) -> Iterator["Work"]:
        """A transaction that writes; committed at the end of the block. Raises Unstorable, StoreBusy or StoreError."""
        with clear_errors(self._engine.url), self._engine.begin() as connection:
            yield Work(connection, self._statements)

    @contextmanager
    def look(self) -> Iterator["Work"]:
        """A transaction that reads."""
        with clear_errors(self._engine.url), self._engine.execution_options(**READS_ONLY).begin() as connection:
            yield Work(connection, self._statements)

    def offsets(self) -> dict[Partition, int]:
        """Return the next offset of every partition."""
        with self.look() as work:
            return work.offsets()

    def forget_offsets(self, partitions: Iterable[Partition]) -> None:
        """Forget where reading of these partitions stood."""
        with self.begin() as work:
            work.forget_offsets(partitions)

    def close(self) -> None:
        """Let go of the database."""
        self._engine.dispose()


class Work:
    """What can be done within one transaction."""

    def __init__(self, connection: Connection, statements: "_Statements") -> None:
        self._connection = connection
        self._run = statements
        self._locks = connection.dialect.name == "postgresql"

    # --- intake -------------------------------------------------------------------------------------------------------

    def offsets(self) -> dict[Partition, int]:
        """Return the next offset of every partition."""
        rows = self._connection.execute(select(*notifier_offsets.c))
        return {Partition(topic, number): offset for topic, number, offset in rows if offset}

    def lock(self, partitions: Collection[Partition]) -> dict[Partition, int]:
        """Return the next offsets of these partitions (0 for new ones), which no other notifier works on until the
        commit. In one order, so that no two wait for each other."""
        wanted = sorted(partitions)
        self._run.seed_offsets.run(self._connection, [(*each, 0) for each in wanted])
        table = notifier_offsets.c
        rows = self._connection.execute(
            select(*table)
            .where(tuple_(table.topic, table.partition).in_(wanted))
            .order_by(table.topic, table.partition)
            .with_for_update()
        )
        return {Partition(topic, number): offset for topic, number, offset in rows}

    def put_offsets(self, offsets: Iterable[tuple[Partition, int]]) -> None:
        """Store the next offsets."""
        self._run.offsets.run(self._connection, [(*partition, offset) for partition, offset in sorted(offsets)])

    def forget_offsets(self, partitions: Iterable[Partition]) -> None:
        """Forget where reading of these partitions stood."""
        for topic, number in partitions:
            self._connection.execute(
                delete(notifier_offsets).where(
                    and_(notifier_offsets.c.topic == topic, notifier_offsets.c.partition == number)
                )
            )

    def begun_at(self, now: int) -> int:
        """Return when the notifier was first started: ``now`` if that was not before."""
        self._run.seed_facts.run(self._connection, [("begun_at", now)])
        fact = notifier_facts.c
        return int(self._connection.execute(select(fact.value).where(fact.name == "begun_at")).scalar_one())

    def put_users(self, users: Iterable[tuple[str, str, str]]) -> None:
        """Store users: id, plan and attributes as JSON."""
        rows = [tuple(map(storable, row)) for row in users]
        self._run.users.run(self._connection, rows)
        # events that wait for their user are due now: a later one must not be judged before them
        for some in _chunks([user_id for user_id, *_ in rows]):
            waits = _event.user_id.in_(some) & (_event.judge_at > _event.taken_at)
            self._connection.execute(update(alert_events).where(waits).values(judge_at=_event.taken_at))

    def delete_users(self, user_ids: Collection[str]) -> None:
        """Delete users and what was to be sent to them; their incidents end with their monitors."""
        for some in _chunks(user_ids):
            groups = select(_group.group_id).where(_group.user_id.in_(some))
            self._connection.execute(delete(alert_items).where(_item.group_id.in_(groups)))
            for table in (alert_groups, deliveries, alert_channels, notifier_users):
                self._connection.execute(delete(table).where(table.c.user_id.in_(some)))
            # what is not judged yet ends incidents that operators' receivers have open
            judged = _event.user_id.in_(some) & _event.judge_at.is_(None)
            self._connection.execute(delete(alert_events).where(judged))

    def delete_monitors(self, keys: Collection[tuple[str, str]]) -> None:
        """Forget monitors that are no more: their incidents, and their events that are judged."""
        for some in _chunks(keys):
            self._connection.execute(delete(incidents).where(tuple_(_incident.user_id, _incident.monitor_id).in_(some)))
            judged = tuple_(_event.user_id, _event.monitor_id).in_(some) & _event.judge_at.is_(None)
            self._connection.execute(delete(alert_events).where(judged))

    def put_events(self, rows: list[Row]) -> None:
        """Take in events, as rows of ``alert_events``; one that is there already stays as it is."""
        self._run.events.run(self._connection, rows)

    # --- judging ------------------------------------------------------------------------------------------------------

    def events_to_judge(self, partitions: Collection[int], now: int, most: int) -> list[Event]:
        """Return the oldest events of these partitions that are due to be judged, in the order of their topic."""
        rows = self._connection.execute(
            select(_event.event_id, _event.partition, _event.taken_at, _event.document)
            .where(_event.judge_at.is_not(None), _event.judge_at <= now, _event.partition.in_(partitions))
            .order_by(_event.partition, _event.position)
            .limit(most)
        )
        return [Event(id_, number, taken_at, _decode_transition(text)) for id_, number, taken_at, text in rows]

    def pass_over_event(self, partitions: Collection[int], now: int, verdict: str) -> None:
        """Give the oldest event up that is due to be judged, without reading what it says."""
        oldest = (
            select(_event.event_id)
            .where(_event.judge_at.is_not(None), _event.judge_at <= now, _event.partition.in_(partitions))
            .order_by(_event.partition, _event.position)
            .limit(1)
        )
        self.put_verdicts([(id_, None, verdict) for id_ in self._connection.execute(oldest).scalars()])

    def put_verdicts(self, verdicts: list[tuple[str, int | None, str]]) -> None:
        """Store what became of events: id, when to judge it again (None: it is judged), and a word on it."""
        self._run.verdicts.run(self._connection, [(again, text, id_) for id_, again, text in verdicts])

    def users(self, user_ids: Collection[str]) -> dict[str, Given]:
        """Return those of these users that are known."""
        table = notifier_users.c
        found: dict[str, Given] = {}
        for some in _chunks(user_ids):
            for user_id, plan, text in self._connection.execute(select(*table).where(table.user_id.in_(some))):
                found[user_id] = Given(user_id, plan, _decode_attributes(text))
        return found

    def incidents(self, keys: Collection[tuple[str, str]]) -> dict[tuple[str, str], Incident]:
        """Return the newest incidents of these monitors."""
        found: dict[tuple[str, str], Incident] = {}
        for some in _chunks(keys):
            where = tuple_(_incident.user_id, _incident.monitor_id).in_(some)
            for (text,) in self._connection.execute(select(_incident.document).where(where)):
                incident = _decode_incident(text)
                found[incident.user_id, incident.monitor_id] = incident
        return found

    def incidents_to_settle(self, partitions: Collection[int], now: int, most: int) -> list[tuple[int, Incident]]:
        """Return incidents that have flapped until ``now``, with their partitions."""
        rows = self._connection.execute(
            select(_incident.partition, _incident.document)
            .where(_incident.settles_at > 0, _incident.settles_at <= now, _incident.partition.in_(partitions))
            .order_by(_incident.settles_at)
            .limit(most)
        )
        return [(number, _decode_incident(text)) for number, text in rows]

    def open_incidents(self, user_id: str = "", most: int = 1_000) -> list[Incident]:
        """Return the incidents that are not closed, of a user or of all."""
        statement = select(_incident.document).where(_incident.phase != "closed")
        if user_id:
            statement = statement.where(_incident.user_id == user_id)
        rows = self._connection.execute(statement.order_by(_incident.user_id, _incident.monitor_id).limit(most))
        return [_decode_incident(text) for (text,) in rows]

    def put_incidents(self, changed: Iterable[tuple[int, Incident]]) -> None:
        """Store incidents with their partitions."""
        rows: list[Row] = [
            (i.user_id, i.monitor_id, number, i.phase.value, i.settles_at, _text(i)) for number, i in changed
        ]
        self._run.incidents.run(self._connection, rows)

    # --- groups -------------------------------------------------------------------------------------------------------

    def groups(self, group_ids: Collection[str]) -> dict[str, Group]:
        """Return these groups, locked; in one order, so that no two notifiers wait for each other."""
        found: dict[str, Group] = {}
        for some in _chunks(sorted(group_ids)):
            statement = select(*_group).where(_group.group_id.in_(some)).order_by(_group.group_id).with_for_update()
            for row in self._connection.execute(statement):
                group = _group_of(row)
                found[group.group_id] = group
        return found

    def groups_to_flush(self, now: int, most: int) -> list[Group]:
        """Return groups whose time to tell has come, locked; those that another notifier works on are left out."""
        rows = self._connection.execute(
            select(*_group)
            .where(_group.flush_at.is_not(None), _group.flush_at <= now)
            .order_by(_group.flush_at)
            .limit(most)
            .with_for_update(skip_locked=True)
        )
        return [_group_of(row) for row in rows]

    def put_groups(self, groups: Iterable[Group]) -> None:
        """Store groups."""
        rows: list[Row] = [
            (g.group_id, g.route, g.user_id, g.flush_at or None, g.flushed_at, g.open_delivery) for g in sorted(groups)
        ]
        self._run.groups.run(self._connection, rows)

    def put_items(self, items: Iterable[tuple[str, str, alerts.Alert]]) -> None:
        """Add alerts to groups: the group's id, the item's and the alert."""
        self._run.items.run(self._connection, [(group, item, _text(alert)) for group, item, alert in items])

    def items(self, group_ids: Collection[str]) -> Iterator[tuple[str, Item]]:
        """Yield what waits in these groups, with the group's id, in the order in which it came."""
        for some in _chunks(group_ids):
            statement = select(_item.group_id, _item.seq, _item.item_id, _item.document)
            for group_id, seq, item_id, text in self._connection.execute(
                statement.where(_item.group_id.in_(some)).order_by(_item.group_id, _item.seq)
            ):
                yield group_id, Item(seq, item_id, alerts.decode_alert(text))

    def empty_groups(self, group_ids: Collection[str]) -> None:
        """Delete all that waits in these groups."""
        for some in _chunks(group_ids):
            self._connection.execute(delete(alert_items).where(_item.group_id.in_(some)))

    def delete_items(self, upto: Iterable[tuple[str, int]]) -> None:
        """Delete the items of groups up to a number."""
        self._run.delete_items.run(self._connection, list(upto))

    # --- deliveries ---------------------------------------------------------------------------------------------------

    def put_deliveries(self, new: Iterable[Delivery]) -> None:
        """Store messages; one that is there already stays as it is."""
        rows: list[Row] = [(*map(storable, each[:-1]), alerts.encode(each.message).decode()) for each in new]
        self._run.deliveries.run(self._connection, rows)

    def deliveries(self, delivery_ids: Collection[str]) -> dict[str, Delivery]:
        """Return these messages."""
        found: dict[str, Delivery] = {}
        for some in _chunks(delivery_ids):
            for row in self._connection.execute(select(*_delivery).where(_delivery.delivery_id.in_(some))):
                found[row[0]] = _delivery_of(row)
        return found

    def supersede(self, delivery_id: str, now: int, reason: str) -> bool:
        """Give a message up that waits for its next attempt; False if it is being sent, or settled."""
        done = self._connection.execute(
            update(deliveries)
            .where(_delivery.delivery_id == delivery_id, _delivery.state == "pending")
            .values(state="superseded", settled_at=now, reason=reason)
        )
        return done.rowcount == 1

    def due_deliveries(self, now: int, most: int, closed_lanes: Collection[str]) -> list[Delivery]:
        """Return messages that are due, the longest due first, but those to lanes that take none now."""
        statement = select(*_delivery).where(_delivery.state == "pending", _delivery.due_at <= now)
        if closed_lanes:
            statement = statement.where(_delivery.lane.not_in(closed_lanes))
        rows = self._connection.execute(
            statement.order_by(_delivery.due_at).limit(most).with_for_update(skip_locked=True)
        )
        return [_delivery_of(row) for row in rows]

    def claim(self, claimed: Iterable[str], lease_until: int) -> None:
        """Note that an attempt at these messages begins; committed before their first byte is sent."""
        self._run.claim.run(self._connection, [(lease_until, id_) for id_ in claimed])

    def settle(self, rows: Iterable[tuple[str, int, int, str, str]]) -> None:
        """Store outcomes of attempts: new state, when it is due again, when it was settled (0: not), reason, id."""
        self._run.settle.run(self._connection, [tuple(map(storable, row)) for row in rows])

    def in_doubt(self, now: int, *, everything: bool) -> list[Delivery]:
        """Return messages that were being sent when their notifier ended; ``everything``: no other one runs."""
        statement = select(*_delivery).where(_delivery.state == "sending")
        if not everything:
            statement = statement.where(_delivery.lease_until <= now)
        # what another notifier decides on at the same time is left to it
        rows = self._connection.execute(statement.limit(_MOST_KEYS).with_for_update(skip_locked=True))
        return [_delivery_of(row) for row in rows]

    def doubt(self, rows: Iterable[tuple[str, int, int, str, str]]) -> None:
        """Count a doubt and store what follows from it: state, due, settled, reason, id."""
        self._run.doubt.run(self._connection, list(rows))

    def postpone(self, lane: str, until: int) -> None:
        """Let no message to a lane be due before ``until``."""
        self._connection.execute(
            update(deliveries)
            .where(_delivery.state == "pending", _delivery.lane == lane, _delivery.due_at < until)
            .values(due_at=until)
        )

    def list_deliveries(self, user_id: str, state: str, route: str, since: int, most: int) -> list[Delivery]:
        """Return messages, the newest first; "" for any."""
        statement = select(*_delivery).where(_delivery.created_at >= since)
        for column, value in ((_delivery.user_id, user_id), (_delivery.state, state), (_delivery.route, route)):
            if value:
                statement = statement.where(column == value)
        rows = self._connection.execute(statement.order_by(_delivery.created_at.desc()).limit(most))
        return [_delivery_of(row) for row in rows]

    def verdicts(self, user_id: str, monitor_id: str, most: int) -> list[tuple[Transition, int, str]]:
        """Return the newest events of a monitor, with when they were taken in and what became of them."""
        rows = self._connection.execute(
            select(_event.document, _event.taken_at, _event.verdict)
            .where(_event.user_id == user_id, _event.monitor_id == monitor_id)
            .order_by(_event.at.desc())
            .limit(most)
        )
        return [(_decode_transition(text), taken_at, verdict) for text, taken_at, verdict in rows]

    # --- channels -----------------------------------------------------------------------------------------------------

    def channels(self, channel_ids: Collection[str]) -> dict[str, Channel]:
        """Return those of these channels at which sending has failed."""
        found: dict[str, Channel] = {}
        for some in _chunks(channel_ids):
            for row in self._connection.execute(select(*_channel).where(_channel.channel_id.in_(some))):
                found[row[0]] = Channel(*row)
        return found

    def list_channels(self, user_id: str = "") -> list[Channel]:
        """Return channels that are disabled, of a user or of all."""
        statement = select(*_channel).where(_channel.disabled_at > 0)
        if user_id:
            statement = statement.where(_channel.user_id == user_id)
        return [Channel(*row) for row in self._connection.execute(statement.limit(_MOST_KEYS))]

    def disabled_channels(self, user_ids: Collection[str]) -> set[str]:
        """Return the ids of channels of these users, and of operators, that are given up."""
        found: set[str] = set()
        for some in _chunks(["", *user_ids]):
            statement = select(_channel.channel_id).where(_channel.disabled_at > 0, _channel.user_id.in_(some))
            found.update(channel_id for (channel_id,) in self._connection.execute(statement))
        return found

    def put_channels(self, changed: Iterable[Channel]) -> None:
        """Store channels."""
        self._run.channels.run(self._connection, [tuple(map(storable, each)) for each in changed])

    def delete_channels(self, channel_ids: Collection[str]) -> None:
        """Forget the failures of channels."""
        for some in _chunks(channel_ids):
            self._connection.execute(delete(alert_channels).where(_channel.channel_id.in_(some)))

    # --- retention ----------------------------------------------------------------------------------------------------

    def trim(self, before: int, most: int) -> int:
        """Delete events and settled messages from before an instant; return how many."""
        old_events = select(_event.event_id).where(_event.taken_at < before, _event.judge_at.is_(None)).limit(most)
        old = select(_delivery.delivery_id).where(_delivery.created_at < before, _delivery.settled_at > 0).limit(most)
        return sum(
            self._connection.execute(statement).rowcount
            for statement in (
                delete(alert_events).where(_event.event_id.in_(old_events)),
                delete(deliveries).where(_delivery.delivery_id.in_(old)),
            )
        )


class _Statements:
    """Statements that are run with many rows, compiled once."""

    def __init__(self, engine: Engine) -> None:
        dialect = engine.dialect

        def new(table: Any, names: list[str] | None = None) -> Bulk:
            names = names or table.c.keys()
            insert = insert_into(table, dialect).values({name: bindparam(name) for name in names})
            return Bulk(insert.on_conflict_do_nothing(), names, dialect)

        self.offsets = upsert(notifier_offsets, dialect)
        self.seed_offsets = new(notifier_offsets)
        self.seed_facts = new(notifier_facts)
        self.users = upsert(notifier_users, dialect)
        self.events = new(alert_events)
        self.incidents = upsert(incidents, dialect)
        self.groups = upsert(alert_groups, dialect)
        self.items = Bulk(
            insert_into(alert_items, dialect).values(
                {name: bindparam(name) for name in ("group_id", "item_id", "document")}
            ),
            ["group_id", "item_id", "document"],
            dialect,
        )
        self.deliveries = new(deliveries)
        self.channels = upsert(alert_channels, dialect)
        self.verdicts = Bulk(
            update(alert_events)
            .where(_event.event_id == bindparam("b_id"))
            .values(judge_at=bindparam("b_at"), verdict=bindparam("b_verdict")),
            ["b_at", "b_verdict", "b_id"],
            dialect,
        )
        self.delete_items = Bulk(
            delete(alert_items).where(and_(_item.group_id == bindparam("b_group"), _item.seq <= bindparam("b_seq"))),
            ["b_group", "b_seq"],
            dialect,
        )
        self.claim = Bulk(
            update(deliveries)
            .where(_delivery.delivery_id == bindparam("b_id"))
            .values(state=_SENDING, attempt=_delivery.attempt + _ONE, lease_until=bindparam("b_until")),
            ["b_until", "b_id"],
            dialect,
        )
        outcome: dict[str, Any] = {
            "state": bindparam("b_state"),
            "due_at": bindparam("b_due"),
            "settled_at": bindparam("b_settled"),
            "reason": bindparam("b_reason"),
        }
        names = ["b_state", "b_due", "b_settled", "b_reason", "b_id"]
        this = and_(_delivery.delivery_id == bindparam("b_id"), _delivery.state == _SENDING)
        self.settle = Bulk(update(deliveries).where(this).values(**outcome), names, dialect)
        self.doubt = Bulk(
            update(deliveries).where(this).values(**outcome, doubts=_delivery.doubts + _ONE), names, dialect
        )


def _named(url: URL) -> URL:
    """The URL with the notifier's name for the server's list of sessions."""
    if url.get_backend_name() != "postgresql" or "application_name" in url.query:
        return url
    return url.update_query_dict({"application_name": "everwatch-notifier"})


def _group_of(row: Any) -> Group:
    group_id, route, user_id, flush_at, flushed_at, open_delivery = row
    return Group(group_id, route, user_id, flush_at or 0, flushed_at, open_delivery)


def _delivery_of(row: Any) -> Delivery:
    return Delivery._make((*row[:-1], alerts.decode_message(row[-1])))


def _text(value: Any) -> str:
    return alerts.encode(value).decode()


def _chunks(keys: Collection[Any]) -> Iterator[list[Any]]:
    every = list(keys)
    for start in range(0, len(every), _MOST_KEYS):
        yield every[start : start + _MOST_KEYS]

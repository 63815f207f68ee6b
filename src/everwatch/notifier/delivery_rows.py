"""Rows of messages and the addresses that they go to."""

from collections.abc import Collection, Iterable
from typing import Any, NamedTuple

from sqlalchemy import Dialect, Integer, and_, bindparam, delete, func, literal_column, select, tuple_, update

from everwatch.notifier import alerts
from everwatch.notifier.rows import MOST_KEYS, Rows, chunks, insert_once
from everwatch.notifier.tables import alert_acks, alert_channels, alert_comments, alert_events, deliveries
from everwatch.store.bulk_statements import Bulk, Row, storable, upsert

# in a compiled statement every plain value would be a parameter
_SENDING: Any = literal_column("'sending'")
_ONE: Any = literal_column("1", Integer)

IN_DOUBT = "in doubt: "
"""How the reason of a message begins of which a killed notifier was making an attempt."""

_event = alert_events.c
_delivery = deliveries.c
_channel = alert_channels.c
_ANY_CHANNEL = select(_channel.channel_id).limit(1)


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

    @property
    def is_in_doubt(self) -> bool:
        """Tell whether its last attempt may have come through, and none has been made since."""
        return self.state == "pending" and self.reason.startswith(IN_DOUBT)


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


class DeliveryStatements:
    """Statements of ``DeliveryRows`` that are run with many rows, compiled once."""

    def __init__(self, dialect: Dialect) -> None:
        self.deliveries = insert_once(deliveries, dialect)
        self.channels = upsert(alert_channels, dialect)
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


class DeliveryRows(Rows):
    """Messages, and channels at which sending failed."""

    _deliveries: DeliveryStatements

    def put_deliveries(self, new: Iterable[Delivery]) -> None:
        """Store messages; one that is there already stays as it is."""
        rows: list[Row] = [(*map(storable, each[:-1]), alerts.encode(each.message).decode()) for each in new]
        self._deliveries.deliveries.run(self._connection, rows)

    def deliveries(self, delivery_ids: Collection[str]) -> dict[str, Delivery]:
        """Return these messages."""
        found: dict[str, Delivery] = {}
        for some in chunks(delivery_ids):
            for row in self._connection.execute(select(*_delivery).where(self._is_one_of(_delivery.delivery_id, some))):
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

    def due_deliveries(
        self, now: int, most: int, without: Collection[str] = (), since: int = 0, chosen: Collection[str] = ()
    ) -> list[tuple[str, str]]:
        """Return ids and lanes of messages that are due, the longest due first.

        None to the lanes ``without``, none that was due before ``since``, and not those that are ``chosen`` already.
        """
        statement = select(_delivery.delivery_id, _delivery.lane)
        statement = statement.where(_delivery.state == "pending", _delivery.due_at <= now, _delivery.due_at >= since)
        if without:
            statement = statement.where(_delivery.lane.not_in(without))
        known = set(chosen)
        rows = self._connection.execute(
            statement.order_by(_delivery.due_at).limit(most + len(known)).with_for_update(skip_locked=True)
        )
        return [(delivery_id, lane) for delivery_id, lane in rows if delivery_id not in known][:most]

    def due_to(self, lane: str, now: int, most: int) -> list[str]:
        """Return ids of messages to a lane that are due, the longest due first."""
        rows = self._connection.execute(
            select(_delivery.delivery_id)
            .where(_delivery.state == "pending", _delivery.lane == lane, _delivery.due_at <= now)
            .order_by(_delivery.due_at)
            .limit(most)
            .with_for_update(skip_locked=True)
        )
        return list(rows.scalars())

    def claim(self, claimed: Iterable[str], lease_until: int) -> None:
        """Note that an attempt at these messages begins; committed before their first byte is sent."""
        self._deliveries.claim.run(self._connection, [(lease_until, id_) for id_ in claimed])

    def under_way(self, delivery_ids: Collection[str]) -> set[str]:
        """Return those of these messages that are being sent still: none whose user was purged meanwhile.

        They stay until the commit.
        """
        found: set[str] = set()
        for some in chunks(delivery_ids):
            statement = select(_delivery.delivery_id).where(
                self._is_one_of(_delivery.delivery_id, some), _delivery.state == "sending"
            )
            found.update(self._connection.execute(statement.with_for_update()).scalars())
        return found

    def settle(self, rows: Iterable[tuple[str, int, int, str, str]]) -> None:
        """Store outcomes of attempts: new state, when it is due again, when it was settled (0: not), reason, id."""
        self._deliveries.settle.run(self._connection, [tuple(map(storable, row)) for row in rows])

    def in_doubt(self, now: int, *, everything: bool) -> list[Delivery]:
        """Return messages that were being sent when their notifier ended; ``everything``: no other one runs."""
        statement = select(*_delivery).where(_delivery.state == "sending")
        if not everything:
            statement = statement.where(_delivery.lease_until <= now)
        # what another notifier decides on at the same time is left to it
        rows = self._connection.execute(statement.limit(MOST_KEYS).with_for_update(skip_locked=True))
        return [_delivery_of(row) for row in rows]

    def doubt(self, rows: Iterable[tuple[str, int, int, str, str]]) -> None:
        """Count a doubt and store its consequence: state, due, settled, reason, id."""
        self._deliveries.doubt.run(self._connection, list(rows))

    def replay(self, state: str, since: int, route: str, user_id: str, now: int) -> int:
        """Let messages in this state that were made since an instant be sent again; "" for any; return how many."""
        statement = update(deliveries).where(_delivery.state == state, _delivery.created_at >= since)
        for column, value in ((_delivery.route, route), (_delivery.user_id, user_id)):
            if value:
                statement = statement.where(column == value)
        again = statement.values(state="pending", attempt=0, due_at=now, settled_at=0, reason="sent again by command")
        return self._connection.execute(again).rowcount

    def count_deliveries(self, state: str, since: int, route: str, user_id: str) -> int:
        """Return the number of messages that ``replay`` would let be sent again."""
        statement = select(func.count()).where(_delivery.state == state, _delivery.created_at >= since)
        for column, value in ((_delivery.route, route), (_delivery.user_id, user_id)):
            if value:
                statement = statement.where(column == value)
        return int(self._connection.execute(statement).scalar_one())

    def postpone(self, lane: str, until: int) -> None:
        """Let no message to a lane be due before ``until``."""
        self._connection.execute(
            update(deliveries)
            .where(_delivery.state == "pending", _delivery.lane == lane, _delivery.due_at < until)
            .values(due_at=until)
        )

    def list_deliveries(
        self, user_id: str, state: str, route: str, since: int, most: int, after: tuple[int, str] | None = None
    ) -> list[Delivery]:
        """Return messages, the newest first; "" for any. ``after``: behind the one of this instant and id."""
        statement = select(*_delivery).where(_delivery.created_at >= since)
        for column, value in ((_delivery.user_id, user_id), (_delivery.state, state), (_delivery.route, route)):
            if value:
                statement = statement.where(column == value)
        if after is not None:
            # the index has the instants
            statement = statement.where(
                _delivery.created_at <= after[0], tuple_(_delivery.created_at, _delivery.delivery_id) < after
            )
        order = _delivery.created_at.desc(), _delivery.delivery_id.desc()
        rows = self._connection.execute(statement.order_by(*order).limit(most))
        return [_delivery_of(row) for row in rows]

    def channels(self, channel_ids: Collection[str]) -> dict[str, Channel]:
        """Return those of these channels at which sending has failed."""
        found: dict[str, Channel] = {}
        for some in chunks(channel_ids):
            for row in self._connection.execute(select(*_channel).where(self._is_one_of(_channel.channel_id, some))):
                found[row[0]] = Channel(*row)
        return found

    def list_channels(self, user_id: str = "", after: str = "", most: int = MOST_KEYS) -> list[Channel]:
        """Return channels that are disabled, of a user or of all, by their ids; behind one."""
        statement = select(*_channel).where(_channel.disabled_at > 0)
        if user_id:
            statement = statement.where(_channel.user_id == user_id)
        if after:
            statement = statement.where(_channel.channel_id > after)
        rows = self._connection.execute(statement.order_by(_channel.channel_id).limit(most))
        return [Channel(*row) for row in rows]

    def disabled_channels(self, user_ids: Collection[str]) -> set[str]:
        """Return the ids of channels of these users, and of operators, that are given up."""
        found: set[str] = set()
        for some in chunks(["", *user_ids]):
            statement = select(_channel.channel_id).where(
                _channel.disabled_at > 0, self._is_one_of(_channel.user_id, some)
            )
            found.update(channel_id for (channel_id,) in self._connection.execute(statement))
        return found

    def put_channels(self, changed: Iterable[Channel]) -> None:
        """Store channels."""
        self._deliveries.channels.run(self._connection, [tuple(map(storable, each)) for each in changed])

    def has_channels(self) -> bool:
        """Tell whether sending has failed at any channel."""
        return self._connection.execute(_ANY_CHANNEL).first() is not None

    def delete_channels(self, channel_ids: Collection[str]) -> None:
        """Forget the failures of channels."""
        for some in chunks(channel_ids):
            self._connection.execute(delete(alert_channels).where(self._is_one_of(_channel.channel_id, some)))

    def trim(self, before: int, most: int) -> int:
        """Delete events and settled messages from before an instant; return how many."""
        old_events = select(_event.event_id).where(_event.taken_at < before, _event.judge_at.is_(None)).limit(most)
        old = select(_delivery.delivery_id).where(_delivery.created_at < before, _delivery.settled_at > 0).limit(most)
        self._connection.execute(delete(alert_acks).where(alert_acks.c.acked_at < before))
        self._connection.execute(delete(alert_comments).where(alert_comments.c.at < before))
        return sum(
            self._connection.execute(statement).rowcount
            for statement in (
                delete(alert_events).where(_event.event_id.in_(old_events)),
                delete(deliveries).where(_delivery.delivery_id.in_(old)),
            )
        )


def _delivery_of(row: Any) -> Delivery:
    return Delivery._make((*row[:-1], alerts.decode_message(row[-1])))

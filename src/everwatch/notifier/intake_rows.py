"""Rows of the intake: offsets, users, events and their incidents."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Dialect, Select, and_, bindparam, delete, select, tuple_, update

from everwatch.encoding.ended_monitors import with_outcome
from everwatch.model import Scalar, Transition
from everwatch.notifier.incidents import Incident, Phase
from everwatch.notifier.rows import Rows, chunks, insert_once, text_of
from everwatch.notifier.tables import (
    alert_acks,
    alert_channels,
    alert_comments,
    alert_contacts,
    alert_events,
    alert_groups,
    alert_items,
    alert_silences,
    deliveries,
    incidents,
    notifier_facts,
    notifier_offsets,
    notifier_users,
    unpublished_outcomes,
)
from everwatch.plans.placeholders import PlaceholderUser
from everwatch.store.bulk_statements import Bulk, Row, storable, upsert
from everwatch.store.partition import Partition

_event = alert_events.c
_incident = incidents.c
_group = alert_groups.c
_item = alert_items.c

# messages first: a transaction that stores an outcome locks its message, so the deletion waits for it and then deletes
# the outcome, too
_OF_A_USER = (
    *(deliveries, alert_groups, alert_channels, alert_acks, alert_comments, alert_contacts, alert_silences),
    *(notifier_users, unpublished_outcomes),
)

NONE_STORED: Mapping[tuple[str, str], str] = {}

_decode_transition = msgspec.json.Decoder(Transition).decode
_decode_incident = msgspec.json.Decoder(Incident).decode
_decode_attributes = msgspec.json.Decoder(dict[str, Scalar]).decode


class TakenTransition(NamedTuple):
    """A transition that was taken in and is to be judged."""

    event_id: str
    partition: int
    taken_at: int
    transition: Transition


class IntakeStatements:
    """Statements of ``IntakeRows`` that are run with many rows, compiled once."""

    def __init__(self, dialect: Dialect) -> None:
        self.offsets = upsert(notifier_offsets, dialect)
        self.seed_offsets = insert_once(notifier_offsets, dialect)
        self.seed_facts = insert_once(notifier_facts, dialect)
        self.users = upsert(notifier_users, dialect)
        self.events = insert_once(alert_events, dialect)
        self.incidents = upsert(incidents, dialect)
        changing = ["partition", "phase", "settles_at", "document"]
        self.same_incidents = Bulk(
            update(incidents)
            .where(and_(_incident.user_id == bindparam("b_user"), _incident.monitor_id == bindparam("b_monitor")))
            .values({name: bindparam(f"b_{name}") for name in changing}),
            [*(f"b_{name}" for name in changing), "b_user", "b_monitor"],
            dialect,
        )
        self.verdicts = Bulk(
            update(alert_events)
            .where(_event.event_id == bindparam("b_id"))
            .values(judge_at=bindparam("b_at"), verdict=bindparam("b_verdict")),
            ["b_at", "b_verdict", "b_id"],
            dialect,
        )


class IntakeRows(Rows):
    """Offsets, users, events and incidents."""

    _intake: IntakeStatements

    def offsets(self) -> dict[Partition, int]:
        """Return the next offset of every partition."""
        rows = self._connection.execute(select(*notifier_offsets.c))
        return {Partition(topic, number): offset for topic, number, offset in rows if offset}

    def lock(self, partitions: Collection[Partition]) -> dict[Partition, int]:
        """Return the next offsets of these partitions (0 for new ones), which no other notifier works on until the
        commit. In one order, so that no two wait for each other."""
        wanted = sorted(partitions)
        self._intake.seed_offsets.run(self._connection, [(*each, 0) for each in wanted])
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
        self._intake.offsets.run(self._connection, [(*partition, offset) for partition, offset in sorted(offsets)])

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
        self._intake.seed_facts.run(self._connection, [("begun_at", now)])
        fact = notifier_facts.c
        return int(self._connection.execute(select(fact.value).where(fact.name == "begun_at")).scalar_one())

    def put_users(self, users: Iterable[tuple[str, str, str]]) -> None:
        """Store users: id, plan and attributes as JSON."""
        rows = [tuple(map(storable, row)) for row in users]
        self._intake.users.run(self._connection, rows)
        # events that wait for their user are due now: a later one must not be judged before them
        for some in chunks([user_id for user_id, *_ in rows]):
            waits = self._is_one_of(_event.user_id, some) & (_event.judge_at > _event.taken_at)
            self._connection.execute(update(alert_events).where(waits).values(judge_at=_event.taken_at))

    def delete_users(self, user_ids: Collection[str]) -> None:
        """Delete users and their messages that are not sent; their incidents end with their monitors."""
        for some in chunks(user_ids):
            groups = select(_group.group_id).where(self._is_one_of(_group.user_id, some))
            self._connection.execute(delete(alert_items).where(_item.group_id.in_(groups)))
            for table in _OF_A_USER:
                self._connection.execute(delete(table).where(self._is_one_of(table.c.user_id, some)))
            # what is not judged yet ends incidents that operators' receivers have open
            judged = self._is_one_of(_event.user_id, some) & _event.judge_at.is_(None)
            self._connection.execute(delete(alert_events).where(judged))

    def delete_monitors(self, keys: Collection[tuple[str, str]]) -> None:
        """Forget monitors that are no more: their incidents, and their events that are judged."""
        for some in chunks(keys):
            self._connection.execute(
                delete(incidents).where(self._has_one_of((_incident.user_id, _incident.monitor_id), some))
            )
            judged = self._has_one_of((_event.user_id, _event.monitor_id), some) & _event.judge_at.is_(None)
            self._connection.execute(delete(alert_events).where(judged))

    def put_events(self, rows: list[Row]) -> None:
        """Take in events, as rows of ``alert_events``; one that is there already stays as it is."""
        self._intake.events.run(self._connection, rows)

    def events_to_judge(self, partitions: Collection[int], now: int, most: int) -> list[TakenTransition]:
        """Return the oldest events of these partitions that are due to be judged, in the order of their topic."""
        rows = self._connection.execute(
            select(_event.event_id, _event.partition, _event.taken_at, _event.document)
            .where(_event.judge_at.is_not(None), _event.judge_at <= now, _event.partition.in_(partitions))
            .order_by(_event.partition, _event.position)
            .limit(most)
        )
        return [
            TakenTransition(id_, number, taken_at, with_outcome(_decode_transition(text)))
            for id_, number, taken_at, text in rows
        ]

    def pass_over(self, partitions: Collection[int], now: int, verdict: str) -> None:
        """Give up what a pass of one would judge, without reading its document.

        An incident that has stopped flapping comes first: its next change judges it. Else it is the oldest event.
        """
        key = _incident.user_id, _incident.monitor_id
        first = self._connection.execute(_settling(select(*key), partitions, now, 1)).one_or_none()
        if first is not None:
            self._connection.execute(update(incidents).where(tuple_(*key) == tuple_(*first)).values(settles_at=0))
            return
        oldest = (
            select(_event.event_id)
            .where(_event.judge_at.is_not(None), _event.judge_at <= now, _event.partition.in_(partitions))
            .order_by(_event.partition, _event.position)
            .limit(1)
        )
        self.put_verdicts([(id_, None, verdict) for id_ in self._connection.execute(oldest).scalars()])

    def put_verdicts(self, verdicts: list[tuple[str, int | None, str]]) -> None:
        """Store the outcomes of events: id, when to judge it again (None: it is judged), and a word on it."""
        self._intake.verdicts.run(self._connection, [(again, text, id_) for id_, again, text in verdicts])

    def users(self, user_ids: Collection[str]) -> dict[str, PlaceholderUser]:
        """Return those of these users that are known."""
        table = notifier_users.c
        found: dict[str, PlaceholderUser] = {}
        for some in chunks(user_ids):
            for user_id, plan, text in self._connection.execute(
                select(*table).where(self._is_one_of(table.user_id, some))
            ):
                found[user_id] = PlaceholderUser(user_id, plan, _decode_attributes(text))
        return found

    def incidents(self, keys: Collection[tuple[str, str]]) -> dict[tuple[str, str], Incident]:
        """Return the newest incidents of these monitors."""
        found: dict[tuple[str, str], Incident] = {}
        for some in chunks(keys):
            where = self._has_one_of((_incident.user_id, _incident.monitor_id), some)
            for (text,) in self._connection.execute(select(_incident.document).where(where)):
                incident = _decode_incident(text)
                found[incident.user_id, incident.monitor_id] = incident
        return found

    def incident(self, incident_id: str) -> Incident | None:
        """Return the incident of an id, if it is the newest one of its monitor."""
        statement = select(_incident.document).where(_incident.incident_id == storable(incident_id))
        text = self._connection.execute(statement.limit(1)).scalar_one_or_none()
        return None if text is None else _decode_incident(text)

    def partitions_of_incidents(self, keys: Collection[tuple[str, str]]) -> dict[tuple[str, str], int]:
        """Return the partitions of these monitors' incidents."""
        found: dict[tuple[str, str], int] = {}
        for some in chunks(keys):
            key = _incident.user_id, _incident.monitor_id
            rows = self._connection.execute(select(*key, _incident.partition).where(self._has_one_of(key, some)))
            found.update({(user_id, monitor_id): number for user_id, monitor_id, number in rows})
        return found

    def incidents_to_settle(self, partitions: Collection[int], now: int, most: int) -> list[tuple[int, Incident]]:
        """Return incidents that have flapped until ``now``, with their partitions."""
        rows = self._connection.execute(
            _settling(select(_incident.partition, _incident.document), partitions, now, most)
        )
        return [(number, _decode_incident(text)) for number, text in rows]

    def open_incidents(
        self,
        user_id: str = "",
        most: int = 1_000,
        after: tuple[str, str] | None = None,
        phase: Phase | None = None,
    ) -> list[Incident]:
        """Return the incidents that are not closed, of a user or of all; behind one of this user and monitor.

        ``phase``: only those that are in it.
        """
        statement = select(_incident.document).where(_incident.phase != "closed")
        if phase is Phase.FLAPPING:
            # few are, and they have an index
            statement = statement.where(_incident.settles_at > 0)
        elif phase is not None:
            statement = statement.where(_incident.phase == phase.value)
        if user_id:
            statement = statement.where(_incident.user_id == user_id)
        if after is not None:
            statement = statement.where(tuple_(_incident.user_id, _incident.monitor_id) > after)
        rows = self._connection.execute(statement.order_by(_incident.user_id, _incident.monitor_id).limit(most))
        return [_decode_incident(text) for (text,) in rows]

    def flapping(self, keys: Collection[tuple[str, str]]) -> set[tuple[str, str]] | None:
        """Return those of these monitors that are flapping; None where no monitor at all is, as is mostly so."""
        statement = select(_incident.settles_at).where(_incident.settles_at > 0).limit(1)
        if self._connection.execute(statement).first() is None:
            return None
        return {key for key, incident in self.incidents(keys).items() if incident.phase is Phase.FLAPPING}

    def open_incidents_after(self, after: tuple[str, str], most: int) -> list[tuple[int, Incident]]:
        """Return open incidents behind one of this user and monitor, with their partitions: of all, in pages."""
        key = tuple_(_incident.user_id, _incident.monitor_id)
        statement = select(_incident.partition, _incident.document).where(_incident.phase != "closed", key > after)
        rows = self._connection.execute(statement.order_by(_incident.user_id, _incident.monitor_id).limit(most))
        return [(number, _decode_incident(text)) for number, text in rows]

    def put_incidents(
        self, changed: Iterable[tuple[int, Incident]], stored: Mapping[tuple[str, str], str] = NONE_STORED
    ) -> None:
        """Store incidents with their partitions. ``stored``: the ids of those that these monitors have in the database.

        One that goes on keeps its place in the index of ids: SQLite would write that anew, a page for each incident.
        """
        new: list[Row] = []
        same: list[Row] = []
        for number, i in changed:
            if stored.get((i.user_id, i.monitor_id)) == i.incident_id:
                same.append((number, i.phase.value, i.settles_at, text_of(i), i.user_id, i.monitor_id))
            else:
                new.append((i.user_id, i.monitor_id, number, i.phase.value, i.settles_at, text_of(i), i.incident_id))
        self._intake.incidents.run(self._connection, new)
        self._intake.same_incidents.run(self._connection, same)

    def verdicts(self, user_id: str, monitor_id: str, most: int) -> list[tuple[Transition, int, str]]:
        """Return the newest events of a monitor, with the instants of their intake and their outcomes."""
        rows = self._connection.execute(
            select(_event.document, _event.taken_at, _event.verdict)
            .where(_event.user_id == user_id, _event.monitor_id == monitor_id)
            .order_by(_event.at.desc())
            .limit(most)
        )
        return [(_decode_transition(text), taken_at, verdict) for text, taken_at, verdict in rows]


def _settling(wanted: Select[Any], partitions: Collection[int], now: int, most: int) -> Select[Any]:
    due = _incident.settles_at > 0, _incident.settles_at <= now, _incident.partition.in_(partitions)
    # in one order, so that what is passed over is what failed
    return wanted.where(*due).order_by(_incident.settles_at, _incident.user_id, _incident.monitor_id).limit(most)

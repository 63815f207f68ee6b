"""Records -> what the notifier takes in of them, and the transaction that stores it with its offsets."""

from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from everwatch.core.bounds import BROKER_AHEAD_MS
from everwatch.core.errors import InvalidInput
from everwatch.encoding.codec import (
    SEPARATOR,
    check_not_ahead,
    decode_entry,
    decode_transition,
    is_bookkeeping,
    split_key,
)
from everwatch.kafka.consumed_record import Record, RefusedRecord
from everwatch.kafka.topics import Topics
from everwatch.model import State, Transition, User
from everwatch.notifier import alerts
from everwatch.notifier.contacts import settle_contacts
from everwatch.notifier.executor_outages import by_region
from everwatch.notifier.incident_requests import (
    AckWithdrawal,
    CommentRequest,
    ContactsAsked,
    ContactsVerified,
    ContactTrial,
    IncidentRequest,
    ReplayRequest,
    ResolveRequest,
    SilenceRequest,
    SubscriptionConfirmed,
    SubscriptionEnded,
    SubscriptionRequest,
    decode_request,
)
from everwatch.notifier.incidents import RESOLVED, Incident, Phase
from everwatch.notifier.meaning import concerns_people
from everwatch.notifier.routes import Rules
from everwatch.notifier.storage import Storage, Work
from everwatch.notifier.subscriptions import take_subscription
from everwatch.notifier.trial_messages import to_verified, trial_messages
from everwatch.schedule.duration import HOUR_MS
from everwatch.store.bulk_statements import Row, storable
from everwatch.store.partition import Partition

REPLAYED_WITHIN_MS = HOUR_MS
"""For how long a request to send messages again is carried out."""
NO_RULES = Rules(())
DELETED = "it was deleted"
"""The reason of the event that ends the incident of a monitor that is no more."""


class ReadTransition(NamedTuple):
    """A transition and where it stood."""

    source: Partition
    offset: int
    transition: Transition


class Entry(NamedTuple):
    """A change of the table of monitors: a user (None: it is gone), or a monitor that is gone."""

    source: Partition
    offset: int
    at: int
    user_id: str
    monitor_id: str
    user: User | None


class ReadRequest(NamedTuple):
    """A request about an incident and where it stood."""

    source: Partition
    offset: int
    request: IncidentRequest


class Batch(NamedTuple):
    """Records that are taken in together. ``offsets`` lie behind all records, the refused ones too.

    ``judged``: the partitions of transitions whose incidents a change of the table may end.
    """

    taken_at: int
    offsets: dict[Partition, int]
    transitions: list[ReadTransition]
    entries: list[Entry]
    requests: list[ReadRequest]
    refused: list[RefusedRecord]
    judged: set[Partition]


def build_batch(records: Iterable[Record], topics: Topics, taken_at: int) -> Batch:
    """Return what concerns people of ``records`` (in the order of their partitions). ``taken_at``: now, ms.

    Of the changelog only users and deletions are decoded: a monitor that changes costs a look at its key.
    """
    batch = Batch(taken_at, {}, [], [], [], [], set())
    for record in records:
        source = Partition(record.topic, record.partition)
        batch.offsets[source] = record.offset + 1
        try:
            if record.topic == topics.transitions:
                transition = by_region(decode_transition(record.value))
                check_not_ahead(transition.at, taken_at + BROKER_AHEAD_MS, "$.at")
                if concerns_people(transition):
                    batch.transitions.append(ReadTransition(source, record.offset, transition))
            elif record.topic == topics.incidents:
                batch.requests.append(ReadRequest(source, record.offset, _request(record)))
            elif (entry := _entry(source, record)) is not None:
                batch.entries.append(entry)
                batch.judged.add(Partition(topics.transitions, record.partition))
        except InvalidInput as error:
            batch.refused.append(RefusedRecord(record, error))
    return batch


def _request(record: Record) -> IncidentRequest:
    request = decode_request(record.value)
    if isinstance(request, SubscriptionRequest) and not request.at:
        return msgspec.structs.replace(request, at=record.timestamp_ms)
    return request


def take_in(storage: Storage, batch: Batch, rules: Rules = NO_RULES) -> None:
    """Store a batch and its offsets in one transaction. Records that another notifier has stored already are left out.

    ``rules``: whose routes test messages go by.
    """
    with storage.begin() as work:
        # an incident that a pass of another notifier opens must not be taken for the one before, which is over
        stored = work.lock({*batch.offsets, *batch.judged})
        entries = [each for each in batch.entries if each.offset >= stored[each.source]]
        _take_entries(work, entries, batch.taken_at)
        fresh = [each for each in batch.transitions if each.offset >= stored[each.source]]
        work.put_events([event_row(each.source.number, each.offset, each.transition, batch.taken_at) for each in fresh])
        requests = [each for each in batch.requests if each.offset >= stored[each.source]]
        _take_requests(work, requests, rules, batch.taken_at)
        work.put_offsets((source, offset) for source, offset in batch.offsets.items() if offset > stored[source])


def _take_entries(work: Work, entries: list[Entry], taken_at: int) -> None:
    if not entries:
        return
    # of several changes of one user the last one counts
    users = {each.user_id: each for each in entries if not each.monitor_id}
    work.put_users(
        (each.user_id, each.user.plan, alerts.encode(each.user.attributes).decode())
        for each in users.values()
        if each.user is not None
    )
    work.delete_users([each.user_id for each in users.values() if each.user is None])
    gone = {(each.user_id, each.monitor_id): each for each in entries if each.monitor_id}
    if not gone:
        return
    over = []
    for key, incident in work.incidents(gone).items():
        if incident.phase is Phase.CLOSED:
            over.append(key)
            continue
        entry = gone[key]
        at = max(incident.changed_at + 1, min(entry.at, taken_at))
        ended = Transition(*key, at, State.DOWN, State.PAUSED, DELETED, 0, alert=False)
        work.put_events([event_row(entry.source.number, entry.offset, ended, taken_at)])
    work.delete_monitors(over)


def _take_requests(work: Work, requests: list[ReadRequest], rules: Rules, now: int) -> None:
    for _, offset, each in requests:
        if isinstance(each, SilenceRequest):
            work.put_silence(each.silence)
            continue
        if isinstance(each, SubscriptionRequest | SubscriptionConfirmed | SubscriptionEnded):
            take_subscription(work, each, now)
            continue
        if isinstance(each, AckWithdrawal):
            work.delete_acks([each.incident_id])
            continue
        if isinstance(each, CommentRequest):
            if work.incident(each.comment.incident_id) is not None:
                work.put_comment(each.comment)
            continue
        if isinstance(each, ReplayRequest):
            # a notifier without its offsets reads those of a week again
            if now - each.at < REPLAYED_WITHIN_MS:
                work.replay(each.state, each.since, each.route, each.user_id, now)
            continue
        if isinstance(each, ContactTrial):
            given = work.users([each.user_id]).get(each.user_id) if each.user_id else None
            if (given is not None or not each.user_id) and now - each.at < REPLAYED_WITHIN_MS:
                messages = trial_messages(rules, given, each.route, each.trial_id, now)
                work.put_deliveries(to_verified(work, rules, given, messages, now))
            continue
        if isinstance(each, ContactsAsked):
            given = work.users([each.user_id]).get(each.user_id)
            if given is not None and now - each.at < REPLAYED_WITHIN_MS:
                settle_contacts(work, rules, given, now, trust=each.trust)
            continue
        if isinstance(each, ContactsVerified):
            work.verify_contacts(each.contact_ids, now)
            continue
        if isinstance(each, ResolveRequest):
            if (incident := _open(work, each.user_id, each.monitor_id, each.incident_id)) is not None:
                _resolve(work, incident, each, offset, now)
            continue
        # one that is over meanwhile takes no acknowledgement, and the next one makes alerts as usual
        if _open(work, each.ack.user_id, each.ack.monitor_id, each.ack.incident_id) is not None:
            work.put_ack(each.ack)


def _open(work: Work, user_id: str, monitor_id: str, incident_id: str) -> Incident | None:
    found = work.incidents([(user_id, monitor_id)]).get((user_id, monitor_id))
    return found if found is not None and found.is_open and found.incident_id == incident_id else None


def _resolve(work: Work, incident: Incident, request: ResolveRequest, offset: int, now: int) -> None:
    """Let an incident end by an event, as if its monitor's owner had seen to it."""
    key = incident.user_id, incident.monitor_id
    at = max(incident.changed_at + 1, min(request.at, now))
    reason = f"{RESOLVED} by {request.by}" if request.by else RESOLVED
    ended = Transition(*key, at, State.DOWN, State.PAUSED, reason, 0, alert=False)
    # of the partition of its monitor's events, which is not always that of the request
    work.put_events([event_row(work.partitions_of_incidents([key])[key], offset, ended, now)])


def event_id_of(transition: Transition) -> str:
    """Return the id of a transition, the same however often it is sent."""
    return alerts.dated_id(
        transition.at,
        "event",
        transition.user_id,
        transition.monitor_id,
        transition.to_state.value,
        transition.reminder,
    )


def event_row(partition: int, offset: int, transition: Transition, taken_at: int) -> Row:
    """Return the row of a transition that is to be judged."""
    return (
        event_id_of(transition),
        partition,
        offset,
        storable(transition.user_id),
        storable(transition.monitor_id),
        transition.at,
        taken_at,
        taken_at,
        "",
        alerts.encode(transition).decode(),
    )


def _entry(source: Partition, record: Record) -> Entry | None:
    key, value = record.key, record.value
    if not key:
        raise InvalidInput("the record has no key: expected an entry of the monitors table")
    monitor_id = key.partition(SEPARATOR)[2]
    if is_bookkeeping(monitor_id) or (monitor_id and value is not None):
        return None
    try:
        user_id, name = split_key(key)
        user = None if value is None else decode_entry(key, value)
    except (ValueError, msgspec.ValidationError) as error:
        raise InvalidInput(f"not an entry of the monitors table: {error}") from None
    if user is not None and not isinstance(user, User):
        raise InvalidInput("the entry of a user is not one")
    return Entry(source, record.offset, record.timestamp_ms, user_id, name, user)

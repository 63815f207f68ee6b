"""Records -> rows to store, and refused records. Does no I/O."""

from collections.abc import Iterable

import msgspec

from everwatch.core.bounds import BROKER_AHEAD_MS
from everwatch.core.errors import InvalidInput
from everwatch.encoding.codec import (
    SEPARATOR,
    check_not_ahead,
    decode_audit_entry,
    decode_entry,
    decode_reply,
    decode_result,
    decode_transition,
    is_bookkeeping,
    split_key,
)
from everwatch.kafka.consumed_record import Record, RefusedRecord
from everwatch.kafka.topics import Topics
from everwatch.model import AuditEntry, CommandOutcome, CommandType, Reply, Result, Transition
from everwatch.sink.letter_builder import letter_of
from everwatch.store import CatalogueEntry, Partition, Received, SinkBatch
from everwatch.store.letters import Redrive, StoredLetter
from everwatch.store.purged_users import AskedPurge, key_of_purge


def build_batch(records: Iterable[Record], topics: Topics, stored_at: int) -> tuple[SinkBatch, list[RefusedRecord]]:
    """Return the rows of ``records`` (in the order of their partitions), and the refused records.

    Other entries of the monitors table than users and monitors are passed over. The answer to a purge that a worker
    has carried out is a purge to carry out, and who asked for it is kept without the user. Of dead letters none is
    refused. The batch's offsets lie behind all of them, the refused ones too. ``stored_at``: ms, when they are stored.
    """
    # no process's clock is trusted to the second here: the worker, whose ticks they are, is stricter
    latest = stored_at + BROKER_AHEAD_MS
    results: list[Received[Result]] = []
    transitions: list[Received[Transition]] = []
    entries: list[Received[CatalogueEntry]] = []
    letters: list[Received[StoredLetter | Redrive]] = []
    replies: list[Received[Reply]] = []
    audit: list[Received[AuditEntry]] = []
    purges: list[Received[AskedPurge]] = []
    refused: list[RefusedRecord] = []
    offsets: dict[Partition, int] = {}
    partitions: dict[tuple[str, int], Partition] = {}
    for record in records:
        topic, number, offset, timestamp, key, value, _ = record
        source = partitions.get((topic, number))
        if source is None:
            source = partitions[topic, number] = Partition(topic, number)
        offsets[source] = offset + 1
        try:
            if topic == topics.results:
                results.append(Received(source, offset, timestamp, _result(value, latest)))
            elif topic == topics.transitions:
                transitions.append(Received(source, offset, timestamp, _transition(value, latest)))
            elif topic == topics.replies:
                reply = _reply(value, latest)
                if reply.command != CommandType.PURGE:
                    replies.append(Received(source, offset, timestamp, reply))
                elif (purge := _purge(reply, number)) is not None:
                    purges.append(Received(source, offset, timestamp, purge))
            elif topic == topics.audit:
                entry = _audit_entry(value, latest)
                if entry.command == CommandType.PURGE:
                    # a request or command may be named after its user
                    entry = msgspec.structs.replace(entry, user_id="", command_id="", request_id="")
                audit.append(Received(source, offset, timestamp, entry))
            elif topic == topics.dead_letters:
                if (letter := letter_of(record, topics)) is not None:
                    letters.append(Received(source, offset, timestamp, letter))
            elif not _is_bookkeeping(key):
                entries.append(Received(source, offset, timestamp, _entry(key, value)))
        except InvalidInput as error:
            refused.append(RefusedRecord(record, error))
    return SinkBatch(stored_at, offsets, results, transitions, entries, letters, replies, audit, purges), refused


def _result(value: bytes | None, latest: int) -> Result:
    result = decode_result(value)
    check_not_ahead(max(result.scheduled_at, result.skipped_until), latest, "$.scheduled_at")
    return result


def _transition(value: bytes | None, latest: int) -> Transition:
    transition = decode_transition(value)
    check_not_ahead(transition.at, latest, "$.at")
    return transition


def _reply(value: bytes | None, latest: int) -> Reply:
    reply = decode_reply(value)
    check_not_ahead(reply.at, latest, "$.at")
    return reply


def _purge(reply: Reply, number: int) -> AskedPurge | None:
    """Return the purge that a worker has carried out; None for any other answer. ``number``: of the reply's partition.

    A repeated one was answered by an older worker: its id was that of another command, and no user was ended.
    """
    if reply.answer not in (CommandOutcome.DONE, CommandOutcome.UNCHANGED):
        return None
    key = key_of_purge(reply.user_id, reply.command_id)
    was_watched = reply.answer is not CommandOutcome.UNCHANGED
    return AskedPurge(key, reply.user_id, reply.at, number, reply.offset + 1, was_watched)


def _audit_entry(value: bytes | None, latest: int) -> AuditEntry:
    entry = decode_audit_entry(value)
    check_not_ahead(entry.at, latest, "$.at")
    return entry


def _is_bookkeeping(key: bytes | None) -> bool:
    return key is not None and is_bookkeeping(key.partition(SEPARATOR)[2])


def _entry(key: bytes | None, value: bytes | None) -> CatalogueEntry:
    if not key:
        raise InvalidInput("the record has no key: expected an entry of the monitors table")
    try:
        user_id, monitor_id = split_key(key)
        return CatalogueEntry(user_id, monitor_id, None if value is None else decode_entry(key, value))
    except (ValueError, msgspec.ValidationError) as error:
        raise InvalidInput(f"not an entry of the monitors table: {error}") from None

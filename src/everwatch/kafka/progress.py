"""Progress of each partition's ticks, on a compacted topic: key = partition, value = instant in ms.

The header ``changelog`` of a record says whose table it was and how far it had come (``changelog_marks.Mark``), the
header ``undecodable`` how many of its entries the owner passes over, the header ``entries`` how many users and monitors
its table has. A value that is no instant, or one that lies far ahead of its record's timestamp, counts as no record.
"""

from collections.abc import Iterable
from typing import NamedTuple

from confluent_kafka import Consumer
from confluent_kafka.admin import AdminClient

from everwatch.core.bounds import BROKER_AHEAD_MS, LATEST_MS
from everwatch.kafka.consumed_record import Record
from everwatch.kafka.consumer_groups import bounds_of
from everwatch.kafka.peek import TIMEOUT_S, Tail, peek_to_ends, read_tails
from everwatch.rules.changelog_marks import Mark, decode_mark

OWNER_HEADER = "changelog"
UNDECODABLE_HEADER = "undecodable"
ENTRIES_HEADER = "entries"
# after a takeover the old owner's last record may still come in behind the new owner's, and where progress is written
# in transactions half of the offsets are their marks
LOOK_BACK = 50


class EntryCounts(NamedTuple):
    """Numbers of users and of monitors in a table, tasks included, that can be decoded or not."""

    users: int
    monitors: int

    def encode(self) -> bytes:
        """Return the counts as the value of a header."""
        return b"%d %d" % self


def decode_counts(data: bytes | None) -> EntryCounts | None:
    """Return the counts of a header; None where there are none, or none that this version can read."""
    users, separator, monitors = (data or b"").partition(b" ")
    found = _instant(users), _instant(monitors)
    return EntryCounts(*found) if separator and None not in found else None  # type: ignore[arg-type]


class Noted(NamedTuple):
    """Last note of a partition: the instant, ms (0: none), and the owner's mark, if it is known.

    ``undecodable``: how many entries of the table its owner passes over. ``noted_at``: when it was written, ms.
    ``entries``: how many there are, None where the owner does not know.
    """

    emitted_to: int
    owner: Mark | None
    undecodable: int = 0
    noted_at: int = 0
    entries: EntryCounts | None = None


def read_progress(consumer: Consumer, topic: str, partitions: Iterable[int]) -> dict[int, Noted]:
    """Return the last note of each partition; one without a note is left out. Raises BrokerUnavailable."""
    tails = read_tails(consumer, topic, partitions, is_wanted=_is_note)
    found = {}
    for number, records in tails.items():
        if not records:
            continue
        headers = records[-1].headers
        # a worker of a version without fencing may have written behind its successor: the newest instant counts
        emitted_to = max(_instant(record.value) or 0 for record in records)
        owner = decode_mark(headers.get(OWNER_HEADER))
        undecodable = _instant(headers.get(UNDECODABLE_HEADER)) or 0
        entries = decode_counts(headers.get(ENTRIES_HEADER))
        found[number] = Noted(emitted_to, owner, undecodable, records[-1].timestamp_ms, entries)
    return found


def read_emitted_to(admin: AdminClient, consumer: Consumer, topic: str, partitions: Iterable[int]) -> dict[int, int]:
    """The instant of each partition, ms; one of which nothing was noted, or that cannot be read now, is left out.

    ``consumer`` is made with ``PEEKING``. Raises BrokerUnavailable.
    """
    held = bounds_of(admin, [(topic, number) for number in partitions])
    wanted = {
        position: range(max(each.start, each.stop - LOOK_BACK), each.stop) for position, each in held.items() if each
    }
    found: dict[int, int] = {}
    for (_, number), seen in peek_to_ends(consumer, wanted, TIMEOUT_S).items():
        instants = [_instant(record.value) or 0 for record in seen.records if _is_note(record)]
        if instants:
            found[number] = max(instants)
    return found


def _is_note(record: Tail | Record) -> bool:
    """Tell whether a worker may have written a record: a worker notes emitted ticks, not future ones."""
    instant = _instant(record.value)
    return instant is not None and (record.timestamp_ms <= 0 or instant <= record.timestamp_ms + BROKER_AHEAD_MS)


def _instant(value: bytes | None) -> int | None:
    """The number that a record holds; None where it holds none that a worker could have written."""
    if not value or len(value) > 15 or not value.isdigit():
        return None
    return min(int(value), LATEST_MS)

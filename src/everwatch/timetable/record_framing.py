"""Records as they lie in a Kafka record batch (magic 2), as plain bytes: add one, take one out, walk over them.

A record is its length, attributes, timestamp delta, offset delta, and then what never changes: key, value and (no)
headers. That last part is called *framed* here; a record of a batch is found again by it. Source: the message format
of Kafka's protocol documentation; numbers are zigzag varints as in Protocol Buffers.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import NamedTuple

from everwatch.encoding.varint import SMALL, encode, read, start_before

MOST_BEFORE = 18
"""Largest number of bytes before the framed part of a record: a byte of attributes and three varints."""


class FramedRecord(NamedTuple):
    """One record: ms after the batch's base timestamp (before it, if negative), and the framed rest."""

    delta: int
    framed: bytes


# attributes, no timestamp delta, offset delta: how most records begin
_BEGIN = [b"\0\0" + encoded for encoded in SMALL]


def framed(key: bytes, value: bytes) -> bytes:
    """The part of a record that does not depend on when and where it is sent."""
    return b"%b%b%b%b\0" % (encode(len(key)), key, encode(len(value)), value)


def unframed(record: bytes) -> tuple[bytes, bytes]:
    """Key and value of a framed record."""
    length, at = read(record, 0)
    key = record[at : at + length]
    length, at = read(record, at + length)
    return key, record[at : at + length]


def append(records: bytearray, index: int, delta: int, record: bytes) -> None:
    """Add a framed record as number ``index``, ``delta`` ms after the base timestamp."""
    begin = _BEGIN[index] if not delta and index < len(SMALL) else b"\0" + encode(delta) + encode(index)
    records += encode(len(begin) + len(record)) + begin + record


def append_all(records: bytearray, index: int, entries: Sequence[FramedRecord]) -> None:
    """Add records as numbers ``index`` and following."""
    parts = []
    for number, (delta, record) in enumerate(entries, index):
        begin = _BEGIN[number] if not delta and number < len(SMALL) else b"\0" + encode(delta) + encode(number)
        parts.append(encode(len(begin) + len(record)) + begin + record)
    records += b"".join(parts)


def walk(records: bytes | bytearray) -> Iterator[FramedRecord]:
    """All records, in order."""
    at, end = 0, len(records)
    while at < end:
        length, at = read(records, at)
        following = at + length
        delta, at = read(records, at + 1)
        _, at = read(records, at)
        yield FramedRecord(delta, bytes(records[at:following]))
        at = following


def discard(records: bytearray, count: int, delta: int, record: bytes) -> bool:
    """Take one of ``count`` records out; the last one takes its place, so all others stay as they are.

    Whether it was there.
    """
    found = _find(records, delta, record)
    if found is None:
        return False
    start, end, index = found
    last = count - 1
    if index == last:
        del records[start:end]
        return True
    last_start, last_delta, last_record = _last(records, last)
    del records[last_start:]
    moved = bytearray()
    append(moved, index, last_delta, last_record)
    records[start:end] = moved
    return True


def _find(records: bytearray, delta: int, record: bytes) -> tuple[int, int, int] | None:
    """Return where the record starts and ends, and its offset delta."""
    at = records.find(record)
    while at >= 0:
        # the same bytes may stand inside another record: only what is framed like the record is the record
        with suppress(IndexError):  # inside another record anything may stand before it, also what is no number
            index, _ = read(records, start_before(records, at))
            begin = b"\0" + encode(delta) + encode(index)
            head = encode(len(begin) + len(record)) + begin
            start = at - len(head)
            if start >= 0 and records[start:at] == head:
                return start, at + len(record), index
        at = records.find(record, at + 1)
    return None


def _last(records: bytearray, index: int) -> tuple[int, int, bytes]:
    """Start, timestamp delta and framed rest of the last record, whose offset delta is ``index``."""
    begin, end = b"\0\0" + encode(index), len(records)
    at = records.rfind(begin)
    while at >= 0:
        head = encode(end - at)
        start = at - len(head)
        if start >= 0 and records[start:at] == head and _is_framed(rest := bytes(records[at + len(begin) :])):
            return start, 0, rest
        at = records.rfind(begin, 0, at)
    # it has a timestamp delta, and where it starts is known only from the front
    *_, entry = walk(records)
    begin = b"\0" + encode(entry.delta) + encode(index)
    length = len(begin) + len(entry.framed)
    return end - length - len(encode(length)), entry.delta, entry.framed


def _is_framed(rest: bytes) -> bool:
    """Tell whether this is one whole framed record with a key.

    Numbers at the end of a value may look like the beginning of a record that reaches to the end of all records.
    """
    try:
        length, at = read(rest, 0)
        if length <= 0:
            return False
        length, at = read(rest, at + length)
    except IndexError:
        return False
    return length >= 0 and at + length + 1 == len(rest) and rest[-1] == 0

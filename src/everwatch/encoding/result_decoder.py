"""Results of the two newest schemas, read by hand, field by field.

The sink and others decode every result of every monitor, and reading one this way takes about half the time (``bench
sink`` compares). A record that is wrong or unusual is left to ``avro_schemas.decode``: a record that is read here is
read there to the same values, which property tests compare. Nothing here depends on the size of a record but its texts;
a map of 64 entries or more is unusual.
"""

from struct import Struct
from struct import error as TooShort
from typing import Any

from everwatch.encoding.varint import read

HEADERS = bytes.fromhex("c3017c9ec963367125f2"), bytes.fromhex("c30194eb1123d76360be")
"""Headers of the schemas whose fields are read here, in their order; a test compares them with schemas/result.avsc.

The second one has a field more, the region; results without one are written in the first (``avro_schemas.BEFORE``).
"""

MOST_REMEMBERED = 20_000
"""Texts (of 63 bytes at most), and instants, that are not decoded anew when they come again."""
_LONG_OR_NEGATIVE = 0x81
"""Bits of a varint's first byte; without them the number is that byte's half, and the varint ends there."""
STATUSES = ("success", "failure", "late", "skipped")
_double = Struct("<d").unpack_from
# Monitors, kinds, reasons and executors come again and again, and so do instants (6 bytes until the year 2039). Threads
# share both: each access is one operation of a dict, and a text that another thread has just dropped is decoded anew.
cached_texts: dict[bytes, str] = {}
cached_instants: dict[bytes, int] = {}


class Unsure(Exception):
    """The record is to be read by the reader of any schema."""


def decode(data: bytes) -> dict[str, Any]:
    """The record in ``data``, which begins with one of ``HEADERS``. Raises Unsure."""
    try:
        return _decode(data)
    except (IndexError, ValueError, TooShort) as error:
        raise Unsure from error


def _decode(data: bytes) -> dict[str, Any]:
    texts, instants = cached_texts, cached_instants
    # what is nearly always remembered is looked up in place, which saves a call for each field
    user_id, at = _text(data, len(HEADERS[0]))
    length = data[at]
    end = at + 1 + (length >> 1)
    monitor_id = texts.get(data[at + 1 : end])
    if monitor_id is None or length & _LONG_OR_NEGATIVE:
        monitor_id, end = _text_to_remember(data, at)
    at = end + 6
    scheduled_at = instants.get(data[end:at])
    if scheduled_at is None:
        scheduled_at, at = _instant(data, end)
    attempt = data[at]
    if attempt & _LONG_OR_NEGATIVE:
        attempt, at = read(data, at)
    else:
        attempt, at = attempt >> 1, at + 1
    length = data[at]
    end = at + 1 + (length >> 1)
    kind = texts.get(data[at + 1 : end])
    if kind is None or length & _LONG_OR_NEGATIVE:
        kind, end = _text_to_remember(data, at)
    version = data[end]
    if version & _LONG_OR_NEGATIVE:
        version, at = read(data, end)
    else:
        version, at = version >> 1, end + 1
    status = data[at]
    if status & _LONG_OR_NEGATIVE:
        raise Unsure
    length = data[at + 1]
    end = at + 2 + (length >> 1)
    reason = texts.get(data[at + 2 : end])
    if reason is None or length & _LONG_OR_NEGATIVE:
        reason, end = _text_to_remember(data, at + 1)
    at = end + 6
    started_at = instants.get(data[end:at])
    if started_at is None:
        started_at, at = _instant(data, end)
    [duration_ms] = _double(data, at)
    timings, at = _timings(data, at + 8)
    length = data[at]
    end = at + 1 + (length >> 1)
    executor = texts.get(data[at + 1 : end])
    if executor is None or length & _LONG_OR_NEGATIVE:
        executor, end = _text_to_remember(data, at)
    record = {
        "user_id": user_id,
        "monitor_id": monitor_id,
        "scheduled_at": scheduled_at,
        "attempt": attempt,
        "kind": kind,
        "version": version,
        "status": STATUSES[status >> 1],
        "reason": reason,
        "started_at": started_at,
        "duration_ms": duration_ms,
        "timings": timings,
        "executor": executor,
    }
    has_region = data.startswith(HEADERS[1])
    if data[end:] == (b"\0\0\0\0\0\0" if has_region else b"\0\0\0\0\0"):
        # nothing was skipped, and there is no more to say
        return record
    record["skipped_until"], at = read(data, end)
    record["skipped_count"], at = read(data, at)
    if data[at] > 1:
        raise Unsure
    record["manual"] = data[at] == 1
    record["detail"], at = _text(data, at + 1)
    record["unreached"], at = read(data, at)
    if has_region:
        record["region"], at = _text(data, at)
    if at != len(data):
        raise Unsure
    return record


def _timings(data: bytes, at: int) -> tuple[dict[str, float], int]:
    """The map of doubles that starts at ``at``, and where it ends."""
    count = data[at]
    at += 1
    if count & _LONG_OR_NEGATIVE:
        raise Unsure
    timings: dict[str, float] = {}
    if not count:
        return timings, at
    for _ in range(count >> 1):
        length = data[at]
        end = at + 1 + (length >> 1)
        name = cached_texts.get(data[at + 1 : end])
        if name is None or length & _LONG_OR_NEGATIVE:
            name, end = _text_to_remember(data, at)
        [timings[name]] = _double(data, end)
        at = end + 8
    if data[at]:
        raise Unsure
    return timings, at + 1


def _text(data: bytes, at: int) -> tuple[str, int]:
    """The text that starts at ``at``, and where it ends."""
    length, at = read(data, at)
    end = at + length
    if length < 0 or end > len(data):
        raise Unsure
    return data[at:end].decode(), end


def _text_to_remember(data: bytes, at: int) -> tuple[str, int]:
    text, end = _text(data, at)
    # a length of one byte
    if data[at] < 0x80:
        if len(cached_texts) >= MOST_REMEMBERED:
            cached_texts.clear()
        cached_texts[data[at + 1 : end]] = text
    return text, end


def _instant(data: bytes, at: int) -> tuple[int, int]:
    """The number that starts at ``at``, and where it ends; one of 6 bytes is remembered."""
    number, end = read(data, at)
    if end == at + 6:
        if len(cached_instants) >= MOST_REMEMBERED:
            cached_instants.clear()
        cached_instants[data[at:end]] = number
    return number, end

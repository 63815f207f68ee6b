"""Results of the newest schema, read field by field: a third of what a reader of any schema takes.

Every consumer of the topic decodes each result, so this is the one record that has a reader of its own. It reads what
it is sure of. Whatever is wrong or unusual about a record is for ``avro_schemas.decode``, which says what.
"""

from struct import Struct
from struct import error as TooShort
from typing import Any

from everwatch.encoding.varint import read

HEADER = bytes.fromhex("c3017c9ec963367125f2")
"""Of the schema whose fields are read here, in their order; a test holds it against schemas/result.avsc."""

MOST_REMEMBERED = 20_000
_SUREST = 0x81
"""A length or number with none of these bits takes one byte and is not negative."""
_STATUSES = ("success", "failure", "late", "skipped")
_double = Struct("<d").unpack_from
# monitors, kinds, reasons and executors come again and again, and so do instants: 6 bytes until the year 2039
_texts: dict[bytes, str] = {}
_instants: dict[bytes, int] = {}


class Unsure(Exception):
    """The record is to be read by the reader of any schema."""


def decode(data: bytes) -> dict[str, Any]:
    """The record in ``data``, which begins with ``HEADER``. Raises Unsure."""
    try:
        return _decode(data)
    except (IndexError, ValueError, TooShort) as error:
        raise Unsure from error


def _decode(data: bytes) -> dict[str, Any]:
    texts, instants = _texts, _instants
    user_id, at = _text(data, len(HEADER))
    length = data[at]
    end = at + 1 + (length >> 1)
    monitor_id = texts.get(data[at + 1 : end])
    if monitor_id is None or length & _SUREST:
        monitor_id, end = _text(data, at)
    at = end + 6
    scheduled_at = instants.get(data[end:at])
    if scheduled_at is None:
        scheduled_at, at = _instant(data, end)
    attempt = data[at]
    if attempt & _SUREST:
        attempt, at = read(data, at)
    else:
        attempt, at = attempt >> 1, at + 1
    length = data[at]
    end = at + 1 + (length >> 1)
    kind = texts.get(data[at + 1 : end])
    if kind is None or length & _SUREST:
        kind, end = _text(data, at)
    version = data[end]
    if version & _SUREST:
        version, at = read(data, end)
    else:
        version, at = version >> 1, end + 1
    status = data[at]
    if status & _SUREST:
        raise Unsure
    length = data[at + 1]
    end = at + 2 + (length >> 1)
    reason = texts.get(data[at + 2 : end])
    if reason is None or length & _SUREST:
        reason, end = _text(data, at + 1)
    at = end + 6
    started_at = instants.get(data[end:at])
    if started_at is None:
        started_at, at = _instant(data, end)
    [duration_ms] = _double(data, at)
    timings, at = _timings(data, at + 8)
    length = data[at]
    end = at + 1 + (length >> 1)
    executor = texts.get(data[at + 1 : end])
    if executor is None or length & _SUREST:
        executor, end = _text(data, at)
    record = {
        "user_id": user_id,
        "monitor_id": monitor_id,
        "scheduled_at": scheduled_at,
        "attempt": attempt,
        "kind": kind,
        "version": version,
        "status": _STATUSES[status >> 1],
        "reason": reason,
        "started_at": started_at,
        "duration_ms": duration_ms,
        "timings": timings,
        "executor": executor,
    }
    if data[end:] == b"\0\0\0\0\0":
        # nothing was skipped, and there is no more to say
        return record
    record["skipped_until"], at = read(data, end)
    record["skipped_count"], at = read(data, at)
    if data[at] > 1:
        raise Unsure
    record["manual"] = data[at] == 1
    record["detail"], at = _text(data, at + 1)
    record["unreached"], at = read(data, at)
    if at != len(data):
        raise Unsure
    return record


def _timings(data: bytes, at: int) -> tuple[dict[str, float], int]:
    """The map of doubles that starts at ``at``, and where it ends."""
    count = data[at]
    at += 1
    if count & _SUREST:
        raise Unsure
    timings: dict[str, float] = {}
    if not count:
        return timings, at
    for _ in range(count >> 1):
        length = data[at]
        end = at + 1 + (length >> 1)
        name = _texts.get(data[at + 1 : end])
        if name is None or length & _SUREST:
            name, end = _text(data, at)
        [timings[name]] = _double(data, end)
        at = end + 8
    if data[at]:
        raise Unsure
    return timings, at + 1


def _text(data: bytes, at: int) -> tuple[str, int]:
    """The text that starts at ``at``, and where it ends; a short one is remembered, as long as it is not the user."""
    begin = at
    length, at = read(data, at)
    end = at + length
    if length < 0 or end > len(data):
        raise Unsure
    raw = data[at:end]
    text = raw.decode()
    if begin != len(HEADER) and at == begin + 1:
        if len(_texts) >= MOST_REMEMBERED:
            _texts.clear()
        _texts[raw] = text
    return text, end


def _instant(data: bytes, at: int) -> tuple[int, int]:
    """The number that starts at ``at``, and where it ends; one of 6 bytes is remembered."""
    begin = at
    number, at = read(data, at)
    if at == begin + 6:
        if len(_instants) >= MOST_REMEMBERED:
            _instants.clear()
        _instants[data[begin:at]] = number
    return number, at

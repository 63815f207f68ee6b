"""Dead letters -> rows to store. Does no I/O, and refuses nothing.

A refused record's letter would be refused for the same reasons, and so would the letter about that: whatever is wrong
with a record of this topic, something is stored of it, or nothing.
"""

from typing import Any

import msgspec
import orjson

from everwatch.core.bounds import BROKER_AHEAD_MS, LATEST_MS, UserKey
from everwatch.core.errors import LONGEST_REASON
from everwatch.encoding.codec import SEPARATOR
from everwatch.kafka.consumed_record import Record
from everwatch.kafka.dead_letter_content import Decoded, decoded, schema_of, without_secrets
from everwatch.kafka.dead_letter_record import DeadLetter, SourcePosition, alike, letter_or_note
from everwatch.kafka.topics import Topics
from everwatch.store.letters import MOST_KEPT, Redrive, StoredLetter

_LARGEST_INT, _LARGEST_LONG = 2**31 - 1, 2**63 - 1
_LONGEST_NAME = 250
"""Characters of a topic's name (249 at most), a code, or the name of a process."""
_NOT_SHOWN = "it could not be decoded"


def letter_of(record: Record, topics: Topics) -> StoredLetter | Redrive | None:
    """Return the row of a record of the topic ``dead-letters``; None for a note that names no letter."""
    said = letter_or_note(record)
    at = min(max(record.timestamp_ms, 0), LATEST_MS)
    if not isinstance(said, DeadLetter):
        offset = said.letter.offset
        if not 0 <= offset <= _LARGEST_LONG:
            return None
        to = "" if said.to is None else str(_within(said.to))
        return Redrive(record.partition, offset, said.at if 0 < said.at <= LATEST_MS else at, to)
    source = SourcePosition("", -1, -1) if said.source is None else _within(said.source)
    reason = said.reason[:LONGEST_REASON]
    key, key_is_cut = _kept(_key_text(record.key))
    content = _content(schema_of(source.topic, topics), record.value)
    value, value_is_cut = _kept(_text_of(content))
    cut = {"key"} if key_is_cut else set()
    cut |= ({"value"} if value_is_cut else set()) | (set(said.cut) & {"key", "value"})
    return StoredLetter(
        partition=record.partition,
        offset=record.offset,
        # by the header, if that is possible; not by our clock: read again, it must be the same letter
        refused_at=said.refused_at if 0 < said.refused_at <= min(at + BROKER_AHEAD_MS, LATEST_MS) else at,
        reason=reason,
        alike=alike(reason),
        path=said.path[:LONGEST_REASON],
        code=said.code[:_LONGEST_NAME],
        refused_by=said.refused_by[:_LONGEST_NAME],
        source_topic=source.topic,
        source_partition=source.partition,
        source_offset=source.offset,
        source_ms=said.source_ms if said.source_ms <= LATEST_MS else 0,
        user_id=_user_of(record.key),
        key=key,
        encoding=content.encoding,
        value=value,
        problem=content.problem[:LONGEST_REASON],
        cut=tuple(sorted(cut)),
    )


def _within(place: SourcePosition) -> SourcePosition:
    """A place as the database can hold it; -1 for a number that it cannot."""
    return SourcePosition(
        place.topic[:_LONGEST_NAME],
        place.partition if place.partition <= _LARGEST_INT else -1,
        place.offset if place.offset <= _LARGEST_LONG else -1,
    )


def _user_of(key: bytes | None) -> str:
    """The user that a key names; "" if no user can have that name."""
    if (key or b"").startswith(b"{") and _content("", key).encoding == "json":
        return ""  # a document in the wrong place
    try:
        # the key of an entry of the table has the monitor behind the user
        return msgspec.convert((key or b"").partition(SEPARATOR)[0].decode(), type=UserKey)
    except (UnicodeDecodeError, msgspec.ValidationError):
        return ""


def _key_text(key: bytes | None) -> str:
    if _user_of(key):
        return (key or b"").decode(errors="backslashreplace")
    return _text_of(_content("", key))


def _content(name: str, data: bytes | None) -> Decoded:
    try:
        return without_secrets(name, decoded(name, data, MOST_KEPT))
    except Exception as error:
        # of bytes that were refused for a reason: nothing of them, rather than a secret
        return Decoded("binary", "", f"{_NOT_SHOWN}: {type(error).__name__}")


def _text_of(content: Decoded) -> str:
    value: Any = content.value
    if value is None and content.encoding == "empty":
        return ""
    if content.problem and isinstance(value, str):
        return value
    try:
        return orjson.dumps(value, default=repr).decode()
    except orjson.JSONEncodeError:
        return ""


def _kept(text: str) -> tuple[str, bool]:
    """The beginning of a text, and whether there is more."""
    data = text.encode(errors="backslashreplace")
    if len(data) <= MOST_KEPT:
        return data.decode(), False
    return data[:MOST_KEPT].decode(errors="ignore"), True

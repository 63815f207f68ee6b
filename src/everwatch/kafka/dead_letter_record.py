"""A record of the topic ``dead-letters``: a refused record, or a note that one was redriven. Does no I/O."""

import re
from collections.abc import Mapping
from typing import NamedTuple

from everwatch.kafka.consumed_record import Record

REDRIVE_OF, REDRIVEN_TO, REDRIVEN_AT = "redrive_of", "redriven_to", "redriven_at"
"""Headers of a note: a record without a value beside a dead letter, which says that it was redriven."""
REDRIVEN_FROM = "redriven_from"
"""Header of a record that was redriven, on the topic that it was sent back to: TOPIC/PARTITION/OFFSET."""


def alike(reason: str) -> str:
    """A reason without what it quotes and counts, so that those of one kind are one."""
    # an apostrophe within a word quotes nothing
    return re.sub(r"\d+(?:\.\d+)?", "N", re.sub(r"(?<!\w)'[^']*'(?!\w)", "'…'", reason))[:200]


class SourcePosition(NamedTuple):
    """Topic, partition and offset of a record."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}/{self.offset}"


class DeadLetter(NamedTuple):
    """A refused record: its key and value as far as they were kept, why it was refused, and where it came from.

    ``source`` is None and ``source_ms`` (its CreateTime, ms) 0 where the headers do not say; ``cut`` names what was not
    kept whole: key, value or both; ``lengths`` says how many bytes these had.
    """

    place: SourcePosition
    refused_at: int
    reason: str
    path: str
    code: str
    refused_by: str
    source: SourcePosition | None
    source_ms: int
    key: bytes | None
    value: bytes | None
    cut: tuple[str, ...] = ()
    lengths: Mapping[str, int] = {}

    @property
    def user_id(self) -> str:
        """The user whose record it is, by its key; bytes that are no text are escaped."""
        return (self.key or b"").decode(errors="backslashreplace")


class Redriven(NamedTuple):
    """A note that a dead letter was sent back, to where, and when (ms)."""

    letter: SourcePosition
    to: SourcePosition | None
    at: int


def letter_or_note(record: Record) -> DeadLetter | Redriven:
    """Decode a record of the topic, whatever is missing from its headers or wrong with them."""
    text = {name: value.decode(errors="replace") for name, value in record.headers if isinstance(value, bytes)}
    place = SourcePosition(record.topic, record.partition, record.offset)
    if REDRIVE_OF in text:
        letter = SourcePosition(record.topic, record.partition, _number(text[REDRIVE_OF], -1))
        return Redriven(letter, place_of(text.get(REDRIVEN_TO, "")), _number(text.get(REDRIVEN_AT, "")))
    source = None
    if text.get("source_topic"):
        partition = _number(text.get("source_partition", ""), -1)
        source = SourcePosition(text["source_topic"], partition, _number(text.get("source_offset", ""), -1))
    cut = tuple(part for part in text.get("cut", "").split(",") if part)
    return DeadLetter(
        place,
        _number(text.get("refused_at", "")) or record.timestamp_ms,
        text.get("reason", ""),
        text.get("path", ""),
        text.get("code", ""),
        text.get("refused_by", ""),
        source,
        _number(text.get("source_timestamp", "")),
        record.key,
        record.value,
        cut,
        {part: _number(text.get(f"{part}_length", "")) for part in cut},
    )


def place_of(text: str) -> SourcePosition | None:
    """The place that TOPIC/PARTITION/OFFSET names, None if it names none."""
    before, _, last = text.rpartition("/")
    topic, _, middle = before.rpartition("/")
    partition, offset = _number(middle, -1), _number(last, -1)
    return SourcePosition(topic, partition, offset) if topic and partition >= 0 and offset >= 0 else None


def _number(text: str, otherwise: int = 0) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else otherwise

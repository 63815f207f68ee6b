"""Dead letters as the database holds them."""

from string import ascii_lowercase, ascii_uppercase
from typing import NamedTuple

import msgspec

from everwatch.core.bounds import InstantMs, LogOffset, PartitionNumber

_LOWER = str.maketrans(ascii_uppercase, ascii_lowercase)
MOST_KEPT = 4_096
"""Bytes of text that are kept of a refused record's key, and of its value."""


class StoredLetter(msgspec.Struct, frozen=True):
    """A dead letter: where it stands on its topic, why which record was refused, and the beginning of that record.

    ``alike``: the reason without what it quotes and counts. ``source_ms``: the timestamp of the refused record, 0 if it
    is not known. ``user_id``: the user that its key names, "" if it names none. ``key`` and ``value`` hold no secrets;
    ``encoding`` and ``problem`` say of what kind the value is, and why it could not be decoded. ``cut``: which of them
    are not whole (``key``, ``value``). ``redriven_at``: when it was sent back to where it came from, to
    ``redriven_to`` (TOPIC/PARTITION/OFFSET); 0 if it was not.
    """

    partition: PartitionNumber
    offset: LogOffset
    refused_at: InstantMs
    reason: str
    alike: str
    path: str
    code: str
    refused_by: str
    source_topic: str
    source_partition: PartitionNumber
    source_offset: LogOffset
    source_ms: InstantMs
    user_id: str
    key: str
    encoding: str
    value: str
    problem: str
    cut: tuple[str, ...] = ()
    redriven_at: InstantMs = 0
    redriven_to: str = ""

    @property
    def known_at(self) -> int:
        """Instant (ms) at which the refused record was sent or, if that is not known or later, refused."""
        return min(self.source_ms, self.refused_at) if self.source_ms else self.refused_at


class Redrive(msgspec.Struct, frozen=True):
    """A note that a dead letter was sent back, when (ms) and to where."""

    partition: PartitionNumber
    offset: LogOffset
    at: InstantMs
    to: str


class LetterSelection(NamedTuple):
    """A filter of dead letters; an empty field matches all.

    ``alike`` is a reason as in counts; ``text`` a part of the reason itself, whatever the case of ASCII letters.
    """

    user_id: str = ""
    source_topic: str = ""
    code: str = ""
    alike: str = ""
    text: str = ""


EVERY_LETTER = LetterSelection()


class LetterCount(NamedTuple):
    """Number of dead letters of one source, code and kind of reason; ``newest``: when the last was refused, ms."""

    source_topic: str
    code: str
    alike: str
    letters: int
    newest: int


def is_letter_selected(which: LetterSelection, letter: StoredLetter) -> bool:
    """Tell whether a selection has a dead letter."""
    return (
        which.user_id in ("", letter.user_id)
        and which.source_topic in ("", letter.source_topic)
        and which.code in ("", letter.code)
        and which.alike in ("", letter.alike)
        and lower(which.text) in lower(letter.reason)
    )


def lower(text: str) -> str:
    """The text with small ASCII letters: what databases of every locale make of it."""
    return text.translate(_LOWER)


LetterPlace = tuple[int, int, int]
"""Instant of the refusal (ms), partition and offset."""


def place_of_letter(letter: StoredLetter) -> LetterPlace:
    """Return where a dead letter stands in a list."""
    return letter.refused_at, letter.partition, letter.offset

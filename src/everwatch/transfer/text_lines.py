"""Lines of a file in bounded memory, for JSON lines and for the csv module; one that is too long harms no other."""

import io
from collections.abc import Callable, Iterator
from functools import partial
from typing import IO, AnyStr, NamedTuple

from everwatch.encoding.codec import LARGEST_INPUT_BYTES

MOST_CHARACTERS = 4 * LARGEST_INPUT_BYTES
"""Characters of one line of CSV: quotes within a cell are doubled, and a row has several cells."""
_PART = 65_536
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class TextLine(NamedTuple):
    """One line of JSON: its number from 1 and its text without space around it, or the fault."""

    number: int
    value: bytes
    problem: str = ""


def json_lines(stream: IO[bytes]) -> Iterator[TextLine]:
    """Every line that is not blank; a byte order mark is no part of the first. Raises OSError."""
    # one byte more for the end of the line
    most = LARGEST_INPUT_BYTES + 1
    for number, line in enumerate(iter(partial(stream.readline, most), b""), 1):
        if len(line) == most and not line.endswith(b"\n"):
            _skip(stream.readline, (b"\n",))
            yield TextLine(number, b"", f"the line is longer than {LARGEST_INPUT_BYTES} bytes")
            continue
        value = (line.removeprefix(_BYTE_ORDER_MARK) if number == 1 else line).strip()
        if value:
            yield TextLine(number, value)


class TextLines:
    """The lines of a text as ``csv.reader`` takes them; in place of one that is too long it gets an empty one."""

    def __init__(self, text: io.TextIOWrapper) -> None:
        self._text = text
        self._skipped = False

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._text.readline(MOST_CHARACTERS)
        if not line:
            raise StopIteration
        if len(line) < MOST_CHARACTERS or line.endswith(("\n", "\r")):
            return line
        _skip(self._text.readline, ("\n", "\r"))
        self._skipped = True
        return "\n"

    def take_skipped(self) -> bool:
        """Return whether a line was too long since the last time this was asked."""
        skipped, self._skipped = self._skipped, False
        return skipped


def _skip(readline: Callable[[int], AnyStr], ends: tuple[AnyStr, ...]) -> None:
    """Read on to the end of a line, a part at a time."""
    while (part := readline(_PART)) and not part.endswith(ends):
        pass


def holds_objects(head: bytes) -> bool:
    """Return whether a file that begins with ``head`` holds JSON lines rather than CSV."""
    return head.removeprefix(_BYTE_ORDER_MARK).lstrip()[:1] == b"{"

"""Standard output and standard error of the commands: data cannot control the terminal."""

import codecs
import io
import re
import sys
from typing import Any, TextIO

from everwatch.core.printable import printable

# what Rich and Click write themselves: colours, moves of the cursor, erasing, the alternate screen
_OWN = re.compile(r"(\x1b\[(?:[0-9;]*[mABCDGHJK]|\?(?:25|1049)[hl])|\r)")


class SafeOutput(io.TextIOWrapper):
    r"""A text stream in which control, direction and zero-width characters are written as escapes, ``\u202e``.

    The control sequences of the command line itself pass. Bytes that are written past it, to ``buffer``, are escaped
    only on a terminal: files get them as they are.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream.buffer, stream.encoding, stream.errors, line_buffering=stream.isatty())
        self._stands_for = stream  # it would close the bytes' stream at its end

    def write(self, text: str, /) -> int:
        """Write ``text``, escaped; return its length as given."""
        if text.isascii() and text.isprintable():
            return super().write(text)
        # what stands at odd places is what the pattern found
        super().write("".join(part if i % 2 else printable(part) for i, part in enumerate(_OWN.split(text))))
        return len(text)

    def close(self) -> None:
        """Flush; the bytes' stream belongs to the stream that this one stands in for."""
        self.flush()


class TerminalBytes(io.RawIOBase):
    """A byte stream of UTF-8 that ends on a text stream."""

    def __init__(self, text: TextIO) -> None:
        self._text = text
        self._decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        """Write ``data``; a character that is cut in two waits for its other part."""
        self._text.write(self._decoder.decode(bytes(data)))
        return len(data)

    def flush(self) -> None:
        self._text.flush()


def guard_terminal() -> None:
    """Put a SafeOutput in the place of standard output and standard error."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper) and not isinstance(stream, SafeOutput):
            stream.flush()
            setattr(sys, name, SafeOutput(stream))


def bytes_out() -> Any:
    """Standard output as a stream of bytes; on a terminal they are escaped as text is."""
    return TerminalBytes(sys.stdout) if sys.stdout.isatty() else sys.stdout.buffer

"""Rows from a file: CSV or JSON lines, plain or gzip, or from stdin."""

import csv
import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import IO, BinaryIO, cast

from everwatch.codec import LARGEST_INPUT_BYTES
from everwatch.errors import SettingsError
from everwatch.transfer.rows import Columns, Objects, Reading, Row

STDIN = "-"
_MANY = 65_536


class Format(StrEnum):
    """How rows are written in a file."""

    CSV = "csv"
    JSONL = "jsonl"


_SUFFIXES = {".csv": Format.CSV, ".jsonl": Format.JSONL, ".ndjson": Format.JSONL, ".json": Format.JSONL}


def format_of(name: str) -> Format | None:
    """The format that the suffix of a file's name tells, .gz aside."""
    return _SUFFIXES.get(Path(name.removesuffix(".gz")).suffix.lower())


@dataclass
class FileSource:
    """A file, or stdin (``path`` "-"), as rows. ``position`` of ``size`` bytes are read; ``size`` is 0 for a pipe."""

    path: str
    format: Format
    reading: Reading
    encoding: str = "utf-8"
    delimiter: str = ","
    stdin: BinaryIO | None = None
    size: int = 0
    _stream: IO[bytes] | None = field(default=None, init=False)

    @property
    def name(self) -> str:
        """What the source is called in messages."""
        return "stdin" if self.path == STDIN else self.path

    @property
    def position(self) -> int:
        """How many bytes of the file are read."""
        return self._stream.tell() if self._stream is not None and self.size else 0

    def rows(self) -> Iterator[Row]:
        """Every row, in order. Raises SettingsError if the file cannot be read, or its header names no user_id."""
        with self._opened() as stream:
            if self.format is Format.CSV:
                # what the encoding cannot read harms only its row; a byte order mark is no part of the first name
                encoding = "utf-8-sig" if self.encoding.lower() in ("utf-8", "utf8") else self.encoding
                with io.TextIOWrapper(
                    cast(BinaryIO, stream), encoding=encoding, errors="surrogateescape", newline=""
                ) as text:
                    yield from self._table(text)
            else:
                yield from self._objects(stream)

    def _table(self, text: io.TextIOWrapper) -> Iterator[Row]:
        csv.field_size_limit(LARGEST_INPUT_BYTES)
        reader = csv.reader(text, delimiter=self.delimiter)
        try:
            names = [name.strip() for name in next(reader, [])]
        except csv.Error as error:
            raise SettingsError(f"The first line of {self.name} cannot be read as CSV: {error}.") from None
        columns = Columns(names, self.reading, self.name)
        make = columns.row
        while True:
            line = reader.line_num + 1
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield Row(line, "", "", b"", f"this cannot be read as CSV: {error}")
                continue
            if cells:
                yield make(line, cells)

    def _objects(self, stream: IO[bytes]) -> Iterator[Row]:
        make = Objects(self.reading).row
        # one byte more for the end of the line
        most = LARGEST_INPUT_BYTES + 1
        for number, line in enumerate(iter(partial(stream.readline, most), b""), 1):
            if len(line) == most and not line.endswith(b"\n"):
                _skip_line(stream)
                yield Row(number, "", "", b"", f"the line is longer than {LARGEST_INPUT_BYTES} bytes")
                continue
            value = (line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line).strip()
            if value:
                yield make(number, value)

    @contextmanager
    def _opened(self) -> Iterator[IO[bytes]]:
        try:
            if self.path == STDIN:
                assert self.stdin is not None  # given with the path
                yield self.stdin
                return
            with Path(self.path).open("rb") as raw:
                self._stream, self.size = raw, Path(self.path).stat().st_size
                if self.path.endswith(".gz"):
                    with gzip.GzipFile(fileobj=raw) as unpacked:
                        yield io.BufferedReader(cast(io.RawIOBase, unpacked), _MANY)
                else:
                    yield raw
        except (EOFError, zlib.error, UnicodeError, LookupError, OSError) as error:
            reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
            raise SettingsError(f"The file {self.name} cannot be read: {reason}.") from None
        finally:
            self._stream = None


def _skip_line(stream: IO[bytes]) -> None:
    """Read on to the end of a line, a part at a time."""
    while (part := stream.readline(_MANY)) and not part.endswith(b"\n"):
        pass

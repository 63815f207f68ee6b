"""Rows from a file: CSV or JSON lines, plain or gzip, or from stdin."""

import csv
import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import IO, BinaryIO, cast

from everwatch.core.errors import SettingsError
from everwatch.encoding.codec import LARGEST_INPUT_BYTES
from everwatch.encoding.export_marks import MARK
from everwatch.transfer.import_rows import Columns, Objects, Row, RowReading
from everwatch.transfer.text_lines import MOST_CHARACTERS, TextLine, TextLines, holds_objects, json_lines

STDIN = "-"
LARGEST_DOCUMENT_BYTES = 64 * 1024 * 1024
_MANY = 65_536
_HEAD = 64


class Format(StrEnum):
    """Format of rows in a file."""

    CSV = "csv"
    JSONL = "jsonl"


_SUFFIXES = {".csv": Format.CSV, ".jsonl": Format.JSONL, ".ndjson": Format.JSONL, ".json": Format.JSONL}


def format_of(name: str) -> Format | None:
    """The format by the suffix of a file's name, .gz aside."""
    return _SUFFIXES.get(Path(name.removesuffix(".gz")).suffix.lower())


@dataclass
class FileSource:
    """A file, or stdin (``path`` "-"), as rows. ``position`` of ``size`` bytes are read; ``size`` is 0 for a pipe.

    ``title``: what it is called in messages, if not by its path.

    Without a ``format`` the first byte decides: an object is JSON lines, anything else CSV.
    """

    path: str
    format: Format | None
    reading: RowReading
    encoding: str = "utf-8"
    delimiter: str = ","
    stdin: BinaryIO | None = None
    size: int = 0
    title: str = ""
    _stream: IO[bytes] | None = field(default=None, init=False)

    @property
    def name(self) -> str:
        """Return what the source is called in messages."""
        return self.title or ("stdin" if self.path == STDIN else self.path)

    @property
    def _subject(self) -> str:
        return self.title or f"The file {self.name}"

    @property
    def position(self) -> int:
        """Return how many bytes of the file are read."""
        return self._stream.tell() if self._stream is not None and self.size else 0

    def rows(self) -> Iterator[Row]:
        """Every row, in order. Raises SettingsError if the file cannot be read, or its header names no user_id."""
        with self._opened() as stream:
            form = self.format
            if form is None:
                form = Format.JSONL if holds_objects(cast(io.BufferedReader, stream).peek(_HEAD)) else Format.CSV
            if form is Format.CSV:
                # what the encoding cannot read harms only its row; a byte order mark is no part of the first name
                encoding = "utf-8-sig" if self.encoding.lower() in ("utf-8", "utf8") else self.encoding
                with io.TextIOWrapper(
                    cast(BinaryIO, stream), encoding=encoding, errors="surrogateescape", newline=""
                ) as text:
                    yield from self._table(text)
            else:
                make = Objects(self.reading).row
                for line in json_lines(stream):
                    if line.problem:
                        yield Row(line.number, "", "", b"", line.problem)
                    elif not line.value.startswith(MARK):
                        yield make(line.number, line.value)

    def document(self) -> bytes:
        """All of a file that is one document. Raises SettingsError, also if it is too large to be one."""
        with self._opened() as stream:
            data = stream.read(LARGEST_DOCUMENT_BYTES + 1)
        if len(data) > LARGEST_DOCUMENT_BYTES:
            raise SettingsError(f"{self._subject} has more than {LARGEST_DOCUMENT_BYTES} bytes.")
        return data

    def lines(self) -> Iterator[TextLine]:
        """Every line of JSON that is not blank, as it stands there. Raises SettingsError."""
        with self._opened() as stream:
            yield from json_lines(stream)

    def _table(self, text: io.TextIOWrapper) -> Iterator[Row]:
        csv.field_size_limit(LARGEST_INPUT_BYTES)
        lines = TextLines(text)
        reader = csv.reader(lines, delimiter=self.delimiter)
        try:
            names = [name.strip() for name in next(reader, [])]
        except csv.Error as error:
            raise SettingsError(f"The first line of {self.name} cannot be read as CSV: {error}.") from None
        if lines.take_skipped():
            raise SettingsError(f"The first line of {self.name} is longer than {MOST_CHARACTERS} characters.")
        columns = Columns(names, self.reading, self.name)
        make = columns.row
        while True:
            line = reader.line_num + 1
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                lines.take_skipped()
                yield Row(line, "", "", b"", f"this cannot be read as CSV: {error}")
                continue
            if lines.take_skipped():
                yield Row(line, "", "", b"", f"the line is longer than {MOST_CHARACTERS} characters")
            elif cells:
                yield make(line, cells)

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
            raise SettingsError(f"{self._subject} cannot be read: {reason}.") from None
        finally:
            self._stream = None

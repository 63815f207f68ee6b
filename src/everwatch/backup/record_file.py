"""Files of records: one for each partition of a topic, written and read in blocks, so memory holds no more than one.

A file is ``HEAD`` and blocks. A block is two numbers of four bytes (big-endian), the length of what follows and its
length unpacked, and then a zstd frame of a msgpack array of records: offset, timestamp (ms), key, value, headers.
"""

import hashlib
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import cramjam
import msgspec

from everwatch.backup.damage import Damaged
from everwatch.backup.manifest import FileCopy
from everwatch.core.errors import EverwatchError
from everwatch.kafka.consumed_record import Headers

HEAD = b"EWRECS1\n"
_LENGTHS = struct.Struct(">II")
_BLOCK_BYTES = 1024 * 1024
# one record has a few MiB at most
LARGEST_BLOCK_BYTES = 64 * 1024 * 1024
_LEVEL = 3


class StoredRecord(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A record as a file holds it; ``offset`` is that of the source."""

    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: Headers = ()


class RecordWriter:
    """Writes the file of one partition; it is durable when it is closed."""

    def __init__(self, path: Path) -> None:
        self.records = 0
        self._encoder = msgspec.msgpack.Encoder()
        self._waiting: list[StoredRecord] = []
        self._bytes = 0
        self._size = 0
        self._digest = hashlib.sha256()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._stream = path.open("xb")
        except OSError as error:
            raise unwritable(path, error) from None
        self._path = path
        self._append(HEAD)

    def add(self, record: StoredRecord) -> None:
        """Add a record behind all others. Raises EverwatchError when the disk does not take it."""
        self._waiting.append(record)
        self._bytes += 64 + len(record.key or b"") + len(record.value or b"")
        for name, value in record.headers:
            self._bytes += 16 + len(name) + len(value or b"")
        if self._bytes >= _BLOCK_BYTES:
            self._write_block()

    def close(self) -> FileCopy:
        """Write what waits; return size and digest when the file is durable."""
        if self._waiting:
            self._write_block()
        try:
            self._stream.flush()
            os.fsync(self._stream.fileno())
        except OSError as error:
            raise unwritable(self._path, error) from None
        self._stream.close()
        return FileCopy(self._size, self._digest.hexdigest())

    def abandon(self) -> None:
        """Let go of the file as it is."""
        self._stream.close()

    def _write_block(self) -> None:
        plain = self._encoder.encode(self._waiting)
        packed = bytes(cramjam.zstd.compress(plain, _LEVEL))
        self.records += len(self._waiting)
        self._waiting, self._bytes = [], 0
        self._append(_LENGTHS.pack(len(packed), len(plain)) + packed)

    def _append(self, data: bytes) -> None:
        self._digest.update(data)
        self._size += len(data)
        try:
            self._stream.write(data)
        except OSError as error:
            raise unwritable(self._path, error) from None


class RecordWriters:
    """The writers of some partitions, closed together; left by an error, the files stay unfinished."""

    def __init__(self) -> None:
        self._open: dict[str, RecordWriter] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for writer in self._open.values():
            writer.abandon()

    def open(self, folder: Path, file: str) -> RecordWriter:
        """Begin the file of one partition."""
        writer = self._open[file] = RecordWriter(folder / file)
        return writer

    def close(self) -> dict[str, FileCopy]:
        """Finish all files; gives their sizes and digests."""
        return {file: writer.close() for file, writer in self._open.items()}


def read_records(folder: Path, file: str) -> Iterator[list[StoredRecord]]:
    """Yield the records of a file in blocks. Raises Damaged."""
    decoder = msgspec.msgpack.Decoder(list[StoredRecord])
    try:
        with (folder / file).open("rb") as stream:
            if stream.read(len(HEAD)) != HEAD:
                raise Damaged(file, "it does not begin as a file of records does")
            while lengths := stream.read(_LENGTHS.size):
                if len(lengths) < _LENGTHS.size:
                    raise Damaged(file, "it ends within a block")
                packed_length, length = _LENGTHS.unpack(lengths)
                if max(packed_length, length) > LARGEST_BLOCK_BYTES:
                    raise Damaged(file, "a block says that it is larger than any block is")
                packed = stream.read(packed_length)
                if len(packed) < packed_length:
                    raise Damaged(file, "it ends within a block")
                yield decoder.decode(_unpacked(file, packed, length))
    except OSError as error:
        raise Damaged(file, f"it cannot be read ({error.strerror})") from None
    except msgspec.DecodeError as error:
        raise Damaged(file, f"a block holds no records ({error})") from None


def unwritable(path: Path, error: OSError) -> EverwatchError:
    """Return the error for a file that cannot be written."""
    return EverwatchError(f"The file {path} cannot be written: {error.strerror}.")


def _unpacked(file: str, packed: bytes, length: int) -> bytes:
    into = bytearray(length)
    try:
        found = cramjam.zstd.decompress_into(packed, into)
    except cramjam.DecompressionError as error:
        raise Damaged(file, f"a block cannot be unpacked ({error})") from None
    if found != length:
        raise Damaged(file, "a block is shorter than it says")
    return bytes(into)

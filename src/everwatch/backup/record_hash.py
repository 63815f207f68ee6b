"""Order-independent hash of the records of one partition: a sum of digests, the same whatever the offsets are. Pure."""

import struct
from collections.abc import Iterable
from hashlib import blake2b
from typing import NamedTuple

from everwatch.kafka.consumed_record import Headers

_BYTES = 16
_MODULUS = 1 << (8 * _BYTES)
_LENGTH = struct.Struct(">q")
EARLIEST_MS = 1
"""The earliest timestamp that is restored: 0 means "now" to librdkafka, and -1 that there is none."""


class Hashed(NamedTuple):
    """Number of hashed records (of a compacted topic: keys with a value), and the hash."""

    number: int
    hash: str


class LatestHash:
    """Hash of the latest (key, value) of each key; memory holds about 200 bytes for each key of the partition."""

    def __init__(self) -> None:
        self._latest: dict[bytes, int] = {}

    def add(self, key: bytes | None, value: bytes | None) -> None:
        """Take the next record of the partition."""
        if value is None:
            self._latest.pop(key or b"", None)
        else:
            self._latest[key or b""] = _digest(key, value)

    def __contains__(self, key: bytes) -> bool:
        return key in self._latest

    def holds(self, key: bytes, value: bytes) -> bool:
        """Tell whether this is the latest value of the key."""
        return self._latest.get(key) == _digest(key, value)

    def result(self) -> Hashed:
        """Return the hash of all that was added."""
        return Hashed(len(self._latest), _text(self._latest.values()))


class RecordsHash:
    """Hash of all records with their timestamps and headers."""

    def __init__(self) -> None:
        self._count = 0
        self._sum = 0

    def add(self, key: bytes | None, value: bytes | None, timestamp_ms: int, headers: Headers) -> None:
        """Take a record."""
        self._count += 1
        timestamp = _LENGTH.pack(max(timestamp_ms, EARLIEST_MS))
        self._sum += _digest(key, value, timestamp + (repr(headers).encode() if headers else b""))

    def result(self) -> Hashed:
        """Return the hash of all that was added."""
        return Hashed(self._count, _text([self._sum]))


def _text(digests: Iterable[int]) -> str:
    return (sum(digests) % _MODULUS).to_bytes(_BYTES, "big").hex()


def _digest(key: bytes | None, value: bytes | None, more: bytes = b"") -> int:
    # lengths first: no two records give the same bytes
    lengths = _LENGTH.pack(-1 if key is None else len(key)) + _LENGTH.pack(-1 if value is None else len(value))
    joined = b"".join((lengths, more, key or b"", value or b""))
    return int.from_bytes(blake2b(joined, digest_size=_BYTES).digest(), "big")

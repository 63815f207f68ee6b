"""Faust's RocksDB store with plain access by partition: read, scan, and write many entries in one stroke.

Chosen by the URL scheme ``everwatch:`` (entry-point group ``faust.stores``). Recovery and standbys are Faust's own.
"""

from collections.abc import Iterator, Mapping

from faust.stores import rocksdb
from rocksdict import WriteBatch

MIB = 1024 * 1024
# Faust's defaults (a 2 GiB block cache and three 64 MiB write buffers) are meant for one table on a large machine,
# and are taken once for each partition
OPTIONS = {"block_cache_size": 32 * MIB, "write_buffer_size": 16 * MIB, "max_write_buffer_number": 3}


class Store(rocksdb.Store):
    """One RocksDB database for each partition."""

    def read(self, partition: int, key: bytes) -> bytes | None:
        """The value of ``key``, or None."""
        value: bytes | None = self._db_for_partition(partition).get(key)
        return value

    def scan(self, partition: int, prefix: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """All entries whose key starts with ``prefix``, in the order of keys."""
        for key, value in self._db_for_partition(partition).items(from_key=prefix or None):
            if not key.startswith(prefix):
                return
            if key != self.offset_key:
                yield key, value

    def write(self, partition: int, entries: Mapping[bytes, bytes | None], changelog_offset: int) -> None:
        """Write entries (None deletes) together with the changelog offset that they are durable up to."""
        batch = WriteBatch(raw_mode=True)
        for key, value in entries.items():
            if value is None:
                batch.delete(key)
            else:
                batch.put(key, value)
        batch.put(self.offset_key, str(changelog_offset).encode())
        self._db_for_partition(partition).write(batch)

"""Faust's RocksDB store with plain access by partition: read, scan, and write many entries in one stroke.

Chosen by the URL scheme ``everwatch:`` (entry-point group ``faust.stores``). Recovery and standbys are Faust's own.
"""

import gc
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, cast

from faust.stores import rocksdb
from faust.types import TP, EventT
from rocksdict import Rdict, WriteBatch

from everwatch.clock import Clock, SystemClock
from everwatch.kafka.topics import DELETIONS_KEPT_MS

logger = logging.getLogger(__name__)
MIB = 1024 * 1024
# Faust's defaults (a 2 GiB block cache and three 64 MiB write buffers) are meant for one table on a large machine,
# and are taken once for each partition
OPTIONS = {"block_cache_size": 32 * MIB, "write_buffer_size": 16 * MIB, "max_write_buffer_number": 3}
WRITTEN_KEY = b"__everwatch\0written__"
STALE_MS = DELETIONS_KEPT_MS // 2


class Store(rocksdb.Store):
    """One RocksDB database for each partition.

    A database that was not written for days is left aside and read anew from the changelog: what was deleted in the
    meantime may be gone from there without a trace, and would live on here.
    """

    clock: Clock = SystemClock()

    def read(self, partition: int, key: bytes) -> bytes | None:
        """The value of ``key``, or None."""
        value: bytes | None = self._db_for_partition(partition).get(key)
        return value

    def scan(self, partition: int, prefix: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """All entries whose key starts with ``prefix``, in the order of keys."""
        for key, value in self._db_for_partition(partition).items(from_key=prefix or None):
            if not key.startswith(prefix):
                return
            if key not in (self.offset_key, WRITTEN_KEY):
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
        batch.put(WRITTEN_KEY, self._now())
        self._db_for_partition(partition).write(batch)

    def apply_changelog_batch(
        self, batch: Iterable[EventT[Any]], to_key: Callable[[Any], Any], to_value: Callable[[Any], Any]
    ) -> None:
        """Faust calls this with what recovery and standbys read."""
        events = list(batch)
        super().apply_changelog_batch(events, to_key, to_value)
        for partition in {event.message.partition for event in events}:
            self._db_for_partition(partition).put(WRITTEN_KEY, self._now())

    def set_persisted_offset(self, tp: TP, offset: int) -> None:
        """Faust calls this when an offset of the changelog is known to be here."""
        super().set_persisted_offset(tp, offset)
        self._db_for_partition(tp.partition).put(WRITTEN_KEY, self._now())

    def _open_for_partition(self, partition: int) -> Rdict:
        database: Rdict = super()._open_for_partition(partition)
        written = database.get(WRITTEN_KEY)
        if written is None or self.clock.now_ms() - int(written) <= STALE_MS:
            return database
        logger.warning("the table of partition %d is from long ago and is read anew", partition)
        path = self.partition_path(partition)
        database.close()
        del database
        gc.collect()
        Rdict.destroy(str(path), self.rocksdb_options.as_options())
        return cast(Rdict, super()._open_for_partition(partition))

    def _now(self) -> bytes:
        return str(self.clock.now_ms()).encode()

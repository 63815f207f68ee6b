"""Faust's RocksDB store with bulk access by partition: read and write many entries in one stroke, and catch up in bulk.

Chosen by the URL scheme ``everwatch:`` (entry-point group ``faust.stores``). Beside the table's entries each database
holds two indexes by time (``time_indexes``), derived from the entries: of what falls due (one-shot tasks, beginnings,
endings, retries), and of changes that come by themselves (reminders, ends of pauses). They miss no key, but for agenda
items that failed each time (``forget_agenda``); some are stale.
"""

import asyncio
import gc
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, cast

import msgspec
from confluent_kafka import Consumer
from faust.stores import rocksdb
from faust.types import TP, EventT
from rocksdict import Rdict, WriteBatch

from everwatch.core.clock import Clock, SystemClock
from everwatch.encoding.table_records import NO_DATES
from everwatch.kafka.peek import read_tails
from everwatch.kafka.topics import DELETIONS_KEPT_MS
from everwatch.observability.log_throttle import LogThrottle
from everwatch.observability.logs import labelled
from everwatch.rules.changelog_marks import Mark, decode_mark, digest_of
from streams.metrics import FOREIGN
from streams.options import write_batch
from streams.state.catch_up import CatchUp, EntryWrite
from streams.state.entry_keys import FIRST_ENTRY, is_of_entry
from streams.state.rocksdb_options import MIB, OPTIONS, SharedMemoryOptions
from streams.state.snapshot_mark import SnapshotMark
from streams.state.time_indexes import AGENDA, DUE, agenda_key, dates_of_entry, due_key, index_keys
from streams.state.undecodable_entries import Undecodable

logger = logging.getLogger(__name__)
_FOREIGN_KEY = "the changelog of partition %d has a record under %r, which is no entry's key (logged once a minute)"
# no user may have this name, nor that of Faust's own entry (``entry_keys``)
WRITTEN_KEY = b"__everwatch\0written__"
STALE_MS = DELETIONS_KEPT_MS // 2
_TIMETABLE = b"\0T"
_MARK = b"\0Tm"
_AFTER_TIMETABLE = b"\0U"
_CHANGELOG_MARK = b"\0C"
_EMITTED_TO = b"\0E"
SAVED_AT_ONCE = 4 * MIB


def _number(data: bytes | None, otherwise: int) -> int:
    """Return a number that the store has written; ``otherwise`` if there is none, or the value is no number."""
    try:
        return int(data or otherwise)
    except ValueError:
        return otherwise


class EntryStore(rocksdb.Store):
    """One RocksDB database for each partition.

    A database that was not written for days is left aside and read anew from the changelog: what was deleted in the
    meantime may be gone from there without a trace, and would live on here.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.rocksdb_options = SharedMemoryOptions(**OPTIONS)
        self.undecodable = Undecodable(self.clock)
        self._log_throttle = LogThrottle(self.clock)

    clock: Clock = SystemClock()
    # the id of the changelog's topic; "": not known yet
    changelog_id: str = ""
    write_batch: Callable[[Any, WriteBatch], None] = staticmethod(write_batch)
    new_consumer: Callable[[], Consumer] | None = None
    # set where what cannot be read of the changelog is to be passed over
    new_prober: Callable[..., Consumer] | None = None

    def database(self, number: int) -> Any:
        """Return the database (``Rdict``) of a partition, which is opened if need be."""
        return self._db_for_partition(number)

    def read(self, number: int, key: bytes) -> bytes | None:
        """The value of ``key``, or None."""
        return cast(bytes | None, self.database(number).get(key))

    def read_many(self, number: int, keys: list[bytes]) -> list[bytes | None]:
        """The values of the keys, in their order."""
        return cast(list[bytes | None], self.database(number).get(keys)) if keys else []

    def scan(self, number: int, prefix: bytes = b"", after: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """All entries whose key starts with ``prefix`` (those after the key ``after``), in the order of keys."""
        for key, value in self.database(number).items(from_key=after or prefix or FIRST_ENTRY):
            if not key.startswith(prefix):
                return
            if key > after and key not in (self.offset_key, WRITTEN_KEY):
                yield key, value

    def all_entries(self, number: int, at_once: int) -> Iterator[list[tuple[bytes, bytes]]]:
        """Yield all entries in the order of keys, lists of about ``at_once`` of them."""
        rest = iter(cast(Iterable[tuple[bytes, bytes]], self.database(number).items(from_key=FIRST_ENTRY)))
        own = (self.offset_key, WRITTEN_KEY)
        first, last = min(own), max(own)
        while some := list(islice(rest, at_once)):
            if some[0][0] <= last and some[-1][0] >= first:
                some = [entry for entry in some if entry[0] not in own]
            yield some

    def write(
        self,
        number: int,
        changes: Mapping[bytes, bytes | None],
        changelog_offset: int,
        indexed: Iterable[bytes] = (),
    ) -> None:
        """Write entries (None deletes) together with the changelog offset that they are durable up to.

        ``indexed``: their keys in the indexes (``index_keys``).
        """
        batch = WriteBatch(raw_mode=True)
        put, delete = batch.put, batch.delete
        key, value = b"", None
        for key, value in changes.items():
            if value is None:
                delete(key)
            else:
                put(key, value)
        for dated in indexed:
            put(dated, b"")
        self._finish(number, batch, changelog_offset, digest_of(key, value))

    def mark_of(self, number: int) -> Mark | None:
        """Return the table's position in its changelog; None if it has read nothing."""
        database = self.database(number)
        offset = database.get(self.offset_key)
        if offset is None:
            return None
        mark = decode_mark(database.get(_CHANGELOG_MARK)) or Mark("", -1)
        # Faust moves the offset alone
        here = _number(offset, -1)
        return mark if mark.offset == here else Mark(mark.topic_id, here)

    def set_mark(self, number: int, mark: Mark) -> None:
        """Note that the table is what the changelog has up to this mark."""
        batch = WriteBatch(raw_mode=True)
        batch.put(self.offset_key, str(mark.offset).encode())
        batch.put(_CHANGELOG_MARK, mark.encode())
        batch.put(WRITTEN_KEY, self._now())
        self.database(number).write(batch)

    def note_emitted(self, number: int, emitted_to: int) -> None:
        """Remember how far ticks are emitted, should the topic ``progress`` be lost."""
        self.database(number).put(_EMITTED_TO, b"%d" % emitted_to)

    def emitted_to(self, number: int) -> int:
        """Return ``emitted_to`` of this worker's last ownership of the partition at least, ms; 0 if not known."""
        return _number(self.database(number).get(_EMITTED_TO), 0)

    def drop(self, number: int) -> None:
        """Forget the table of a partition; it is read anew from the changelog."""
        path = self.partition_path(number)
        database = self._dbs.pop(number, None)
        if database is not None:
            database.close()
        del database
        gc.collect()
        Rdict.destroy(str(path), self.rocksdb_options.as_options())

    def due(self, number: int, after: tuple[int, bytes], upto: int, most: int) -> list[tuple[int, bytes]]:
        """Return the next ``most`` due items up to the instant ``upto``: instant and key."""
        return self._dated(number, due_key(*after), due_key(upto + 1, b""), most)

    def agenda_due(self, number: int, upto: int, most: int) -> list[tuple[int, bytes]]:
        """Return the next ``most`` monitors that change up to the instant ``upto``: instant and key."""
        return self._dated(number, AGENDA, agenda_key(upto + 1, b""), most)

    def forget_agenda(self, number: int, handled: Iterable[tuple[int, bytes]]) -> None:
        """Drop handled items from the index of changes."""
        batch = WriteBatch(raw_mode=True)
        for due, key in handled:
            batch.delete(agenda_key(due, key))
        self.database(number).write(batch)

    def _dated(self, number: int, begin: bytes, end: bytes, most: int) -> list[tuple[int, bytes]]:
        found: list[tuple[int, bytes]] = []
        for indexed in self.database(number).keys(from_key=begin):
            if indexed >= end or len(found) == most:
                break
            if indexed > begin:
                found.append((int.from_bytes(indexed[2:10], "big"), indexed[10:]))
        return found

    def forget_due(self, number: int, upto: int) -> None:
        """Drop the items due up to ``upto`` from the index."""
        self.database(number).delete_range(DUE, due_key(upto + 1, b""))

    def save_snapshot(self, number: int, shelves: Iterable[bytes], mark: SnapshotMark) -> None:
        """Save a timetable, as of the entries that are written now."""
        database = self.database(number)
        database.delete_range(_TIMETABLE, _AFTER_TIMETABLE)
        batch = WriteBatch(raw_mode=True)
        for place, shelf in enumerate(shelves):
            batch.put(_TIMETABLE + place.to_bytes(8, "big"), shelf)
            if batch.size_in_bytes() > SAVED_AT_ONCE:
                database.write(batch)
                batch = WriteBatch(raw_mode=True)
        offset = database.get(self.offset_key) or b""
        batch.put(_MARK, msgspec.json.encode(msgspec.structs.replace(mark, offset=offset.decode(errors="replace"))))
        database.write(batch)

    def has_snapshot(self, number: int) -> bool:
        """Tell whether a timetable is saved."""
        return self.database(number).get(_MARK) is not None

    def restore_snapshot(self, number: int) -> tuple[SnapshotMark, Iterator[bytes]] | None:
        """The timetable that was saved, if nothing was written since; it can be taken once."""
        database = self.database(number)
        data = database.get(_MARK)
        if data is None:
            return None
        del database[_MARK]
        try:
            mark = msgspec.json.decode(data, type=SnapshotMark)
        except msgspec.DecodeError:
            return None
        if mark.offset.encode() != (database.get(self.offset_key) or b""):
            return None
        return mark, self._between(database, _TIMETABLE, _MARK)

    @staticmethod
    def _between(database: Rdict, begin: bytes, end: bytes) -> Iterator[bytes]:
        for key, value in cast(Iterable[tuple[bytes, bytes]], database.items(from_key=begin)):
            if key >= end:
                return
            yield value

    def apply_changelog_batch(
        self,
        batch: Iterable[EventT[Any]],
        to_key: Callable[[Any], Any],  # noqa: ARG002 - Faust's signature; keys and values are bytes here
        to_value: Callable[[Any], Any],  # noqa: ARG002
    ) -> None:
        """Faust calls this with records that standbys read, and those that came while this worker caught up."""
        changes: dict[int, list[EntryWrite]] = {}
        offsets: dict[int, int] = {}
        here: dict[int, int] = {}
        for event in batch:
            message = event.message
            # what Faust read for a standby may come late, when the engine has read further for the active partition
            if message.offset <= here.setdefault(message.partition, self.offset_of(message.partition)):
                continue
            changes.setdefault(message.partition, []).append((cast(bytes, message.key), cast(bytes, message.value)))
            offsets[message.partition] = message.offset
        for partition, some in changes.items():
            self.apply(partition, some, offsets[partition])

    def set_persisted_offset(self, tp: TP, offset: int) -> None:
        """Faust calls this when an offset of the changelog is known to be here."""
        super().set_persisted_offset(tp, offset)
        self.database(tp.partition).put(WRITTEN_KEY, self._now())

    async def catch_up(self, topic: str, partitions: Iterable[int]) -> None:
        """Read in bulk what the changelog has now and these partitions lack.

        Raises BrokerUnavailable, RecordsUnreadable, AccessError.
        """
        assert self.new_consumer is not None  # it is set before anything is assigned
        behind = {number: self.offset_of(number) + 1 for number in sorted(partitions)}
        catch_up = CatchUp(behind, topic, self.new_consumer, self.apply, self.clock, self.new_prober)
        work = asyncio.ensure_future(asyncio.to_thread(catch_up.run))
        try:
            await asyncio.wait([work])
        finally:
            # also where a rebalance interrupts: the databases may be closed only when no thread writes to them
            catch_up.cancel()
            await asyncio.wait([work])
        work.result()

    async def last_offsets(self, topic: str, partitions: Iterable[int]) -> dict[int, int]:
        """The offset of each partition's last record in the changelog; one that has none is left out."""
        return await asyncio.to_thread(self._last_offsets, topic, list(partitions))

    def _last_offsets(self, topic: str, partitions: list[int]) -> dict[int, int]:
        assert self.new_consumer is not None
        consumer = self.new_consumer()
        try:
            tails = read_tails(consumer, topic, partitions)
            return {number: records[-1].offset for number, records in tails.items() if records}
        finally:
            consumer.close()

    def offset_of(self, number: int) -> int:
        """The offset of the last record of the changelog that is here; -1 if none is."""
        return _number(self.database(number).get(self.offset_key), -1)

    def persisted_offset(self, tp: TP) -> int | None:
        """Faust asks for the offset of the last record that is here; None if nothing is."""
        offset = self.offset_of(tp.partition)
        return None if offset < 0 else offset

    def apply(self, number: int, changes: Iterable[EntryWrite], changelog_offset: int) -> None:
        """Write entries that the changelog has up to an offset, with their keys in the indexes; pass over others."""
        batch = WriteBatch(raw_mode=True)
        put, delete = batch.put, batch.delete
        key, value = b"", None
        for key, value in changes:
            if not is_of_entry(key):
                FOREIGN.inc()
                if self._log_throttle.may_log(number):
                    logger.error(_FOREIGN_KEY, number, key, extra=labelled(partition=number))
                continue
            if value is None:
                delete(key)
                continue
            put(key, value)
            # users, who stand in no index, have keys that end with the separator
            if key[-1] and (dates := dates_of_entry(key, value)) is not NO_DATES:
                for dated in index_keys(key, dates):
                    put(dated, b"")
        self._finish(number, batch, changelog_offset, digest_of(key, value))

    def _finish(self, number: int, batch: WriteBatch, changelog_offset: int, digest: int) -> None:
        batch.put(self.offset_key, str(changelog_offset).encode())
        batch.put(_CHANGELOG_MARK, Mark(self.changelog_id, changelog_offset, digest).encode())
        batch.put(WRITTEN_KEY, self._now())
        self.write_batch(self.database(number), batch)

    def _open_for_partition(self, partition: int) -> Rdict:
        database: Rdict = super()._open_for_partition(partition)
        written = database.get(WRITTEN_KEY)
        if written is None or self.clock.now_ms() - _number(written, 0) <= STALE_MS:
            return database
        about = labelled(partition=partition)
        logger.warning("the table of partition %d is from long ago and is read anew", partition, extra=about)
        self._dbs[partition] = database
        del database
        self.drop(partition)
        return cast(Rdict, super()._open_for_partition(partition))

    def _now(self) -> bytes:
        return str(self.clock.now_ms()).encode()

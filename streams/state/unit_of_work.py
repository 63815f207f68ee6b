"""Units of work, which alone change entries of the table ``monitors``: durable as a whole once finished.

Catching up and standbys write the table, too: what the changelog has.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from heapq import merge
from itertools import groupby
from typing import NamedTuple

from everwatch.core.cooperative_chunks import cooperative_chunks
from everwatch.core.errors import InvalidInput
from everwatch.encoding import codec, table_records
from everwatch.kafka.outbox import Outbox
from everwatch.model import Monitor, User
from everwatch.timetable import LocalStateWrong
from streams.state.entry_store import EntryStore
from streams.state.fenced_writers import FencedWriters, PartitionLost
from streams.state.owned_partition import OwnedPartition
from streams.state.owned_partitions import OwnedPartitions
from streams.state.time_indexes import index_keys
from streams.transport.output_record import OutputRecord

# with its key and the batch around it within the largest batch that topics take by default (1,048,588 bytes)
LARGEST_ENTRY_BYTES = 900_000


@contextmanager
def all_or_worker_ends() -> Iterator[None]:
    """Run steps that must all follow once something is durable.

    If one fails, the worker ends (LocalStateWrong) and the next owner rebuilds.
    """
    try:
        yield
    except LocalStateWrong:
        raise
    except BaseException as error:
        raise LocalStateWrong(f"what is durable did not get into the timetable: {error!r}") from error


class MonitorWithUser(NamedTuple):
    """A monitor and its user; None if the user cannot be decoded."""

    monitor: Monitor
    user: User | None


class UnitOfWork:
    """A unit of work: it reads its own changes; nothing is written before ``finish()``.

    ``finish()`` goes in this order: 1. the broker acknowledges what is announced (transitions, say) and what was sent
    besides; 2. the changelog records of each partition are committed, a transaction for each; 3. the local store is
    written, together with the changelog offset. So local state is never ahead of the changelog, nor the changelog ahead
    of the transitions: an input that is read again after a crash repeats what was not durable, and nothing else.
    """

    def __init__(self, store: EntryStore, outbox: Outbox, writers: FencedWriters, partitions: OwnedPartitions) -> None:
        self._store = store
        self._outbox = outbox
        self._writers = writers
        self._partitions = partitions
        self._entries: dict[int, dict[bytes, bytes | None]] = defaultdict(dict)
        self._known: dict[int, dict[bytes, bytes | None]] = defaultdict(dict)
        self._indexed: dict[int, list[bytes]] = defaultdict(list)
        self._timestamps: dict[bytes, int] = {}
        self._announced: list[tuple[int, OutputRecord]] = []
        self._cancellations: dict[int, dict[bytes, bytes]] = defaultdict(dict)
        self._met: dict[int, OwnedPartition] = {}
        self.commits: dict[int, asyncio.Task[int]] = {}
        self._positions: dict[int, int] = {}
        # users and monitors that the table gets more, or (negative) fewer
        self._more: dict[int, list[int]] = defaultdict(lambda: [0, 0])

    def owned(self, number: int) -> OwnedPartition:
        """The partition. Raises PartitionLost."""
        partition = self._partitions.get(number)
        # one that was lost and came back meanwhile is another one
        if partition is None or self._met.setdefault(number, partition) is not partition:
            raise PartitionLost(f"partition {number} is not this worker's any more")
        return partition

    def read(self, number: int, keys: list[bytes]) -> list[bytes | None]:
        """The values of many entries as they stand before this unit of work."""
        self.owned(number)
        return self._store.read_many(number, keys)

    def look_up(self, number: int, keys: list[bytes]) -> dict[bytes, bytes | None]:
        """Read many entries at once, ahead of their being asked for; gives all that are read so far, by key."""
        known = self._known[number]
        known.update(zip(keys, self.read(number, keys), strict=True))
        return known

    def with_users(self, number: int, keys: Iterable[bytes]) -> dict[bytes, MonitorWithUser]:
        """The monitors of these table keys, with their users; without those that are gone or cannot be decoded."""
        user_keys = {key: key.partition(codec.SEPARATOR)[0] + codec.SEPARATOR for key in keys}
        self.look_up(number, list(set(user_keys.values()) - self._known[number].keys()))
        users: dict[bytes, User | Monitor | None] = {}
        found: dict[bytes, MonitorWithUser] = {}
        for key, user_key in user_keys.items():
            if user_key not in users:
                users[user_key] = self._entry(number, user_key)
            monitor, user = self._entry(number, key), users[user_key]
            if isinstance(monitor, Monitor):
                found[key] = MonitorWithUser(monitor, user if isinstance(user, User) else None)
        return found

    def add(self, number: int, key: bytes, entry: User | Monitor) -> None:
        """Write an entry under its table key. Raises InvalidInput if no record can hold it."""
        value = codec.encode_entry(entry)
        if len(value) > LARGEST_ENTRY_BYTES:
            # the broker would refuse it only after others of this unit of work were sent
            raise InvalidInput(
                f"what is kept of it would take {len(value)} bytes, and at most {LARGEST_ENTRY_BYTES} are kept"
            )
        self._entries[number][key] = value
        if isinstance(entry, Monitor):
            dates = table_records.dates_of_monitor(entry)
            if dates is not table_records.NO_DATES:
                self._indexed[number] += index_keys(key, dates)

    def add_value(self, number: int, key: bytes, value: bytes) -> None:
        """Write an entry that is encoded already."""
        self._entries[number][key] = value

    def add_values(self, number: int, entries: Iterable[tuple[bytes, bytes]]) -> None:
        """Write entries that are encoded already, each within LARGEST_ENTRY_BYTES, and that stand in no index."""
        self._entries[number].update(entries)

    def value(self, number: int, key: bytes) -> bytes | None:
        """The value of an entry as it stands now, or None."""
        for known in (self._entries[number], self._known[number]):
            if key in known:
                return known[key]
        self.owned(number)
        return self._store.read(number, key)

    def decoded(self, number: int, key: bytes, value: bytes) -> User | Monitor | None:
        """The user or monitor of a value; None, and noted, if it cannot be decoded: it counts as absent then."""
        return self._store.undecodable.decode(number, key, value)

    def user(self, number: int, user_id: str) -> User | None:
        """The user, or None."""
        entry = self._entry(number, codec.table_key(user_id))
        assert entry is None or isinstance(entry, User)
        return entry

    def monitor(self, number: int, user_id: str, monitor_id: str) -> Monitor | None:
        """The monitor, or None."""
        entry = self._entry(number, codec.table_key(user_id, monitor_id))
        assert entry is None or isinstance(entry, Monitor)
        return entry

    def monitors_of(self, number: int, user_id: str, after: bytes = b"") -> Iterator[tuple[bytes, Monitor]]:
        """A user's monitors and their table keys in order, those after the key ``after``."""
        prefix = codec.table_key(user_id)
        added = sorted(key for key in self._entries[number] if key.startswith(prefix) and key > after)
        for key, _ in groupby(merge(added, self._scanned(number, prefix, after))):
            if key == prefix or codec.is_bookkeeping(key[len(prefix) :]):
                continue
            entry = self._entry(number, key)
            if isinstance(entry, Monitor):
                yield key, entry

    def _scanned(self, number: int, prefix: bytes, after: bytes) -> Iterator[bytes]:
        known = self._known[number]
        for key, value in self._store.scan(number, prefix, after):
            # the caller reads the value of each key next
            known.setdefault(key, value)
            yield key

    def put(self, number: int, entry: User | Monitor) -> None:
        """Write a user or a monitor."""
        key = codec.table_key(entry.user_id, entry.monitor_id if isinstance(entry, Monitor) else "")
        is_new = self.value(number, key) is None
        self.add(number, key, entry)
        if is_new:
            self._count(number, key, 1)

    def count_new(self, number: int, users: int, monitors: int) -> None:
        """Count users and monitors that ``add``, ``add_value`` and ``add_values`` have written for the first time.

        These count nothing themselves; ``put`` and ``delete`` do.
        """
        more = self._more[number]
        more[0] += users
        more[1] += monitors

    def delete(self, number: int, user_id: str, monitor_id: str = "", *, at: int) -> None:
        """Take out a monitor or (without ``monitor_id``) a user; ``at`` becomes the tombstone's timestamp, ms."""
        key = codec.table_key(user_id, monitor_id)
        if self.value(number, key) is not None:
            self._count(number, key, -1)
        self._entries[number][key] = None
        self._timestamps[key] = at

    def delete_value(self, number: int, key: bytes, *, at: int) -> None:
        """Take out an entry that is neither monitor nor user, if it is there; ``at`` as of ``delete``."""
        if self.value(number, key) is not None:
            self._entries[number][key] = None
            self._timestamps[key] = at

    def delete_undecodable(self, number: int, user_id: str, *, at: int) -> None:
        """Delete the undecodable ones of a user's entries, as far as they were met."""
        for key in self._store.undecodable.of(number, codec.table_key(user_id)):
            if self.value(number, key) is not None and key not in self._entries[number]:
                self._count(number, key, -1)
            self._entries[number].setdefault(key, None)
            self._timestamps.setdefault(key, at)

    def add_cancellation(self, number: int, key: bytes, value: bytes) -> None:
        """Add records for executors on cancelled monitors to the transaction of this unit of work."""
        self._cancellations[number][key] = value

    def announce(self, number: int, record: OutputRecord) -> None:
        """Send a record when the unit of work finishes, ahead of the changes that it announces."""
        self._announced.append((number, record))

    def begin_commit(self, number: int) -> None:
        """Begin to commit a partition's changes; no more may be added. Raises PartitionLost."""
        assert number not in self.commits
        self.owned(number)
        changes = self._entries[number]
        if not changes:
            return
        at = self._timestamps
        records = [(key, value, at[key] if value is None else 0) for key, value in changes.items()]
        cancelled = [(key, value, 0) for key, value in self._cancellations[number].items()]
        self.commits[number] = asyncio.create_task(self._writers.write(number, records, cancelled))

    async def finish(self) -> None:
        """Commit the changes: on the broker first, then in the local store.

        Raises PartitionLost, BrokerUnavailable, RecordRefused: then nothing is written in the local store. Raises
        LocalStateWrong if the local state does not follow what is committed: the worker ends.
        """
        changed = [partition for partition, changes in self._entries.items() if changes]
        try:
            # an input that is read again after a crash finds a committed change done, and sends nothing of it again
            async for few in cooperative_chunks(self._announced):
                for partition, (topic, key, value) in few:
                    self._outbox.send(topic, partition=partition, key=key, value=value)
            await self._outbox.delivered()
            for partition in changed:
                if partition not in self.commits:
                    self.begin_commit(partition)
                    await asyncio.sleep(0)
            offsets = await asyncio.gather(*(self.commits[partition] for partition in changed))
            for partition in changed:
                self.owned(partition)
        except BaseException:
            self.note_failure()
            raise
        self.commits.clear()
        for partition, offset in zip(changed, offsets, strict=True):
            if offset <= self._store.offset_of(partition):
                raise LocalStateWrong(
                    f"the changelog of partition {partition} went back to offset {offset}: it was made anew or cut off,"
                    " and is compared with the table when the worker starts again"
                )
        with all_or_worker_ends():
            for partition, offset in zip(changed, offsets, strict=True):
                self._store.write(partition, self._entries[partition], offset, self._indexed[partition])
                self._store.undecodable.written(partition, self._entries[partition])
                if partition in self._more:
                    self.owned(partition).count(*self._more[partition])

    def position(self, number: int) -> int:
        """The offset of the last record of a partition's changelog that is in the local store, for after ``finish``."""
        if number not in self._positions:
            self._positions[number] = self._store.offset_of(number)
        return self._positions[number]

    def note_failure(self) -> None:
        """Have all partitions fenced at their next assignment, if a commit began.

        A part of the unit may be committed, without being in the local store; nothing is undone.
        """
        if self.commits:
            self._writers.fence_all_at_next_assignment()

    def _count(self, number: int, key: bytes, more: int) -> None:
        monitor_id = key.partition(codec.SEPARATOR)[2]
        if not codec.is_bookkeeping(monitor_id):
            self._more[number][bool(monitor_id)] += more

    def _entry(self, number: int, key: bytes) -> User | Monitor | None:
        self.owned(number)
        value = self.value(number, key)
        return None if value is None else self.decoded(number, key, value)


class UnitsOfWork:
    """Hands out units of work, one at a time, so that none reads what another is about to change."""

    def __init__(
        self,
        store: EntryStore,
        outbox: Outbox,
        writers: FencedWriters,
        partitions: OwnedPartitions,
        sweeps_on_time: Callable[[], Awaitable[None]],
    ) -> None:
        self._store = store
        self._outbox = outbox
        self._writers = writers
        self._partitions = partitions
        self._sweeps_on_time = sweeps_on_time
        self._lock = asyncio.Lock()

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[UnitOfWork]:
        """Give a unit of work, durable once its ``finish()`` has returned. It begins when sweeps are on time.

        After ``SWEEPS_PATIENCE_S`` it begins anyway.
        """
        await self._sweeps_on_time()
        async with self._lock:
            work = UnitOfWork(self._store, self._outbox, self._writers, self._partitions)
            try:
                yield work
            except LocalStateWrong:
                # at once: a rebalance that waits for this unit of work would save the timetables
                self._partitions.abandon()
                raise
            except BaseException:
                work.note_failure()
                raise

    async def idle(self) -> None:
        """Wait until no unit of work is under way."""
        async with self._lock:
            pass

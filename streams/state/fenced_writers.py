"""Write access to owned partitions, a fenced producer each: changelog, ``cancellations`` and ``progress``.

Only a partition's owner may write to these topics. Ticks, results, transitions, replies and dead letters need no fence:
each has an identity, so the database counts once what is written twice. A check may run twice all the same.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeVar

from confluent_kafka import Producer

from everwatch.core.errors import BrokerUnavailable, Transient
from everwatch.core.retrying import retry
from everwatch.kafka.process_rights import transactions_of
from everwatch.kafka.progress import ENTRIES_HEADER, OWNER_HEADER, UNDECODABLE_HEADER
from everwatch.kafka.topics import Topics
from everwatch.kafka.transactional_producer import Fenced, RecordRun, TransactionalProducer
from everwatch.observability.logs import labelled
from everwatch.rules.changelog_marks import Mark
from streams.state.table_notes import TableNotes

logger = logging.getLogger(__name__)
# a transaction costs the worker a millisecond and the broker three, however little is in it
PROGRESS_EVERY_MS = 1_000
RETRY_S = 0.5
# groups of partitions whose notes are spread over PROGRESS_EVERY_MS
SPREAD = 8

T = TypeVar("T")
ChangelogRecord = tuple[bytes, bytes | None, int]


class PartitionLost(Transient):
    """Something was to be written to a partition that this worker does not own any more."""


class _FencedWriter:
    """One partition's producer, and what it has to write of progress."""

    def __init__(self, number: int, producer: TransactionalProducer) -> None:
        self.number = number
        self.producer = producer
        # a transaction at a time
        self.transaction_lock = asyncio.Lock()
        self.fencing: asyncio.Task[None] | None = None
        self.emitted_to = 0
        self.noted = 0
        self.is_lost = False

    @property
    def is_ready(self) -> bool:
        """Tell whether every earlier owner is fenced, and this one is not."""
        fencing = self.fencing
        return not self.is_lost and fencing is not None and fencing.done() and fencing.exception() is None

    @property
    def is_due(self) -> bool:
        """Tell whether it is this partition's turn to note progress."""
        phase = self.number % SPREAD * (PROGRESS_EVERY_MS // SPREAD)
        return (self.emitted_to + phase) // PROGRESS_EVERY_MS > (self.noted + phase) // PROGRESS_EVERY_MS


class FencedWriters:
    """Fences the partitions that this worker is given, and writes to those.

    ``on_lost`` is called once with a partition whose producer another owner has fenced. ``notes`` gives the facts of
    its table that are noted with its progress.
    """

    def __init__(
        self,
        new_producer: Callable[[int], Producer],
        topics: Topics,
        partitions: int,
        on_lost: Callable[[int], None],
        notes: TableNotes,
    ) -> None:
        self._new_producer = new_producer
        self._topics = topics
        self._on_lost = on_lost
        self._notes = notes
        self._writers: dict[int, _FencedWriter] = {}
        self._group_generation = -1
        self._must_fence_all = False
        # a thread for each partition: a slow transaction delays no other one
        self._threads = ThreadPoolExecutor(partitions, thread_name_prefix="partition-writer")
        # tasks that a thread works on: a caller that is cancelled must not cancel them
        self._running: set[asyncio.Task[Any]] = set()

    def fence(self, numbers: Iterable[int], group_generation: int) -> None:
        """Begin to fence earlier owners of these partitions, and close the producers of all others.

        A partition that stays with this worker from one ``group_generation`` to the next needs no new producer,
        unless a transaction is under way or this one is not ready.
        """
        wanted = set(numbers)
        stays = self.follows_directly(group_generation)
        for number, writer in list(self._writers.items()):
            if number not in wanted or not stays or not writer.is_ready or writer.transaction_lock.locked():
                self._discard(writer)
        self._group_generation, self._must_fence_all = group_generation, False
        for number in sorted(wanted - self._writers.keys()):
            producer = TransactionalProducer(self._new_producer, number, transactions_of(self._topics))
            writer = self._writers[number] = _FencedWriter(number, producer)
            writer.fencing = self._start(self._initialise(writer))

    def follows_directly(self, group_generation: int) -> bool:
        """Tell whether no other worker can have owned the partitions since: no generation lies between.

        False, too, if a commit may be missing in the local table (``fence_all_at_next_assignment``).
        """
        return not self._must_fence_all and self._group_generation <= group_generation <= self._group_generation + 1

    def fence_all_at_next_assignment(self) -> None:
        """Fence every partition anew when they are assigned next: a commit may be missing in the local table."""
        self._must_fence_all = True

    async def wait_until_earlier_owners_are_fenced(self, numbers: Iterable[int]) -> None:
        """Wait until only this worker can write to these partitions. Raises PartitionLost."""
        for number in numbers:
            writer = self._held(number)
            assert writer.fencing is not None  # it is begun when the writer is made
            await asyncio.shield(writer.fencing)
            self._check(writer)

    async def write(
        self, number: int, changes: Sequence[ChangelogRecord], cancelled: Sequence[ChangelogRecord] = ()
    ) -> int:
        """Append to the changelog; gives the offset of the last record when all of it is committed.

        ``cancelled`` goes to the topic ``cancellations`` in the same transaction. Waits while no broker answers.
        Raises PartitionLost, RecordRefused.
        """
        return await asyncio.shield(self._start(self._write(self._held(number), changes, cancelled)))

    def note(self, number: int, emitted_to: int) -> None:
        """Note that every tick due up to ``emitted_to`` is durable; it is written within a second, or by ``flush``."""
        writer = self._writers.get(number)
        if writer is None or writer.is_lost:
            return
        writer.emitted_to = emitted_to
        # a transaction that is under way writes it, or the next sweep does
        if writer.is_due and not writer.transaction_lock.locked():
            self._start(self._write_progress(writer))

    async def note_owner(self, number: int, emitted_to: int, mark: Mark) -> None:
        """Write the owner's mark at once. Raises PartitionLost, BrokerUnavailable."""
        writer = self._held(number)
        async with writer.transaction_lock:
            await self._commit(writer, [self._noting(number, emitted_to, mark)])

    async def flush(self, numbers: Collection[int] | None = None) -> None:
        """Write the pending progress of these partitions, or of all."""
        writers = [writer for number, writer in self._writers.items() if numbers is None or number in numbers]
        await asyncio.gather(*(asyncio.shield(self._start(self._write_progress(writer))) for writer in writers))

    async def close(self, patience_s: float) -> None:
        """Close all producers."""
        for writer in list(self._writers.values()):
            self._discard(writer)
        if self._running:
            await asyncio.wait(self._running, timeout=patience_s)
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _held(self, number: int) -> _FencedWriter:
        writer = self._writers.get(number)
        if writer is None:
            raise PartitionLost(f"partition {number} is not this worker's")
        return writer

    def _check(self, writer: _FencedWriter) -> None:
        if not writer.is_ready:
            raise PartitionLost(f"partition {writer.number} is not this worker's any more")

    def _discard(self, writer: _FencedWriter) -> None:
        """Give a producer up: its partition is fenced anew before it is written to again."""
        writer.is_lost = True
        writer.producer.abandon()
        if self._writers.get(writer.number) is writer:
            del self._writers[writer.number]
        self._start(self._close(writer))

    async def _initialise(self, writer: _FencedWriter) -> None:
        async def initialise() -> None:
            if not writer.is_lost:
                await self._in_thread(writer.producer.initialise)

        with suppress(Fenced):  # it was given up meanwhile
            await _retry_while_away(initialise, "partitions cannot be opened yet: %s")

    async def _write(
        self, writer: _FencedWriter, changes: Sequence[ChangelogRecord], cancelled: Sequence[ChangelogRecord]
    ) -> int:
        async def commit() -> int:
            runs = [RecordRun(self._topics.monitors_changelog, changes)]
            if cancelled:
                runs.append(RecordRun(self._topics.cancellations, cancelled))
            if writer.is_due:
                runs.append(self._progress_of(writer))
            return (await self._commit(writer, runs))[0]

        async with writer.transaction_lock:
            return await _retry_while_away(commit, "%s It is tried again.")

    async def _write_progress(self, writer: _FencedWriter) -> None:
        async with writer.transaction_lock:
            if writer.emitted_to <= writer.noted or not writer.is_ready:
                return
            try:
                await self._commit(writer, [self._progress_of(writer)])
            except PartitionLost:
                pass  # the new owner notes it
            except BrokerUnavailable as error:
                logger.warning("%s Progress is noted later.", error)

    def _progress_of(self, writer: _FencedWriter) -> RecordRun:
        number, emitted_to = writer.number, writer.emitted_to
        return self._noting(number, emitted_to, self._notes.store_progress(number, emitted_to))

    def _noting(self, number: int, emitted_to: int, mark: Mark | None) -> RecordRun:
        headers: list[tuple[str, str | bytes | None]] = [(OWNER_HEADER, mark.encode())] if mark else []
        if undecodable := self._notes.count_undecodable(number):
            headers.append((UNDECODABLE_HEADER, b"%d" % undecodable))
        if (entries := self._notes.count_entries(number)) is not None:
            headers.append((ENTRIES_HEADER, entries.encode()))
        return RecordRun(self._topics.progress, [(b"%d" % number, b"%d" % emitted_to, 0)], headers or None)

    async def _commit(self, writer: _FencedWriter, runs: Sequence[RecordRun]) -> list[int]:
        self._check(writer)
        emitted_to = writer.emitted_to
        try:
            offsets = await self._in_thread(writer.producer.commit, runs)
        except Fenced as error:
            if not writer.is_lost:
                logger.warning(
                    "partition %d is lost: %s", writer.number, error, extra=labelled(partition=writer.number)
                )
                self._discard(writer)
                self._on_lost(writer.number)
            raise PartitionLost(f"partition {writer.number} is not this worker's any more") from None
        if runs[-1].topic == self._topics.progress:
            writer.noted = emitted_to
        return offsets

    async def _close(self, writer: _FencedWriter) -> None:
        if writer.fencing is not None:
            await asyncio.wait([writer.fencing])
        async with writer.transaction_lock:
            await self._in_thread(writer.producer.close)

    def _start(self, work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: "asyncio.Task[Any]") -> None:
        self._running.discard(task)
        if not task.cancelled():
            task.exception()  # the caller gets it, if it still waits

    def _in_thread(self, call: Callable[..., T], *arguments: object) -> "asyncio.Future[T]":
        return asyncio.get_running_loop().run_in_executor(self._threads, call, *arguments)


async def _retry_while_away(call: Callable[[], Awaitable[T]], said: str) -> T:
    """Return the result of ``call``, which is repeated while no broker answers; ``said`` is logged each time."""
    return await retry(
        BrokerUnavailable,
        call,
        lambda error: logger.warning(said, error),
        first_pause_s=RETRY_S,
        longest_pause_s=RETRY_S,
    )

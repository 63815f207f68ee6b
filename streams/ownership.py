"""Ownership of partitions through rebalances: which of them this worker holds, in what order they open and close.

Faust's group protocol decides which worker owns which partition. Here is what follows: changes stop when a rebalance
begins; partitions that went are closed; of new ones earlier owners are fenced, the table is brought up to date, the
timetable is built, and then their inputs are read. Every step that waits looks afterwards whether a rebalance has begun
meanwhile (``rebalance_number``).
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Coroutine, Sequence, Set
from contextlib import asynccontextmanager
from typing import Any, NamedTuple, Protocol

from confluent_kafka import KafkaException

from everwatch.core.clock import Clock
from everwatch.core.config import Settings
from everwatch.core.errors import AccessError, BrokerUnavailable, RecordsUnreadable
from everwatch.kafka.access_errors import refused
from everwatch.kafka.topics import Topics
from everwatch.observability.logs import labelled
from everwatch.observability.rebalances import Rebalances
from everwatch.rules.changelog_marks import UNREADABLE_REMEDY
from streams.options import WorkerOptions
from streams.state.entry_store import EntryStore
from streams.state.fenced_writers import FencedWriters, PartitionLost
from streams.state.owned_partitions import OwnedPartitions
from streams.state.table_examination import TableExaminer
from streams.transport.batch_consumer import BatchConsumer

logger = logging.getLogger(__name__)
PATIENCE_S = 3.0


class PartitionParts(NamedTuple):
    """Parts that follow the partitions: held open, fenced, examined, read. ``store``: that of the table."""

    partitions: OwnedPartitions
    writers: FencedWriters
    examiner: TableExaminer
    batch_consumers: Sequence[BatchConsumer]
    store: EntryStore


class WorkerHost(Protocol):
    """The engine, as ownership sees it."""

    ready: asyncio.Event
    """Set once the parts are connected."""

    @property
    def should_stop(self) -> bool:
        """Tell whether the worker stops."""
        ...

    @property
    def is_broken(self) -> bool:
        """Tell whether a part has failed: memory and durable state may differ."""
        ...

    def end(self, error: BaseException) -> None:
        """End the worker for an error."""
        ...

    async def idle(self) -> None:
        """Wait until no unit of work is under way."""
        ...

    async def join_group(self) -> None:
        """Have the group assign partitions anew."""
        ...

    async def sleep(self, n: float) -> None:
        """Wait ``n`` seconds, or until the worker stops."""
        ...

    def add_future(self, coro: Awaitable[Any]) -> asyncio.Future[Any]:
        """Run something until the worker stops; an error ends the worker."""
        ...


class Ownership:
    """The partitions of one worker, from one assignment to the next.

    They are given up in three ways. *Closed*: the sweep ends, the timetable is saved as a snapshot, progress is
    written. *Abandoned*: none of that; work that is under way finds its partition lost. *Fenced anew*: abandoned, and
    at the next assignment every table is read up to its changelog's end again.
    """

    def __init__(
        self, host: WorkerHost, parts: PartitionParts, settings: Settings, clock: Clock, options: WorkerOptions
    ) -> None:
        self._options = options
        self._host = host
        self._partitions, self._writers, self._examiner, self._batch_consumers, self._store = parts
        self._changelog = Topics.of(settings).monitors_changelog
        self._session_timeout_ms = settings.session_timeout_ms
        # counts rebalances
        self._rebalance_number = 0
        # held while partitions are opened or closed
        self.hand_over_lock = asyncio.Lock()
        # units of work may change the monitors of the partitions that are open
        self.may_change = False
        self._opening: asyncio.Task[None] | None = None
        self._catching_up: asyncio.Future[None] | None = None
        self._rejoining = False
        # set while a rebalance is under way: gives up when it does not end
        self._give_up_timer: asyncio.TimerHandle | None = None
        self._rebalances = Rebalances("worker", clock)
        # partitions whose changelog has records that this worker lacks and cannot read
        self._unreadable: frozenset[int] = frozenset()
        # how far ticks were emitted when partitions were brought up to date, ms
        self._progress_found: dict[int, int] = {}

    def _is_current(self, rebalance_number: int) -> bool:
        """Tell whether no rebalance has begun since this one."""
        return rebalance_number == self._rebalance_number

    async def revoked(self, patience_s: float = PATIENCE_S) -> None:
        """Stop changes, as a rebalance has begun; ticks go on.

        The group assigns no partition of this worker to another before it has sent this worker its new assignment, so
        ticks need not stop. If no assignment comes, the worker gives its partitions up once its session must be over.
        ``patience_s``: for the batch consumers, and once more for the unit of work.
        """
        async with self._changes_stopped(patience_s) as are_stopped:
            if not are_stopped:
                self._abandon_and_fence_all()
        self.stop_give_up_timer()
        self._rebalances.revoked()
        over_s = self._options.sessions * self._session_timeout_ms / 1000
        self._give_up_timer = asyncio.get_running_loop().call_later(over_s, self._rebalance_took_too_long)

    async def assigned(self, numbers: set[int], group_generation: int) -> None:
        """Give up all partitions but these, and begin to open these: a rebalance has assigned them.

        Faust's recovery, which is for standbys, goes on meanwhile.
        """
        async with self.hand_over_lock:
            stay = numbers if self._writers.follows_directly(group_generation) else set()
            gone = self._partitions.owned - stay
            if not await within(PATIENCE_S, self.close_partitions(gone)):
                # nothing of those that stay is under way: changes have stopped
                logger.warning("of partitions %s the broker has not acknowledged everything in time", sorted(gone))
        self._writers.fence(numbers, group_generation)
        self.stop_give_up_timer()
        self._rebalances.assigned(is_over=False)
        self._opening = asyncio.create_task(self._open(numbers, self._rebalance_number), name="opening")

    def stop_give_up_timer(self) -> None:
        """Do not give the partitions up any more for a rebalance that takes too long."""
        if self._give_up_timer is not None:
            self._give_up_timer.cancel()
        self._give_up_timer = None

    async def close_partitions(self, numbers: set[int]) -> None:
        """Close these partitions: their sweeps end, their timetables are saved, their progress is written."""

        async def closed(number: int, emitted_to: int) -> None:
            # a sweep that was under way does not note by itself how far it came
            self._writers.note(number, emitted_to)
            await self._writers.flush({number})

        await self._partitions.close(numbers, closed)

    def _abandon_and_fence_all(self) -> None:
        self._partitions.abandon()
        self._writers.fence_all_at_next_assignment()
        logger.warning("partitions are given up although the broker has not acknowledged everything")

    def _rebalance_took_too_long(self) -> None:
        if self._partitions.owned:
            self._partitions.abandon()
            logger.warning("the rebalance does not end; ticks stop until it does")

    def why_not_open(self) -> str:
        """Return the reason why this worker does not hold its partitions; "" if it does, or is assigned none."""
        if self.may_change or self._give_up_timer is not None:
            return ""
        if self._opening is None:
            return "no partitions have been assigned yet"
        return "the partitions that were assigned are being recovered"

    async def wait_until_open(self) -> None:
        """Wait until the partitions that were assigned last are open. Raises what keeps them closed."""
        if self._opening is not None:
            await asyncio.shield(self._opening)

    async def _open(self, numbers: set[int], rebalance_number: int) -> None:
        """Read what the local tables of new partitions lack, own the partitions, and start to read their inputs.

        Waits for a broker that is unavailable.
        """
        await self._host.ready.wait()
        self._rejoining = False
        opened = caught_up = False
        while self._is_current(rebalance_number) and not self._host.should_stop:
            try:
                if not caught_up:
                    caught_up = await self._catch_up(numbers, rebalance_number)
                async with self.hand_over_lock:
                    if not self._is_current(rebalance_number) or not caught_up:
                        return
                    readable = numbers - self._unreadable
                    if not opened:
                        opened = await self._partitions.open(readable, self._progress_found)
                    self.may_change = opened
                # without the lock: a broker that takes long to tell a topic's committed offsets must not delay a
                # hand-over, nor another topic
                if opened:
                    self._rebalances.over()
                    await self._start_reading(readable, rebalance_number)
                if self._unreadable:
                    self._host.add_future(self._look_again(self._unreadable, rebalance_number))
                return
            except PartitionLost:
                return  # assigned anew meanwhile
            except (AccessError, BrokerUnavailable, KafkaException) as error:
                denied = refused(error.args[0]) if isinstance(error, KafkaException) else error
                if isinstance(denied, AccessError):
                    self._host.end(denied)
                    return
                logger.warning("partitions cannot be opened yet: %s", error)
                await self._host.sleep(self._options.reopen_s)

    async def _start_reading(self, numbers: set[int], rebalance_number: int) -> None:
        """Start every batch consumer that can start. Raises what keeps another one from it."""

        async def start(batch_consumer: BatchConsumer) -> None:
            if self._is_current(rebalance_number) and not batch_consumer.is_reading:
                await batch_consumer.start_reading(numbers)

        outcomes = await asyncio.gather(*map(start, self._batch_consumers), return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome

    async def _look_again(self, numbers: Set[int], rebalance_number: int) -> None:
        """Wait until the changelog of these partitions can be read, from another replica perhaps; then join again."""
        while self._is_current(rebalance_number) and not self._host.should_stop:
            await self._host.sleep(self._options.unreadable_every_s)
            try:
                if await self._catch_up(set(numbers), rebalance_number) and not self._unreadable:
                    self._rejoining = True
                    await self.join_again(rebalance_number)
                    return
            except PartitionLost:
                return  # assigned anew meanwhile
            except AccessError as error:
                self._host.end(error)
                return
            except (BrokerUnavailable, KafkaException) as error:
                logger.warning("the changelog of partitions %s cannot be read yet: %s", sorted(numbers), error)

    async def _catch_up(self, numbers: set[int], rebalance_number: int) -> bool:
        """Fence earlier owners, then bring the local tables up to date; False if a rebalance interrupts it."""
        await self._writers.wait_until_earlier_owners_are_fenced(numbers)
        if not self._is_current(rebalance_number):
            return False  # a rebalance that began meanwhile cancelled only what was under way
        missing = numbers - self._partitions.owned
        self._unreadable = frozenset()
        if not missing:
            return True
        reading = self._catching_up = asyncio.create_task(self._bring_up_to_date(missing))
        await asyncio.wait([reading])
        if reading.cancelled():
            return False
        reading.result()
        return True

    async def _bring_up_to_date(self, missing: set[int]) -> None:
        findings = await self._examiner.examine(missing)
        await self._examiner.mend(findings, self._writers.write, self._writers.note_owner)
        self._progress_found = {finding.number: finding.noted.emitted_to for finding in findings}
        try:
            await self._store.catch_up(self._changelog, missing)
        except RecordsUnreadable as error:
            # all others are up to date, and do not wait for these
            self._unreadable = frozenset(error.offsets)
            logger.error("%s The partition stays closed. %s", error, UNREADABLE_REMEDY)

    async def close(self, patience_s: float = PATIENCE_S) -> None:
        """Give up all partitions for good.

        Takes a few seconds at most: the next owner reads again what the broker has not acknowledged by then.
        """
        async with self._changes_stopped(patience_s) as are_stopped:
            if not are_stopped or not await within(patience_s, self.close_partitions(self._partitions.owned)):
                self._abandon_and_fence_all()

    @asynccontextmanager
    async def _changes_stopped(self, patience_s: float) -> AsyncIterator[bool]:
        """Stop reading inputs and opening partitions; gives False if units of work are still under way afterwards."""
        self._rebalance_number += 1
        self.may_change = False
        self._partitions.stop_opening()
        if self._catching_up is not None:
            self._catching_up.cancel()
            await asyncio.wait([self._catching_up])
            # what it was cancelled in would keep databases open
            self._catching_up = None
        if self._opening is not None and self._opening.done() and not self._opening.cancelled():
            self._opening.exception()  # whatever it was, it occurs again when partitions are assigned
        async with self.hand_over_lock:
            await asyncio.gather(*(batch_consumer.stop_reading(patience_s) for batch_consumer in self._batch_consumers))
            are_stopped = await within(patience_s, self._host.idle())
            if self._host.is_broken:
                # memory and durable state may differ: timetables are not to be saved
                self._partitions.abandon()
            yield are_stopped

    def lost(self, number: int) -> None:
        """Give up all partitions and join the group again, as another owner has fenced this one.

        During a rebalance give up this one alone.

        All are read anew from the changelog when they are assigned again: a unit of work that concerned the lost
        partition may be durable in others, and is not in their local tables.
        """
        if self._give_up_timer is not None:
            # its new owner got its assignment first; this worker's comes in a moment
            self._partitions.abandon({number})
            return
        self._partitions.abandon()
        self._writers.fence_all_at_next_assignment()
        if not self._rejoining:
            self._rejoining = True
            logger.warning(
                "partition %d has another owner; this worker gives up its partitions and joins again",
                number,
                extra=labelled(partition=number),
            )
            self._host.add_future(self.join_again(self._rebalance_number))

    async def join_again(self, rebalance_number: int) -> None:
        """Have the group assign its partitions anew, unless a rebalance has begun since this one."""
        await self._host.sleep(self._options.rejoin_s)
        if self._is_current(rebalance_number) and not self._host.should_stop:
            await self._host.join_group()


async def within(seconds: float, work: Coroutine[Any, Any, None]) -> bool:
    """Cancel ``work`` if it has not ended after ``seconds``; gives False then."""
    try:
        async with asyncio.timeout(seconds):
            await work
    except TimeoutError:
        return False
    return True

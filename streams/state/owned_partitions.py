"""The partitions this worker owns: for each a timetable, how far its ticks are emitted, and a lock on both.

Opened when Faust has recovered the table after a rebalance, closed when the partition is revoked.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.metadata import version

from everwatch.core.clock import Clock
from everwatch.encoding import avro_schemas, codec, table_records
from everwatch.encoding.table_records import TimetableFields
from everwatch.kinds.registry import is_check, is_inline
from everwatch.model import At, Every, Monitor, Policy
from everwatch.schedule.due import next_due
from everwatch.schedule.duration import SECOND_MS
from everwatch.schedule.every import PHASE_STEP_MS
from everwatch.schedule.spread import spread_of
from everwatch.timetable import (
    FORMAT,
    NEVER,
    BatchKey,
    Chunk,
    ChunkLimits,
    Destination,
    Firing,
    FirstCheck,
    Packing,
    Retry,
    Timetable,
    TimetableEntry,
    framed,
)
from streams.metrics import remove_gauges_of
from streams.state.entry_store import Store, TimetableMark

logger = logging.getLogger(__name__)
YIELD_EVERY = 2_000
MOST_AHEAD_MS = 60_000
# bytes of a batch that are not records, and some to spare
BATCH_HEADER = 1_024
# sweeps that are so late are helped by everybody else holding back, for a while
BEHIND_MS = 400
PATIENCE_S, LOOK_S = 2.0, 0.02
# what is due more often is checked soon enough
FIRST_CHECK_FROM_MS = 5 * SECOND_MS


@dataclass
class Attempt:
    """A sweep that is not through yet: up to when, as of which instant, and what the broker does not have yet."""

    upto: int
    now: int
    is_collected: bool = False
    ticks: list[tuple[Destination, Chunk, int]] = field(default_factory=list)
    inline: list[Firing] = field(default_factory=list)
    skipped: list[Firing] = field(default_factory=list)
    # chunks of a single record that its topic does not take, and why
    unsendable: list[tuple[Destination, Chunk, int, str]] = field(default_factory=list)
    fired: bool = False
    # ticks that the broker has, for the metrics
    sent: Counter[Destination] = field(default_factory=Counter)


class OwnedPartition:
    """One owned partition.

    ``turn`` is held by a sweep of the partition, and by whoever changes monitors that are in the timetable.
    ``opened_at``: since when this worker watches it.
    """

    def __init__(self, number: int, timetable: Timetable, opened_at: int) -> None:
        self.number = number
        self.timetable = timetable
        self.opened_at = opened_at
        self.attempt: Attempt | None = None
        # since when ticks have gone out and no result of any has come, 0 while results come
        self.unanswered_since = 0
        self.turn = asyncio.Lock()
        self._holds: list[int] = []

    @property
    def emitted_to(self) -> int:
        """Every tick due up to this instant is durable on its topic."""
        return self.timetable.emitted_to

    @property
    def reaching_for(self) -> int:
        """The instant up to which a sweep emits now, or has emitted."""
        return max(self.emitted_to, self.attempt.upto if self.attempt else 0)

    @property
    def ceiling(self) -> int | None:
        """The instant that sweeps may not pass yet, None if there is none."""
        return min(self._holds, default=None)

    @contextmanager
    def held(self, since: int) -> Iterator[None]:
        """Let no sweep pass the instant ``since``: somebody who begins then is not in the timetable yet."""
        self._holds.append(since)
        try:
            yield
        finally:
            self._holds.remove(since)


class Planner:
    """Turns monitors into what the timetable holds."""

    def __init__(
        self,
        packing: Packing,
        clock: Clock,
        largest_batch: int | None = None,
        first_check_within_ms: int | None = None,
    ) -> None:
        """``first_check_within_ms``: new monitors are checked within so long; None: when their schedules say."""
        self._packing = packing
        self._first_check_within_ms = first_check_within_ms
        self._clock = clock
        # timetables are not taken up by another version, or one that packs otherwise
        self.form = f"{version('everwatch')} {FORMAT} {avro_schemas.header('tick').hex()} {packing.code}"
        self.largest_batch = largest_batch

    def now_ms(self) -> int:
        """The instant, as the worker's clock has it."""
        return self._clock.now_ms()

    def new_timetable(self, emitted_to: int) -> Timetable:
        """An empty timetable whose chunks fit into the topics' batches."""
        timetable = Timetable(self._packing, emitted_to)
        if self.largest_batch is not None:
            timetable.limits.size = min(timetable.limits.size, self.largest_batch - BATCH_HEADER)
        return timetable

    def fit(self, timetable: Timetable) -> None:
        """Split the chunks of a timetable that were made when topics took larger batches."""
        if self.largest_batch is not None and self.largest_batch < ChunkLimits().size:
            timetable.fit(timetable.limits.size)

    def plan(self, partition: OwnedPartition, before: Monitor | None, after: Monitor | None) -> None:
        """Bring the timetable from one value of a monitor to the next (None: there is none)."""
        old = self.planned(before) if before else None
        new = self.planned(after) if after else None
        if old == new:
            return
        timetable, attempt = partition.timetable, partition.attempt
        if old is not None and new is not None:
            timetable.replace(old, new)
        elif old is not None:
            timetable.remove(old)
        elif new is not None:
            timetable.put(new)
        if attempt is not None and _concerns(old, new, attempt.upto):
            # a sweep that has to be tried again finds out anew who is due
            partition.attempt = Attempt(attempt.upto, attempt.now)

    def planned(self, monitor: Monitor, key: bytes = b"") -> TimetableEntry | None:
        """A monitor (with its table key, if that is known) as the timetable has it; None if it is asleep."""
        key = key or codec.table_key(monitor.user_id, monitor.monitor_id)
        user_key, plan = codec.user_key(monitor.user_id), table_records.plan_of(monitor)
        first = None
        if self._begins_now(plan) and (due := self._first_check(key, plan)):
            first = FirstCheck(due, framed(user_key, table_records.tick_value(monitor, manual=True)))
        return _planned(key, user_key, plan, first)

    def planned_entry(self, key: bytes, value: bytes) -> TimetableEntry | None:
        """The same for a table entry; None for a user's, too."""
        user_key, _, monitor_id = key.partition(codec.SEPARATOR)
        if not monitor_id or codec.is_bookkeeping(monitor_id):
            return None
        plan = table_records.read_plan(monitor_id, value)
        if plan is None or self._begins_now(plan):
            entry = codec.decode_entry(key, value)
            assert isinstance(entry, Monitor)  # its key says so
            return self.planned(entry, key)
        return _planned(key, user_key, plan)

    def _begins_now(self, plan: TimetableFields) -> bool:
        """Tell whether a first check of it may still be to come."""
        within_ms = self._first_check_within_ms
        return within_ms is not None and plan.since + within_ms + 2 * PHASE_STEP_MS > self.now_ms()

    def _first_check(self, key: bytes, plan: TimetableFields) -> int:
        """Return when a monitor that begins is checked for the first time, beside its schedule; 0 for not at all.

        It depends on nothing but the monitor, so that a worker that takes over comes to the same instant.
        """
        schedule = plan.schedule
        if isinstance(schedule, At) or not is_check(plan.kind):
            return 0
        within_ms = self._first_check_within_ms or 0
        if isinstance(schedule, Every):
            if schedule.interval_ms < FIRST_CHECK_FROM_MS:
                return 0
            within_ms = min(within_ms, schedule.interval_ms // 2)
        due = plan.since - plan.since % PHASE_STEP_MS + PHASE_STEP_MS + spread_of(key, within_ms)
        following = next_due(schedule, key, plan.since, plan.since)
        # it is checked by then, or over
        return 0 if following is None or following <= due or 0 < plan.ends_at < due else due


def _planned(
    key: bytes, user_key: bytes, plan: TimetableFields, first: FirstCheck | None = None
) -> TimetableEntry | None:
    if plan.asleep:
        return None
    retry = None
    if plan.retry is not None:
        due, scheduled_at, tick = plan.retry
        retry = Retry(due, scheduled_at, framed(user_key, tick))
    return TimetableEntry(
        key,
        plan.schedule,
        plan.since,
        _line_of(plan.kind, plan.policy),
        framed(user_key, plan.tick),
        plan.ends_at or NEVER,
        plan.starts_at > 0,
        retry,
        first,
    )


def _concerns(old: TimetableEntry | None, new: TimetableEntry | None, upto: int) -> bool:
    """Whether a change is one of what is due up to ``upto``."""
    if old is None:
        return new is not None and new.since < upto
    if new is None or new._replace(retry=None) != old._replace(retry=None):
        return True
    return any(planned.retry is not None and planned.retry.due <= upto for planned in (old, new))


@lru_cache(maxsize=4_096)
def _line_of(kind: str, policy: Policy) -> BatchKey:
    way = Destination.INLINE if is_inline(kind) else Destination(policy.priority.value)
    # to the second: lines that differ by less would each have chunks of their own
    return BatchKey(way, policy.misfire, -(-policy.misfire_grace_ms // SECOND_MS) * SECOND_MS)


class OwnedPartitions:
    """Opens and closes partitions as Faust's assignment says."""

    def __init__(
        self,
        planner: Planner,
        read_progress: Callable[[Iterable[int]], Awaitable[dict[int, int]]],
        store: Callable[[], Store],
    ) -> None:
        self._planner = planner
        self._read_progress = read_progress
        self._store = store
        self._open: dict[int, OwnedPartition] = {}
        self._generation = 0
        self._turn = asyncio.Lock()

    def __iter__(self) -> Iterator[OwnedPartition]:
        return iter(list(self._open.values()))

    @property
    def owned(self) -> set[int]:
        """Numbers of the partitions that are open."""
        return set(self._open)

    def __getitem__(self, number: int) -> OwnedPartition:
        return self._open[number]

    def get(self, number: int) -> OwnedPartition | None:
        """The partition, if it is open."""
        return self._open.get(number)

    async def open(self, numbers: set[int]) -> bool:
        """Own exactly these; load the timetables of those that are not open yet. False if revoked meanwhile."""
        generation = self._generation
        async with self._turn:
            opened = {number: partition for number, partition in self._open.items() if number in numbers}
            missing = sorted(numbers - opened.keys())
            progress = await self._read_progress(missing) if missing else {}
            for number in missing:
                # the topic may have been lost
                emitted_to = self._sane(number, progress.get(number, 0) or self._store().emitted_to(number))
                timetable = self._planner.new_timetable(emitted_to)
                partition = OwnedPartition(number, timetable, self._planner.now_ms())
                if not self._take_up(partition):
                    await self._load(partition, generation)
                if generation != self._generation:
                    return False
                opened[number] = partition
            self._own(opened)
        if numbers:
            monitors = sum(len(partition.timetable) for partition in opened.values())
            logger.info("watching %d monitors on partitions %s", monitors, sorted(numbers))
        return True

    def _sane(self, number: int, emitted_to: int) -> int:
        """Progress, unless a clock that was ahead wrote it: to wait until it is true would be silence."""
        now = self._planner.now_ms()
        if emitted_to <= now + MOST_AHEAD_MS:
            return emitted_to
        logger.warning(
            "partition %d claims to be %d ms ahead of the clock; going on from now", number, emitted_to - now
        )
        return now

    def lag_ms(self) -> int:
        """How far the sweeps of the slowest partition are behind where they could be."""
        now = self._planner.now_ms()
        limits = ((partition.ceiling or now, partition.emitted_to) for partition in self._open.values())
        return max((min(now, limit) - emitted_to for limit, emitted_to in limits), default=0)

    async def calm(self) -> None:
        """Wait until sweeps have caught up, or for PATIENCE_S at most."""
        for _ in range(int(PATIENCE_S / LOOK_S)):
            if self.lag_ms() < BEHIND_MS:
                return
            await asyncio.sleep(LOOK_S)

    def invalidate(self) -> None:
        """Whatever is being opened now is not to be owned."""
        self._generation += 1

    async def close(self, numbers: Iterable[int], closed: Callable[[int, int], Awaitable[None]]) -> None:
        """Give up these partitions; when this returns, no sweep and no change of theirs is under way.

        ``closed`` is told of each how far its ticks are emitted, with the sweep that was under way. One whose sweep
        takes long keeps no other one waiting.
        """
        closing = [self._open[number] for number in numbers]
        self.abandon(numbers)

        async def close(partition: OwnedPartition) -> None:
            async with partition.turn:
                self._put_away(partition)
            await closed(partition.number, partition.emitted_to)

        await asyncio.gather(*map(close, closing))

    def abandon(self, numbers: Iterable[int] | None = None) -> None:
        """Own these no more, or none; whatever is under way will find that its partition is lost."""
        self.invalidate()
        gone = self.owned if numbers is None else set(numbers)
        self._own({number: partition for number, partition in self._open.items() if number not in gone})

    def _own(self, opened: dict[int, OwnedPartition]) -> None:
        for number in self._open.keys() - opened.keys():
            remove_gauges_of(number)
        self._open = opened

    def _take_up(self, partition: OwnedPartition) -> bool:
        """Take up the timetable as this worker put it away, if it did."""
        taken = self._store().take_timetable(partition.number)
        if taken is None:
            return False
        mark, shelves = taken
        if mark.form != self._planner.form or max(mark.newest_since, mark.newest_gone) > partition.emitted_to:
            return False
        try:
            partition.timetable.restore(shelves)
        except Exception as error:
            # it is derived: everything is in the table
            logger.warning("the timetable put away of partition %d cannot be taken up: %r", partition.number, error)
            partition.timetable = self._planner.new_timetable(partition.emitted_to)
            return False
        partition.timetable.newest_since = mark.newest_since
        partition.timetable.newest_gone = mark.newest_gone
        self._planner.fit(partition.timetable)
        return True

    def _put_away(self, partition: OwnedPartition) -> None:
        timetable = partition.timetable
        # who is durable and not yet in the timetable would be missing for ever
        # nor would whoever takes it up know of entries that were passed over
        is_whole = not self._store().undecodable.count(partition.number)
        if timetable.can_be_saved and partition.ceiling is None and is_whole:
            mark = TimetableMark(self._planner.form, timetable.newest_since, timetable.newest_gone)
            self._store().save_timetable(partition.number, timetable.save(), mark)

    async def _load(self, partition: OwnedPartition, generation: int) -> None:
        """Rebuild the timetable from the store; of each entry only what it needs is read."""
        planned_entry, put = self._planner.planned_entry, partition.timetable.put
        undecodable = self._store().undecodable
        undecodable.begin(partition.number)
        user_key = codec.SEPARATOR
        for seen, (key, value) in enumerate(self._store().scan(partition.number)):
            if seen % YIELD_EVERY == 0:
                await asyncio.sleep(0)
                if generation != self._generation:
                    return
            if key.endswith(codec.SEPARATOR):
                user_key = key
                continue
            # a monitor without its user is what a lost delivery left: it is put when its input is read again
            try:
                planned = planned_entry(key, value) if key.startswith(user_key) else None
                if planned is not None:
                    put(planned)
            except Exception as error:
                undecodable.note(partition.number, key, error)

"""The partitions this worker owns: for each a timetable, how far its ticks are emitted, and a lock on both.

Opened when Faust has recovered the table after a rebalance, closed when the partition is revoked.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Any

import msgspec

from everwatch import codec
from everwatch.clock import Clock
from everwatch.kafka.topics import Topics
from everwatch.kinds import registry
from everwatch.kinds.protocol import InlineKind, InlineView
from everwatch.lifecycle import ASLEEP
from everwatch.model import Monitor, Tick
from everwatch.timetable import Planned, Timetable
from streams.store import Store

logger = logging.getLogger(__name__)
YIELD_EVERY = 500
MOST_AHEAD_MS = 60_000


class Emitted(msgspec.Struct, frozen=True):
    """A monitor whose ticks go out to executors: the record, but for its timestamp."""

    topic: str
    key: bytes
    value: bytes
    monitor: "Named"


class Inline(msgspec.Struct):
    """A monitor that the worker judges itself when it is due."""

    kind: InlineKind
    config: Any
    monitor: "Named"
    view: InlineView


class Named(msgspec.Struct, frozen=True):
    """What a result says of its monitor."""

    user_id: str
    monitor_id: str
    kind: str
    version: int


Payload = Emitted | Inline


class Partition:
    """One owned partition.

    ``emitted_to``: every tick due up to this instant is durable on its topic. ``attempt``: the instant of a sweep that
    is not through yet. ``turn`` is held by a sweep of the
    partition, and by whoever changes monitors that are in the timetable.
    """

    def __init__(self, number: int, emitted_to: int) -> None:
        self.number = number
        self.emitted_to = emitted_to
        self.attempt: int | None = None
        self.timetable: Timetable[Payload] = Timetable()
        self.turn = asyncio.Lock()


class Planner:
    """Turns monitors into what the timetable holds."""

    def __init__(self, topics: Topics, clock: Clock) -> None:
        self._topics = topics
        self._clock = clock

    def now_ms(self) -> int:
        """The instant, as the worker's clock has it."""
        return self._clock.now_ms()

    def plan(self, partition: Partition, before: Monitor | None, after: Monitor | None) -> None:
        """Bring the timetable from one value of a monitor to the next (None: there is none)."""
        if after is None or after.state in ASLEEP:
            if before is not None:
                partition.timetable.remove(_key(before))
            return
        key = _key(after)
        policy = after.spec.policy
        known = partition.timetable.get(key)
        payload = self._payload(after, known.payload if known else None, partition.number)
        partition.timetable.put(
            Planned(key, after.spec.schedule, after.since, policy.misfire, policy.misfire_grace_ms, payload)
        )

    def _payload(self, monitor: Monitor, known: Payload | None, partition: int) -> Payload:
        spec = monitor.spec
        named = Named(monitor.user_id, monitor.monitor_id, spec.kind, monitor.version)
        kind = registry.kind_named(spec.kind)
        if not kind.inline:
            tick = Tick(
                user_id=monitor.user_id,
                monitor_id=monitor.monitor_id,
                scheduled_at=0,
                kind=spec.kind,
                config=spec.config,
                timeout_ms=spec.policy.timeout_ms,
                version=monitor.version,
                partition=partition,
            )
            topic = self._topics.ticks_for(spec.policy.priority)
            return Emitted(topic, codec.user_key(monitor.user_id), codec.encode_tick(tick), named)
        # who was watched already by this worker has not been unwatched by a change of its spec
        watching_since = known.view.watching_since if isinstance(known, Inline) else self._clock.now_ms()
        return Inline(
            kind=kind,
            config=registry.parse_config(kind, spec.config),
            monitor=named,
            view=InlineView(began=monitor.since, watching_since=watching_since, last_signal=monitor.last_signal),
        )


class Partitions:
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
        self._open: dict[int, Partition] = {}
        self._generation = 0
        self._turn = asyncio.Lock()

    def __iter__(self) -> Iterator[Partition]:
        return iter(list(self._open.values()))

    @property
    def owned(self) -> set[int]:
        """Numbers of the partitions that are open."""
        return set(self._open)

    def __getitem__(self, number: int) -> Partition:
        return self._open[number]

    def get(self, number: int) -> Partition | None:
        """The partition, if it is open."""
        return self._open.get(number)

    async def open(self, numbers: set[int]) -> bool:
        """Own exactly these: load the timetables of those that are new. False if revoked meanwhile."""
        generation = self._generation
        async with self._turn:
            progress = await self._read_progress(numbers)
            opened: dict[int, Partition] = {}
            for number in sorted(numbers):
                partition = Partition(number, self._sane(number, progress.get(number, 0)))
                await self._load(partition, generation)
                if generation != self._generation:
                    return False
                opened[number] = partition
            self._open = opened
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

    def invalidate(self) -> None:
        """Whatever is being opened now is not to be owned."""
        self._generation += 1

    async def close(self) -> None:
        """Own nothing: when this returns, no sweep and no change is under way."""
        closing = self._open
        self.abandon()
        for partition in closing.values():
            async with partition.turn:
                pass

    def abandon(self) -> None:
        """Own nothing, whatever is under way: it will find that the partition is lost."""
        self.invalidate()
        self._open = {}

    async def _load(self, partition: Partition, generation: int) -> None:
        """Rebuild the timetable from the store."""
        for seen, (key, value) in enumerate(self._store().scan(partition.number)):
            if seen % YIELD_EVERY == 0:
                await asyncio.sleep(0)
                if generation != self._generation:
                    return
            entry = codec.decode_entry(key, value)
            if isinstance(entry, Monitor):
                self._planner.plan(partition, None, entry)


def _key(monitor: Monitor) -> bytes:
    return codec.table_key(monitor.user_id, monitor.monitor_id)

"""The timer: what is due goes out, and how far it went is noted once the broker has it.

A sweep of a partition emits everything due since the last one: ticks as record batches, inline kinds as results. Only
when all of it is acknowledged does ``emitted_to`` move on; after a failure the next sweep emits the same again, which
by identity is the same ticks.
"""

import asyncio
import logging
from collections.abc import Iterator
from typing import NamedTuple

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, KafkaTimeoutError
from mode import Service

from everwatch import codec
from everwatch.clock import Clock
from everwatch.config import OutputFormat
from everwatch.errors import BrokerUnavailable
from everwatch.kafka.outbox import Outbox
from everwatch.kafka.topics import Topics
from everwatch.model import Outcome, Result, Status
from everwatch.timetable import Planned
from streams.partitions import Emitted, Inline, Partition, Partitions, Payload
from streams.progress import write_progress

logger = logging.getLogger(__name__)

# a gap longer than this is an outage: misfire rules apply (their grace is never shorter)
OUTAGE_MS = 5_000
YIELD_EVERY = 1_000
# while nothing is due, noting progress can wait
IDLE_NOTE_MS = 1_000
TIMER = "everwatch-timer"
# within the shortest grace nothing is lost by waiting; a clock that was set wrong is usually mended sooner
STEP_PATIENCE_S = 4.0
STEP_MS = 5_000


class ClockSteps:
    """Tells whether the wall clock jumped ahead since the last look: ticks of an hour that never was are not due."""

    def __init__(self) -> None:
        self._last: tuple[int, float] | None = None

    def stepped(self, now_ms: int, monotonic_s: float) -> bool:
        """Whether the wall clock gained more than ``STEP_MS`` on the one that never steps."""
        last, self._last = self._last, (now_ms, monotonic_s)
        return last is not None and now_ms - last[0] - (monotonic_s - last[1]) * 1000 > STEP_MS


class Firing(NamedTuple):
    """One monitor due at one instant; ``skipped`` instants before it are reported, not run."""

    planned: Planned[Payload]
    fire: range
    skipped: range


class Ticking(Service):
    """Sweeps all open partitions at every multiple of the sweep period."""

    def __init__(
        self,
        partitions: Partitions,
        producer: AIOKafkaProducer,
        outbox: Outbox,
        topics: Topics,
        clock: Clock,
        *,
        sweep_ms: int,
        output_format: OutputFormat,
    ) -> None:
        super().__init__()
        self._partitions = partitions
        self._producer = producer
        self._outbox = outbox
        self._topics = topics
        self._clock = clock
        self._sweep_ms = sweep_ms
        self._output_format = output_format
        self._noted: dict[int, int] = {}
        self._steps = ClockSteps()
        self._sweeps: dict[int, asyncio.Task[None]] = {}

    @Service.task
    async def _sweep_on_time(self) -> None:
        while not self.should_stop:
            now = self._clock.now_ms()
            if self._steps.stepped(now, self._clock.monotonic_s()):
                logger.warning("the clock jumped ahead; ticks wait for %d s to see whether it stays", STEP_PATIENCE_S)
                await self.sleep(STEP_PATIENCE_S)
                continue
            # a millisecond past the step: waking a hair too early would find the step not due and lose a whole period
            await asyncio.sleep((self._sweep_ms - now % self._sweep_ms + 1) / 1000)
            for partition in self._partitions:
                # one sweep of a partition at a time: a slow one makes its next one longer, and no other one late
                running = self._sweeps.get(partition.number)
                if running is None or running.done():
                    self._sweeps[partition.number] = asyncio.create_task(self._guarded_sweep(partition))

    async def on_stop(self) -> None:
        """Give up on sweeps that the broker keeps waiting."""
        for sweep in self._sweeps.values():
            sweep.cancel()

    async def _guarded_sweep(self, partition: Partition) -> None:
        try:
            await self.sweep(partition)
        except Exception as error:
            await self.crash(error)

    async def sweep(self, partition: Partition) -> None:
        """Emit what is due in one partition, up to the last whole step of the sweep period."""
        async with partition.turn:
            if self._partitions.get(partition.number) is not partition:
                return
            now = self._clock.now_ms()
            if partition.attempt is None:
                if now - now % self._sweep_ms <= partition.emitted_to:
                    return
                partition.attempt = now
            # a sweep that failed is done again as it was, so that what is skipped and what is run stays the same
            now = partition.attempt
            upto = now - now % self._sweep_ms
            try:
                emitted = await self._emit(partition, upto, now)
            except (KafkaError, BrokerUnavailable) as error:
                if isinstance(error, KafkaTimeoutError) or getattr(error, "retriable", False):
                    logger.warning("ticks of partition %d are not out yet, trying again: %s", partition.number, error)
                else:
                    # a producer that has given up stays so: whoever takes over starts from what is durable
                    await self.crash(error)
                return
            partition.emitted_to = upto
            partition.attempt = None
            if emitted or upto - self._noted.get(partition.number, 0) >= IDLE_NOTE_MS:
                self._noted[partition.number] = upto
                write_progress(self._outbox, self._topics.progress, partition.number, upto)

    async def _emit(self, partition: Partition, upto: int, now: int) -> int:
        """Emit what is due; when this returns, the broker has it. Gives the number of firings."""
        batches = _Batches(self._producer, partition.number)
        inline: list[Firing] = []
        count = 0
        for looked_at, firing in enumerate(self._firings(partition, upto, now), 1):
            if looked_at % YIELD_EVERY == 0:
                await asyncio.sleep(0)
            payload = firing.planned.payload
            if firing.skipped or not isinstance(payload, Emitted):
                inline.append(firing)
            if isinstance(payload, Emitted):
                for instant in firing.fire:
                    await batches.append(payload, instant)
            count += len(firing.fire)
        await batches.sent()
        # results go after the ticks: they would be sent once more each time the ticks fail
        await self._send_inline(partition, inline, now)
        await self._outbox.delivered(partition.number)
        return count

    async def _send_inline(self, partition: Partition, firings: list[Firing], now: int) -> None:
        for planned, fire, skipped in firings:
            if skipped:
                self._report_skipped(partition, planned, skipped, now)
            if isinstance(planned.payload, Inline):
                for instant in fire:
                    self._judge(partition, planned.payload, instant, now)
            await self._outbox.room()

    def _firings(self, partition: Partition, upto: int, now: int) -> Iterator[Firing]:
        after = partition.emitted_to
        if upto - after > OUTAGE_MS:
            for planned, fire, skipped in partition.timetable.backlog(after, upto, now):
                yield Firing(planned, fire, skipped)
            return
        for instant, members in partition.timetable.due(after, upto):
            only = range(instant, instant + 1)
            for planned in members:
                yield Firing(planned, only, _NONE)

    def _judge(self, partition: Partition, inline: Inline, instant: int, now: int) -> None:
        outcome = inline.kind.judge(inline.config, inline.view, max(instant, now))
        if outcome.status is Status.SKIPPED:
            self._send_result(partition, inline, instant, outcome, now, instant, 1)
        else:
            self._send_result(partition, inline, instant, outcome, now)

    def _report_skipped(self, partition: Partition, planned: Planned[Payload], skipped: range, now: int) -> None:
        reason = f"{len(skipped)} due times passed unserved; skipped under the misfire rule {planned.misfire}"
        outcome = Outcome(Status.SKIPPED, reason)
        self._send_result(partition, planned.payload, skipped[0], outcome, now, skipped[-1], len(skipped))

    def _send_result(
        self,
        partition: Partition,
        payload: Payload,
        scheduled_at: int,
        outcome: Outcome,
        now: int,
        skipped_until: int = 0,
        skipped_count: int = 0,
    ) -> None:
        monitor = payload.monitor
        result = Result(
            user_id=monitor.user_id,
            monitor_id=monitor.monitor_id,
            scheduled_at=scheduled_at,
            kind=monitor.kind,
            version=monitor.version,
            status=outcome.status,
            reason=outcome.reason,
            started_at=now,
            duration_ms=0.0,
            timings=outcome.timings,
            executor=TIMER,
            skipped_until=skipped_until,
            skipped_count=skipped_count,
        )
        self._outbox.send(
            self._topics.results,
            partition=partition.number,
            key=codec.user_key(monitor.user_id),
            value=codec.encode_result(result, self._output_format),
            group=partition.number,
        )


_NONE = range(0)


class _Batches:
    """Open record batches of one partition, one for each topic, sent when full and at the end."""

    def __init__(self, producer: AIOKafkaProducer, partition: int) -> None:
        self._producer = producer
        self._partition = partition
        self._open = {}  # type: ignore[var-annotated]
        self._sent: list[asyncio.Future[object]] = []

    async def append(self, record: Emitted, timestamp_ms: int) -> None:
        """Add a tick, due at ``timestamp_ms``."""
        builder = self._open.get(record.topic)
        if builder is None:
            builder = self._open[record.topic] = self._producer.create_batch()
        if builder.append(key=record.key, value=record.value, timestamp=timestamp_ms) is None:
            await self._send(record.topic)
            await self.append(record, timestamp_ms)

    async def sent(self) -> None:
        """Send what is open and wait until the broker has everything."""
        for topic in list(self._open):
            await self._send(topic)
        if self._sent:
            await asyncio.gather(*self._sent)

    async def _send(self, topic: str) -> None:
        builder = self._open.pop(topic)
        builder.close()
        self._sent.append(await self._producer.send_batch(builder, topic, partition=self._partition))

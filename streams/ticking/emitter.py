"""Emitter: sends due ticks, and notes the progress once the broker has acknowledged them.

A sweep of a partition emits everything due since the last one: ticks as stamped batches, inline kinds as results. Only
when all of it is acknowledged does the timetable mark it emitted; after a failure the next sweep sends again what the
broker did not acknowledge, which by identity is the same ticks.
"""

import asyncio
import logging
from collections.abc import Iterable
from itertools import groupby

from aiokafka.errors import KafkaError
from mode import Service
from prometheus_client import Gauge

from everwatch.core.clock import Clock
from everwatch.core.errors import Transient
from everwatch.kafka.batch_producer import BatchSender, failure_of, is_passing, is_refused, is_too_large
from everwatch.kafka.outbox import Outbox
from everwatch.kafka.stamped_batch import StampedBatch
from everwatch.kafka.topics import Topics
from everwatch.model import Priority
from everwatch.observability.logs import labelled
from everwatch.observability.metrics import PRODUCER_ERRORS
from everwatch.timetable import Chunk, Destination, Packing, chunk_of
from streams.metrics import LATENESS, SKIPPED, TICKS, gauges_of
from streams.state.owned_partition import Attempt, OwnedPartition
from streams.state.owned_partitions import OwnedPartitions
from streams.state.partition_logs import PartitionLogs
from streams.ticking.clock_jumps import ClockJumps
from streams.ticking.due_index_loader import DueIndexLoader
from streams.ticking.inline_evaluator import InlineEvaluator

logger = logging.getLogger(__name__)

# a gap longer than this is an outage: misfire rules apply (their grace is never shorter)
OUTAGE_MS = 5_000
# within the shortest grace nothing is lost by waiting; a clock that was set wrong is usually mended sooner
STEP_PATIENCE_S = 4.0
# a producer that is replaced so often without a sweep in between is not what is wrong
MOST_REPLACEMENTS = 10
# a tick that was refused for its size is not tried again for so long: each try costs a producer
REFUSED_FOR_MS = 60_000
# slower than any check that is alone on its partition, as a rule
UNANSWERED_MS = 120_000
Outgoing = tuple[Destination, Chunk, int]


class Emitter(Service):
    """Sweeps all open partitions at every multiple of the sweep period."""

    def __init__(
        self,
        partitions: OwnedPartitions,
        sender: BatchSender,
        packing: Packing,
        outbox: Outbox,
        logs: PartitionLogs,
        topics: Topics,
        clock: Clock,
        inline: InlineEvaluator,
        due_loader: DueIndexLoader,
        sweep_ms: int,
    ) -> None:
        super().__init__()
        self._partitions = partitions
        self._sender = sender
        self._packing = packing
        self._outbox = outbox
        self._logs = logs
        self._topics = {Destination(priority.value): topics.ticks_for(priority) for priority in Priority}
        self._clock = clock
        self._inline = inline
        self._due_loader = due_loader
        self._sweep_ms = sweep_ms
        self._said_unanswered: dict[int, int] = {}
        self._replacements = 0
        self._refused: dict[Destination, tuple[int, int]] = {}
        self._steps = ClockJumps()
        self._sweeps: dict[int, asyncio.Task[None]] = {}
        self._counted = {way: TICKS.labels(way.value) for way in self._topics}
        self._skipped, self._unsendable = SKIPPED.labels("misfire"), SKIPPED.labels("refused")

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
        """Cancel sweeps that wait for the broker."""
        for sweep in self._sweeps.values():
            sweep.cancel()

    async def _guarded_sweep(self, partition: OwnedPartition) -> None:
        try:
            await self.sweep(partition)
        except Exception as error:
            await self.crash(error)

    async def sweep(self, partition: OwnedPartition) -> None:
        """Emit what is due in one partition, up to the last whole step of the sweep period."""
        async with partition.turn:
            if self._partitions.get(partition.number) is not partition:
                return
            # a sweep that failed is gone on with as of the same instant, so that what is skipped and what is run stays
            # the same
            attempt = partition.attempt = partition.attempt or self._begin(partition)
            if attempt is None:
                return
            if not attempt.is_collected:
                await self._due_loader.load(partition, attempt.upto)
                _collect(partition, attempt)
            try:
                await self._emit(partition, attempt)
            except (KafkaError, Transient) as error:
                logger.warning(
                    "ticks of partition %d are not out yet, trying again: %r",
                    partition.number,
                    error,
                    extra=labelled(partition=partition.number),
                )
                return
            partition.timetable.mark_emitted(attempt.upto)
            self._count(partition, attempt)
            partition.attempt = None
            self._replacements = 0
            if self._partitions.get(partition.number) is partition:
                self._logs.note(partition.number, attempt.upto)

    def _count(self, partition: OwnedPartition, attempt: Attempt) -> None:
        for way, sent in attempt.sent.items():
            self._counted[way].inc(sent)
        if attempt.sent:
            LATENESS.observe(max(0, self._clock.now_ms() - attempt.upto) / 1000)
        if attempt.skipped:
            self._skipped.inc(sum(firing.chunk.count * len(firing.skipped) for firing in attempt.skipped))
        if attempt.unsendable:
            self._unsendable.inc(sum(chunk.count for _, chunk, _, _ in attempt.unsendable))
        if self._partitions.get(partition.number) is not partition:
            return  # it was given up meanwhile, and its gauges with it
        emitted_to, monitors, unanswered = gauges_of(partition.number)
        if attempt.sent:
            self._count_unanswered(partition, attempt.upto, unanswered)
        emitted_to.set(attempt.upto / 1000)
        monitors.set(len(partition.timetable))

    def _count_unanswered(self, partition: OwnedPartition, upto: int, gauge: Gauge) -> None:
        """Set the time without results, and warn once: without executors no state changes, and no alert is sent."""
        since = partition.unanswered_since = partition.unanswered_since or upto
        gauge.set((upto - since) / 1000)
        if upto - since >= UNANSWERED_MS and self._said_unanswered.get(partition.number) != since:
            self._said_unanswered[partition.number] = since
            logger.warning(
                "ticks of partition %d have gone out for %d s and no result has come: is an executor running?",
                partition.number,
                (upto - since) // 1000,
                extra=labelled(partition=partition.number),
            )

    def _begin(self, partition: OwnedPartition) -> Attempt | None:
        """Return the sweep to make now; None if nothing can be due yet."""
        now = self._clock.now_ms()
        upto = now if partition.ceiling is None else min(now, partition.ceiling)
        upto -= upto % self._sweep_ms
        return Attempt(upto, now) if upto > partition.emitted_to else None

    async def _emit(self, partition: OwnedPartition, attempt: Attempt) -> None:
        """Emit the firings; the broker has acknowledged them when this returns."""
        if attempt.ticks:
            await self._send(partition, attempt)
        # results go after the ticks: they would be sent once more each time the ticks fail
        if attempt.inline or attempt.skipped or attempt.unsendable:
            await self._inline.judge(partition, attempt.inline, attempt.now)
            await self._inline.report_skipped(partition, attempt.skipped, attempt.now)
            await self._inline.report_unsendable(partition, attempt.unsendable, attempt.now)
            await self._outbox.delivered(partition.number)

    async def _send(self, partition: OwnedPartition, attempt: Attempt) -> None:
        """Send the ticks; those that the broker did not take stay in ``attempt``."""
        if self._refused:
            attempt.ticks = [tick for tick in attempt.ticks if not self._set_aside(attempt, tick)]
        producer = self._sender.producer
        ways = [list(ticks) for _, ticks in groupby(sorted(attempt.ticks, key=_way_of), key=_way_of)]
        if len(ways) == 1:
            failed = await self._send_way(partition.number, ways[0])
        else:
            sent = await asyncio.gather(*(self._send_way(partition.number, ticks) for ticks in ways))
            failed = [failure for some in sent for failure in some]
        for tick, _ in failed:
            PRODUCER_ERRORS.labels(self._topics[tick[0]]).inc(tick[1].count)
        left = {id(tick) for tick, _ in failed}
        for tick in attempt.ticks:
            if id(tick) not in left:
                attempt.sent[tick[0]] += tick[1].count
        attempt.ticks = [tick for tick, _ in failed]
        if not failed:
            return
        refused = {id(tick): error for tick, error in failed if is_refused(error)}
        if refused:
            attempt.ticks = [
                part
                for tick in attempt.ticks
                for part in (self._parts(attempt, tick, refused[id(tick)]) if id(tick) in refused else [tick])
            ]
            too_large = [tick[1].size_in(self._packing) for tick, error in failed if is_too_large(error)]
            if too_large:
                self._fit(max(too_large))
        broken = next((error for _, error in failed if not is_passing(error)), None)
        # what is refused is halved, which comes to an end
        if broken is not None and await self._sender.replace(producer) and not refused:
            self._replacements += 1
            if self._replacements > MOST_REPLACEMENTS:
                await self.crash(broken)
        raise failed[0][1]

    async def _send_way(self, partition: int, ticks: list[Outgoing]) -> list[tuple[Outgoing, BaseException]]:
        """Send ticks of one topic, in order; gives those that failed."""
        packing, sender = self._packing, self._sender
        topic = self._topics[ticks[0][0]]
        futures: list[asyncio.Future[object]] = []
        failure: BaseException | None = None
        for _, chunk, instant in ticks:
            records = chunk.packed(packing)
            batch = StampedBatch(records, chunk.count, chunk.code, instant, chunk.reach)
            try:
                futures.append(await sender.send(batch, topic, partition))
            except KafkaError as error:
                failure = error
                break
        answers = await asyncio.gather(*futures, return_exceptions=True)
        failed: list[tuple[Outgoing, BaseException]] = []
        for tick, answer in zip(ticks, answers, strict=False):
            if (problem := failure_of(answer)) is not None:
                failed.append((tick, problem))
        if failure is not None:
            failed += [(tick, failure) for tick in ticks[len(futures) :]]
        return failed

    def _parts(self, attempt: Attempt, tick: Outgoing, error: BaseException) -> Iterable[Outgoing]:
        """Yield the halves of a refused chunk; a single tick becomes unsendable."""
        way, chunk, instant = tick
        if chunk.count == 1:
            if not is_too_large(error):
                attempt.unsendable.append((*tick, f"the broker refused the tick: {error!r}"))
                return
            attempt.unsendable.append((*tick, self._too_large(tick)))
            size, until = self._refused.get(way, (0, 0))
            refused = len(chunk.packed(self._packing))
            self._refused[way] = min(size, refused) if attempt.now < until else refused, attempt.now + REFUSED_FOR_MS
            return
        entries = list(chunk.entries(self._packing))
        middle = len(entries) // 2
        for some in (entries[:middle], entries[middle:]):
            yield way, chunk_of(some, self._packing), instant

    def _set_aside(self, attempt: Attempt, tick: Outgoing) -> bool:
        """Set a tick aside that is as large as one that its topic refused a short while ago; gives whether it is."""
        way, chunk, _ = tick
        size, until = self._refused.get(way, (0, 0))
        if chunk.count > 1 or attempt.now >= until or len(chunk.packed(self._packing)) < size:
            return False
        attempt.unsendable.append((*tick, self._too_large(tick)))
        return True

    def _too_large(self, tick: Outgoing) -> str:
        way, chunk, _ = tick
        return (
            f"the tick has {chunk.size_in(self._packing)} bytes, which is more than the topic of {way} ticks takes (its"
            " max.message.bytes)"
        )

    def _fit(self, refused_size: int) -> None:
        size = max(refused_size // 2, 1)
        larger = [partition for partition in self._partitions if partition.timetable.limits.size > size]
        if larger:
            logger.warning("a topic refuses batches of %d bytes; from now on they are smaller", refused_size)
        for partition in larger:
            partition.timetable.fit(size)


def _collect(partition: OwnedPartition, attempt: Attempt) -> None:
    """Collect all due firings without a pause, so that no monitor is put or removed meanwhile."""
    timetable = partition.timetable
    outage = attempt.upto - timetable.emitted_to > OUTAGE_MS
    for firing in timetable.backlog(attempt.upto, attempt.now) if outage else timetable.due(attempt.upto):
        if firing.line.way is Destination.INLINE:
            attempt.inline.append(firing)
        else:
            attempt.ticks.extend((firing.line.way, firing.chunk, instant) for instant in firing.fire)
        if firing.skipped:
            attempt.skipped.append(firing)
        attempt.fired = True
    attempt.is_collected = True


def _way_of(tick: Outgoing) -> Destination:
    return tick[0]

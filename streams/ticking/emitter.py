"""Emitter: sends due ticks, and notes the progress once the broker has acknowledged them.

A sweep of a partition emits everything due since the last one: ticks as stamped batches, then inline kinds as results.
Only when all of it is acknowledged does the timetable mark it emitted. When ticks fail, the next sweep sends again what
the broker did not acknowledge: the same ticks by identity (user, monitor, scheduled instant, attempt, region). A result
that cannot be delivered ends the worker (``Outbox``); the next owner sends everything since the last progress.
"""

import asyncio
import logging
from collections.abc import Iterable, Mapping
from itertools import groupby
from typing import NamedTuple

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from mode import Service

from everwatch.core.clock import Clock
from everwatch.core.errors import Transient
from everwatch.kafka.batch_producer import BatchSender, failure_of, is_passing, is_refused, is_too_large
from everwatch.kafka.outbox import Outbox
from everwatch.kafka.stamped_batch import StampedBatch
from everwatch.kafka.topics import Topics
from everwatch.model import Priority
from everwatch.observability.logs import labelled
from everwatch.observability.metrics import PRODUCER_ERRORS
from everwatch.timetable import Destination, Packing, chunk_of
from streams.state.fenced_writers import FencedWriters
from streams.state.owned_partition import Outgoing, OwnedPartition, Route, Sweep
from streams.state.owned_partitions import OwnedPartitions
from streams.ticking.clock_jumps import ClockJumps
from streams.ticking.due_index_loader import DueIndexLoader
from streams.ticking.inline_evaluator import InlineEvaluator
from streams.ticking.skipped_ticks import SkippedTicks
from streams.ticking.sweep_measures import SweepMeasures

logger = logging.getLogger(__name__)

# a gap longer than this is an outage: misfire rules apply (their grace is never shorter)
OUTAGE_MS = 5_000
# shorter than the shortest grace, so waiting skips nothing; a clock that was set wrong is usually corrected sooner
JUMP_PATIENCE_S = 4.0
# consecutive replacements of the producer without a complete sweep, after which the worker ends
MOST_REPLACEMENTS = 10
# pause before ticks of a refused size are sent again: each refusal costs a producer
REFUSED_FOR_MS = 60_000
_NO_REGION = ("",)
Failure = tuple[Outgoing, BaseException]
"""What the broker did not take, and why."""


class TickSending(NamedTuple):
    """Where a sweep sends: ticks to ``batches``, the progress to ``writers``.

    ``outbox``: a sweep waits on it until the broker has acknowledged the results of ``Reports``.
    """

    batches: BatchSender
    packing: Packing
    outbox: Outbox
    writers: FencedWriters
    topics: Topics


class Reports(NamedTuple):
    """Outputs of a sweep beside ticks: results of inline kinds, and of ticks that are not run."""

    inline: InlineEvaluator
    skipped: SkippedTicks


class Emitter(Service):
    """Sweeps all open partitions at every multiple of the sweep period."""

    def __init__(
        self,
        partitions: OwnedPartitions,
        due_loader: DueIndexLoader,
        reports: Reports,
        sending: TickSending,
        clock: Clock,
        sweep_ms: int,
    ) -> None:
        super().__init__()
        self._partitions = partitions
        self._sender, self._packing, self._outbox, self._writers, topics = sending
        self._topics: dict[Route, str] = {
            (Destination(priority.value), ticks.region): ticks.of(priority)
            for ticks in (topics.ticks_without_region, *topics.regions)
            for priority in Priority
        }
        self._clock = clock
        self._inline, self._skipped_ticks = reports
        self._due_loader = due_loader
        self._sweep_ms = sweep_ms
        self._replacements = 0
        self._sizes_refused: dict[Route, tuple[int, int]] = {}
        self._jumps = ClockJumps()
        self._sweeps: dict[int, asyncio.Task[None]] = {}
        self._measures = SweepMeasures(clock)

    @Service.task
    async def _sweep_on_time(self) -> None:
        while not self.should_stop:
            now = self._clock.now_ms()
            if self._jumps.has_jumped(now, self._clock.monotonic_s()):
                logger.warning("the clock jumped ahead; ticks wait for %d s to see whether it stays", JUMP_PATIENCE_S)
                await self.sleep(JUMP_PATIENCE_S)
                continue
            # a millisecond past the step: a sweep that wakes too early finds the step not due and loses a whole period
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
        """Emit the due ticks of one partition, up to the last whole step of the sweep period."""
        began_s = self._clock.monotonic_s()
        async with partition.sweep_lock:
            free_s = self._clock.monotonic_s()
            if self._partitions.get(partition.number) is not partition:
                return
            # a failed sweep goes on as of the same instants, so the same ticks are skipped and sent
            sweep = partition.sweep = partition.sweep or self._begin(partition)
            if sweep is None:
                return
            if not sweep.is_collected:
                await self._due_loader.load(partition, sweep.upto)
                _collect(partition, sweep, self._topics)
            loaded_s = self._clock.monotonic_s()
            try:
                await self._emit(partition, sweep)
            except (KafkaError, Transient) as error:
                logger.warning(
                    "ticks of partition %d are not out yet, trying again: %r",
                    partition.number,
                    error,
                    extra=labelled(partition=partition.number),
                )
                return
            self._measures.log_if_slow(partition.number, began_s, free_s, loaded_s)
            partition.timetable.mark_emitted(sweep.upto)
            partition.sweep = None
            self._replacements = 0
            is_owned = self._partitions.get(partition.number) is partition
            self._measures.count(partition, sweep, is_owned=is_owned)
            if is_owned:
                self._writers.note(partition.number, sweep.upto)

    def _begin(self, partition: OwnedPartition) -> Sweep | None:
        """Return the sweep to make now; None if nothing can be due yet."""
        now = self._clock.now_ms()
        upto = now if partition.ceiling is None else min(now, partition.ceiling)
        upto -= upto % self._sweep_ms
        return Sweep(upto, now) if upto > partition.emitted_to else None

    async def _emit(self, partition: OwnedPartition, sweep: Sweep) -> None:
        """Emit the firings; the broker has acknowledged them when this returns."""
        if sweep.outgoing:
            await self._send(partition, sweep)
        # results go after the ticks: they would be sent once more each time the ticks fail
        if sweep.inline or sweep.skipped or sweep.unsendable:
            await self._inline.evaluate(partition, sweep.inline, sweep.now)
            await self._skipped_ticks.report_skipped(partition, sweep.skipped, sweep.now)
            await self._skipped_ticks.report_unsendable(partition, sweep.unsendable, sweep.now)
            await self._outbox.delivered(partition.number)

    async def _send(self, partition: OwnedPartition, sweep: Sweep) -> None:
        """Send the ticks; what the broker did not take stays in ``sweep.outgoing``."""
        if self._sizes_refused:
            self._drop_known_too_large(sweep)
        producer = self._sender.producer
        by_route = [list(some) for _, some in groupby(sorted(sweep.outgoing, key=_route_of), key=_route_of)]
        if len(by_route) == 1:
            failed = await self._send_to(partition.number, by_route[0])
        else:
            sent = await asyncio.gather(*(self._send_to(partition.number, some) for some in by_route))
            failed = [failure for failures in sent for failure in failures]
        for each, _ in failed:
            PRODUCER_ERRORS.labels(self._topics[each.route]).inc(each.chunk.count)
        left = {id(each) for each, _ in failed}
        for each in sweep.outgoing:
            if id(each) not in left:
                sweep.sent[each.route] += each.chunk.count
        sweep.outgoing = [each for each, _ in failed]
        if not failed:
            return
        has_refused = self._split_refused(sweep, failed)
        await self._replace_if_broken(producer, failed, has_refused=has_refused)
        raise failed[0][1]

    def _split_refused(self, sweep: Sweep, failed: list[Failure]) -> bool:
        """Halve the chunks that the broker refused; tell whether there are any."""
        refused = {id(each): error for each, error in failed if is_refused(error)}
        if not refused:
            return False
        whole, sweep.outgoing = sweep.outgoing, []
        for each in whole:
            error = refused.get(id(each))
            if error is None:
                sweep.outgoing.append(each)
            elif each.chunk.count == 1:
                sweep.unsendable.append((*each, self._why_unsendable(sweep, each, error)))
            else:
                sweep.outgoing.extend(self._halves(each))
        too_large = [each.chunk.size_in(self._packing) for each, error in failed if is_too_large(error)]
        if too_large:
            self._fit(max(too_large))
        return True

    async def _replace_if_broken(
        self, producer: AIOKafkaProducer | None, failed: list[Failure], *, has_refused: bool
    ) -> None:
        """Replace a producer that does not get over an error; crash after too many replacements."""
        broken = next((error for _, error in failed if not is_passing(error)), None)
        # refused chunks are halved until single ticks are left, so this ends
        if broken is not None and await self._sender.replace(producer) and not has_refused:
            self._replacements += 1
            if self._replacements > MOST_REPLACEMENTS:
                await self.crash(broken)

    async def _send_to(self, number: int, outgoing: list[Outgoing]) -> list[Failure]:
        """Send chunks of one topic, in order; gives those that failed."""
        packing, sender = self._packing, self._sender
        topic = self._topics[outgoing[0].route]
        futures: list[asyncio.Future[object]] = []
        failure: BaseException | None = None
        for _, chunk, instant in outgoing:
            records = chunk.packed(packing)
            batch = StampedBatch(records, chunk.count, chunk.code, instant, chunk.reach)
            try:
                futures.append(await sender.send(batch, topic, number))
            except KafkaError as error:
                failure = error
                break
        acknowledgements = await asyncio.gather(*futures, return_exceptions=True)
        failed: list[Failure] = []
        for each, outcome in zip(outgoing, acknowledgements, strict=False):
            if (problem := failure_of(outcome)) is not None:
                failed.append((each, problem))
        if failure is not None:
            failed += [(each, failure) for each in outgoing[len(futures) :]]
        return failed

    def _halves(self, refused: Outgoing) -> Iterable[Outgoing]:
        """Yield the halves of a chunk."""
        route, chunk, instant = refused
        entries = list(chunk.entries(self._packing))
        middle = len(entries) // 2
        for some in (entries[:middle], entries[middle:]):
            yield Outgoing(route, chunk_of(some, self._packing), instant)

    def _why_unsendable(self, sweep: Sweep, refused: Outgoing, error: BaseException) -> str:
        """Return why a single tick cannot be sent; note its size if it is too large for its topic."""
        if not is_too_large(error):
            return f"the broker refused the tick: {error!r}"
        size, until = self._sizes_refused.get(refused.route, (0, 0))
        size_refused = len(refused.chunk.packed(self._packing))
        self._sizes_refused[refused.route] = (
            min(size, size_refused) if sweep.now < until else size_refused,
            sweep.now + REFUSED_FOR_MS,
        )
        return self._too_large(refused)

    def _drop_known_too_large(self, sweep: Sweep) -> None:
        """Make each tick unsendable that is as large as one that its topic refused a short while ago."""
        whole, sweep.outgoing = sweep.outgoing, []
        for each in whole:
            if self._is_known_too_large(sweep, each):
                sweep.unsendable.append((*each, self._too_large(each)))
            else:
                sweep.outgoing.append(each)

    def _is_known_too_large(self, sweep: Sweep, each: Outgoing) -> bool:
        route, chunk, _ = each
        size, until = self._sizes_refused.get(route, (0, 0))
        return chunk.count == 1 and sweep.now < until and len(chunk.packed(self._packing)) >= size

    def _too_large(self, each: Outgoing) -> str:
        route, chunk, _ = each
        return (
            f"the tick has {chunk.size_in(self._packing)} bytes, which is more than the topic {self._topics[route]}"
            " takes (its max.message.bytes)"
        )

    def _fit(self, refused_size: int) -> None:
        size = max(refused_size // 2, 1)
        larger = [partition for partition in self._partitions if partition.timetable.limits.size > size]
        if larger:
            logger.warning("a topic refuses batches of %d bytes; from now on they are smaller", refused_size)
        for partition in larger:
            partition.timetable.fit(size)


def _collect(partition: OwnedPartition, sweep: Sweep, topics: Mapping[Route, str]) -> None:
    """Collect all due firings without a pause, so that no monitor is put or removed meanwhile.

    A batch goes to each of its monitors' regions, the very same bytes. A region that the setting no longer has gets
    nothing: it is one that does not answer.
    """
    timetable = partition.timetable
    outage = sweep.upto - timetable.emitted_to > OUTAGE_MS
    for firing in timetable.backlog(sweep.upto, sweep.now) if outage else timetable.due(sweep.upto):
        destination = firing.batch_key.destination
        if destination is Destination.INLINE:
            sweep.inline.append(firing)
        else:
            for region in firing.batch_key.regions or _NO_REGION:
                route = destination, region
                if route in topics:
                    sweep.outgoing.extend(Outgoing(route, firing.chunk, instant) for instant in firing.fire)
        if firing.skipped:
            sweep.skipped.append(firing)
    sweep.is_collected = True


def _route_of(each: Outgoing) -> Route:
    return each.route

"""The sink's loop: take records, put refused ones aside, store the rest with its offsets, in one transaction.

All in one file: what the loop does with a batch depends on which of its steps failed.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from operator import attrgetter
from typing import NamedTuple, TypeVar

from everwatch.core.bisection import Bisection
from everwatch.core.clock import Clock
from everwatch.core.config import Settings
from everwatch.core.errors import StoreError, Unhandled, is_retryable
from everwatch.core.process_memory import expect_batches
from everwatch.core.retrying import retry
from everwatch.kafka.clients import Clients
from everwatch.kafka.consumed_record import Record, RefusedRecord
from everwatch.kafka.dead_letter_writer import DeadLetters
from everwatch.kafka.outbox import Outbox
from everwatch.kafka.stored_source import Source
from everwatch.kafka.topics import Topics
from everwatch.kafka.unreadable_batches import Unreadable
from everwatch.observability.log_throttle import LogThrottle
from everwatch.observability.metrics import POISON
from everwatch.plans.plans_file import PlansFile
from everwatch.processes import Process
from everwatch.sink.batch_builder import build_batch
from everwatch.sink.metrics import BATCH, BATCH_RECORDS, DELAY, DELETED, LAG, RECORDS, RETRIES, measure
from everwatch.sink.purging import Purging
from everwatch.sink.store_spans import record_stored
from everwatch.store import Partition, ResultStore, SinkBatch, StoreBusy, open_store
from everwatch.store.database import as_writer
from everwatch.store.plan_keeping import NO_PLANS, PlanKeeping
from everwatch.tracing.tracer import Tracer, open_tracer

logger = logging.getLogger(__name__)

MOST_RECORDS = 10_000
WAIT_S = 0.2
CLOSE_S = 2.0
TRIM_EVERY_S = 60.0
# what is deleted after a batch: always more than it holds, or a backlog would never go, and never for long
FEWEST_TRIMMED = 2_000

_TOPIC_OF = attrgetter("topic")

Value = TypeVar("Value")


class Stopped(Exception):
    """The stop event was set while something was waited for."""


class Sink(Process):
    """Stores results, transitions, the catalogue of monitors, dead letters and replies.

    Offsets are stored with the data, so a record is stored once however the process ends. Waits while no broker
    answers or another process holds the database's lock. ``start`` and ``run`` raise StoreError when the database
    cannot be used, or has a sink already and takes no other; ``run`` raises BrokerUnavailable when a refused record
    could not be put into the dead letters for ten minutes.
    """

    name = "sink"

    def __init__(self, settings: Settings, clients: Clients, clock: Clock) -> None:
        super().__init__(settings, clock)
        self._clients = clients
        self._claim = ExitStack()
        self._store: ResultStore | None = None
        self._storing: Storing | None = None
        self._plans: PlansFile | None = None
        self.health.expect("database", lambda: "" if self._store else "it is not open yet")
        self.health.expect("assignment", self._why_not_assigned)

    async def start(self) -> None:
        """Become the database's sink. Raises SettingsError if the file of plans is wrong."""
        expect_batches()
        if self.settings.plans_file is not None:
            self._plans = PlansFile(self.settings.plans_file)
        self._claim.enter_context(as_writer(self.settings.database_url))

    async def run(self) -> None:
        """Store records until the process stops."""
        try:
            store = self._store = await _while_busy(lambda: open_store(self.settings), self.stopping)
        except Stopped:
            return
        async with open_tracer(self.name, self.settings.instance) as tracer:
            self._storing = Storing(
                self.settings, self._clients, self.clock, self.stopping, store, StoringParts(self._plans, tracer)
            )
            await self._storing.run()

    async def stop(self) -> None:
        """Close the database."""
        try:
            if self._store is not None:
                await asyncio.to_thread(self._store.close)
        finally:
            self._claim.close()

    def measure(self) -> None:
        """Set the gauge of the lag."""
        LAG.set(self._storing.lag_ms() / 1000 if self._storing else 0)

    def _why_not_assigned(self) -> str:
        is_member = self._storing is not None and self._storing.is_member
        return "" if is_member else "not in the consumer group yet"


class StoringParts(NamedTuple):
    """Parts that a sink may do without.

    ``source`` gives the records; None: one that reads the topics. ``open_other``: opens the store that purges use;
    None: that of the settings.
    """

    plans: PlansFile | None = None
    tracer: Tracer | None = None
    source: Source | None = None
    open_other: Callable[[], ResultStore] | None = None


class Storing:
    """Reads records and stores them, until ``stop`` is set."""

    def __init__(
        self,
        settings: Settings,
        clients: Clients,
        clock: Clock,
        stop: asyncio.Event,
        store: ResultStore,
        parts: StoringParts,
    ) -> None:
        self._settings = settings
        self._clients = clients
        self._clock = clock
        self._stop = stop
        self._store = store
        self._plans, self._tracer, self._source, open_other = parts
        if open_other is None:
            open_other = partial(open_store, settings)
        self._topics = Topics.of(settings)
        # made when first needed: most sinks never refuse a record
        self._outbox: Outbox | None = None
        self._letters: DeadLetters | None = None
        self._log_throttle = LogThrottle(clock)
        # when to look again for what is older than it is kept
        self._trim_at_s = clock.monotonic_s()
        self._purging = Purging(settings, clients, clock, store, open_other)
        # timestamp of the oldest record that was taken and is not stored
        self._oldest_ms = 0

    @property
    def is_member(self) -> bool:
        """Tell whether the consumer group has assigned partitions to this sink, or none."""
        return self._source is not None and self._source.is_member

    def lag_ms(self) -> int:
        """Return the age of the oldest record that is not stored yet, ms; 0 if there is none."""
        return max(0, self._clock.now_ms() - self._oldest_ms) if self._oldest_ms else 0

    async def run(self) -> None:
        source = self._source = self._source or Source(
            self._settings, self._clients, self._store, self._clock, self._topics.stored
        )
        logger.info("storing %s", ", ".join(self._topics.stored))
        try:
            while not self._stop.is_set():
                await self._trim(await self._step(source))
                self._purging.look()
        except Stopped:
            # what was not stored is read again
            pass
        finally:
            await asyncio.to_thread(source.close)
            await self._purging.close()
            if self._outbox is not None:
                await self._outbox.close(CLOSE_S)
            logger.info("stopped")

    async def _step(self, source: Source) -> int:
        """Read some records and store them; return how many.

        Nothing is read ahead: if partitions moved before records of theirs are stored, the next sink would read these
        from the topic too, and both would store them.
        """
        # a rebalance asks the database where partitions start
        records, unreadable, lost = await _while_busy(partial(source.take, MOST_RECORDS, WAIT_S), self._stop)
        began_s = self._clock.monotonic_s()
        self._oldest_ms = min((record.timestamp_ms for record in records), default=0)
        # before any offset behind it is stored
        await self._bury_unreadable(unreadable)
        work = Bisection(records)
        while part := work.part:
            try:
                offsets = await self._store_part(part)
            except Exception as error:
                if is_retryable(error):
                    raise
                self._complain(error, part)
                if not work.failed():
                    continue
                offsets = await self._pass_over(part[0], error)
            work.done()
            source.commit(offsets)
        if records:
            self._count(records, began_s)
        if passed := _offsets_behind(unreadable, records):
            await _while_busy(partial(self._store.apply, SinkBatch(self._clock.now_ms(), passed)), self._stop)
            source.commit(passed)
        if lost:
            await _while_busy(lambda: self._store.forget_offsets(lost), self._stop)
            await asyncio.to_thread(source.restart, lost)
        return len(records)

    def _count(self, records: Sequence[Record], began_s: float) -> None:
        for topic, number in Counter(map(_TOPIC_OF, records)).items():
            RECORDS.labels(topic).inc(number)
        BATCH_RECORDS.observe(len(records))
        BATCH.observe(self._clock.monotonic_s() - began_s)
        DELAY.observe(self.lag_ms() / 1000)
        self._oldest_ms = 0

    async def _trim(self, stored: int) -> None:
        """Delete some of what is older than it is kept; whatever is wrong with that stops nothing.

        It alternates with the batches: on SQLite they would wait for each other.
        """
        if self._clock.monotonic_s() < self._trim_at_s:
            return
        deleted = 0
        try:
            deleted = await asyncio.to_thread(self._trim_some, FEWEST_TRIMMED + 2 * stored)
        except StoreError as error:
            if self._log_throttle.may_log("trim"):
                logger.warning("Expired rows were not deleted: %s The sink goes on.", error)
        DELETED.inc(deleted)
        # less than a bite: what is too old is gone, but for what grew too old just now
        if deleted < FEWEST_TRIMMED:
            self._trim_at_s = self._clock.monotonic_s() + TRIM_EVERY_S

    def _trim_some(self, most: int) -> int:
        keeping = NO_PLANS
        if self._plans is not None:
            # a file that is wrong changes nothing, and is logged once
            self._plans.look()
            keeping = PlanKeeping.of(self._plans.current.keep_days)
        measure(self._store.volume())
        return self._store.trim(self._clock.now_ms(), most, keeping)

    async def _store_part(self, part: Sequence[Record]) -> Mapping[Partition, int]:
        """Store records with their offsets; return the offsets. Refused records go into the dead letters first."""
        batch, refused = await asyncio.to_thread(build_batch, part, self._topics, self._clock.now_ms())
        await self._bury(refused)
        await _while_busy(partial(self._store.apply, batch), self._stop)
        if batch.purges:
            self._purging.expect()
        if self._tracer is not None:
            record_stored(self._tracer, batch.results, batch.stored_at, self._clock.now_ms())
        return batch.offsets

    async def _pass_over(self, record: Record, error: Exception) -> Mapping[Partition, int]:
        """Refuse a record that the database does not take, and store the offset behind it."""
        POISON.labels(record.topic).inc()
        if record.topic == self._topics.dead_letters:
            # a letter about it would be refused too, and so on
            logger.error("A dead letter is not stored: %s", _example(record, error))
        else:
            await self._bury([RefusedRecord(record, Unhandled(error))])
        offsets = {Partition(record.topic, record.partition): record.offset + 1}
        await _while_busy(partial(self._store.apply, SinkBatch(self._clock.now_ms(), offsets)), self._stop)
        return offsets

    async def _bury_unreadable(self, unreadable: Sequence[Unreadable]) -> None:
        """Put batches that cannot be read into the dead letters; returns when that is durable."""
        if not unreadable:
            return
        dead_letters = self._dead_letters()
        for each in unreadable:
            # of dead letters it is logged and counted: see letter_builder
            if each.topic != self._topics.dead_letters:
                dead_letters.put_unreadable(each)
        await self._until_delivered()

    def _complain(self, error: Exception, part: Sequence[Record]) -> None:
        if self._log_throttle.may_log(type(error).__name__):
            logger.error(
                "storing %d records failed; looking for the record that causes it (logged once a minute)",
                len(part),
                exc_info=error,
            )

    async def _bury(self, refused: Sequence[RefusedRecord]) -> None:
        """Put refused records into the dead letters; returns when they are durable."""
        if not refused:
            return
        dead_letters = self._dead_letters()
        for record, error in refused:
            dead_letters.put(record, error)
        if self._log_throttle.may_log("refused"):
            logger.warning("%d records refused (logged once a minute): %s", len(refused), _example(*refused[0]))
        await self._until_delivered()

    def _dead_letters(self) -> DeadLetters:
        if self._letters is None:
            self._outbox = Outbox(self._clients.producer())
            self._letters = DeadLetters(self._outbox, self._topics, self._clock, "sink")
        return self._letters

    async def _until_delivered(self) -> None:
        assert self._outbox is not None
        delivered = asyncio.ensure_future(self._outbox.delivered())
        stopped = asyncio.ensure_future(self._stop.wait())
        await asyncio.wait((delivered, stopped), return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if not delivered.done():
            await asyncio.wait((delivered,), timeout=CLOSE_S)
        if not delivered.done():
            delivered.cancel()
            raise Stopped
        delivered.result()


def _offsets_behind(unreadable: Sequence[Unreadable], records: Sequence[Record]) -> Mapping[Partition, int]:
    """Offsets behind unreadable batches, of partitions where no record follows it."""
    behind: dict[Partition, int] = {}
    for each in unreadable:
        source = Partition(each.topic, each.partition)
        behind[source] = max(each.end, behind.get(source, 0))
    for record in records if behind else ():
        source = Partition(record.topic, record.partition)
        if record.offset >= behind.get(source, record.offset + 1):
            del behind[source]
    return behind


def _example(record: Record, error: Exception) -> str:
    return f"{record.topic}, partition {record.partition}, offset {record.offset}: {error}"


async def _while_busy(call: Callable[[], Value], stop: asyncio.Event) -> Value:
    """Return the result of ``call``, which is retried while another process holds the database. Raises Stopped."""
    has_failed = False

    def note(error: Exception) -> None:
        nonlocal has_failed
        RETRIES.inc()
        if not has_failed:
            logger.warning("%s The sink waits for it.", error)
        has_failed = True

    async def pause(seconds: float) -> None:
        if stop.is_set():
            raise Stopped
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), seconds)

    return await retry(StoreBusy, partial(asyncio.to_thread, call), note, pause)

"""The sink's loop: take records, put what is refused aside, store the rest with its offsets, in one transaction."""

import asyncio
import logging
from collections.abc import Callable
from typing import TypeVar

from everwatch.clock import Clock
from everwatch.config import Settings
from everwatch.kafka.clients import new_producer
from everwatch.kafka.dead_letters import MOST_KEPT_BYTES, refusal_headers
from everwatch.kafka.outbox import Outbox
from everwatch.kafka.records import Record
from everwatch.kafka.topics import Topics
from everwatch.sink.batch import Refused, build_batch
from everwatch.sink.source import Source
from everwatch.store import Partition, SinkBatch, Store, StoreBusy, open_store

logger = logging.getLogger(__name__)

MOST_RECORDS = 10_000
WAIT_S = 0.2
SHORTEST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 2.0
CLOSE_S = 2.0

Value = TypeVar("Value")


class Stopped(Exception):
    """The stop event was set while something was waited for."""


async def run(settings: Settings, bootstrap_servers: str, clock: Clock, stop: asyncio.Event) -> None:
    """Store results, transitions and the catalogue of monitors until ``stop`` is set.

    Offsets are stored with the data, so a record is stored once however the process ends. Waits while no broker
    answers or another process holds the database's lock. Raises StoreError when the database cannot be used,
    BrokerUnavailable when a refused record could not be put into the dead letters for ten minutes.
    """
    try:
        store = await _while_busy(lambda: open_store(settings), stop)
    except Stopped:
        return
    try:
        await _Sink(settings, bootstrap_servers, clock, stop, store).run()
    finally:
        await asyncio.to_thread(store.close)


class _Sink:
    def __init__(
        self, settings: Settings, bootstrap_servers: str, clock: Clock, stop: asyncio.Event, store: Store
    ) -> None:
        self._settings = settings
        self._bootstrap_servers = bootstrap_servers
        self._clock = clock
        self._stop = stop
        self._store = store
        self._topics = Topics.of(settings)
        # made when first needed: most sinks never refuse a record
        self._dead_letters: Outbox | None = None

    async def run(self) -> None:
        source = Source(self._settings, self._bootstrap_servers, self._store)
        logger.info("storing %s", ", ".join((self._topics.results, self._topics.transitions, "the monitors")))
        try:
            while not self._stop.is_set():
                await self._step(source)
        except Stopped:
            # what was not stored is read again
            pass
        finally:
            await asyncio.to_thread(source.close)
            if self._dead_letters is not None:
                await self._dead_letters.close(CLOSE_S)
            logger.info("stopped")

    async def _step(self, source: Source) -> None:
        batch, refused, lost = await asyncio.to_thread(self._take, source)
        if refused:
            await self._bury(refused)
        if batch.offsets:
            await _while_busy(lambda: self._store.apply(batch), self._stop)
            source.commit(batch.offsets)
        if lost:
            await _while_busy(lambda: self._store.forget_offsets(lost), self._stop)
            await asyncio.to_thread(source.restart, lost)

    def _take(self, source: Source) -> tuple[SinkBatch, list[Refused], list[Partition]]:
        records, lost = source.take(MOST_RECORDS, WAIT_S)
        batch, refused = build_batch(records, self._topics, self._clock.now_ms())
        return batch, refused, lost

    async def _bury(self, refused: list[Refused]) -> None:
        """Put refused records into the dead letters; returns when they are durable."""
        if self._dead_letters is None:
            self._dead_letters = Outbox(new_producer(self._settings, self._bootstrap_servers))
        refused_at = self._clock.now_ms()
        for record, error in refused:
            self._dead_letters.send(
                self._topics.dead_letters,
                partition=record.partition,
                key=record.key,
                value=record.value[:MOST_KEPT_BYTES] if record.value else record.value,
                headers=refusal_headers(
                    error,
                    topic=record.topic,
                    partition=record.partition,
                    offset=record.offset,
                    refused_at=refused_at,
                ),
            )
        logger.warning("%d records refused: %s", len(refused), _example(*refused[0]))
        delivered = asyncio.ensure_future(self._dead_letters.delivered())
        stopped = asyncio.ensure_future(self._stop.wait())
        await asyncio.wait((delivered, stopped), return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if not delivered.done():
            await asyncio.wait((delivered,), timeout=CLOSE_S)
        if not delivered.done():
            delivered.cancel()
            raise Stopped
        delivered.result()


def _example(record: Record, error: Exception) -> str:
    return f"{record.topic}, partition {record.partition}, offset {record.offset}: {error}"


async def _while_busy(call: Callable[[], Value], stop: asyncio.Event) -> Value:
    """What ``call`` gives, tried again while another process holds the database. Raises Stopped."""
    pause_s = SHORTEST_PAUSE_S
    while True:
        try:
            return await asyncio.to_thread(call)
        except StoreBusy as error:
            if pause_s == SHORTEST_PAUSE_S:
                logger.warning("%s The sink waits for it.", error)
        if stop.is_set():
            raise Stopped
        try:
            await asyncio.wait_for(stop.wait(), pause_s)
        except TimeoutError:
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

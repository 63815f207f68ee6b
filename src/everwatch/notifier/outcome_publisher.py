"""Outcomes of messages from the database to the topic ``notifications``, each at least once."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Protocol, TypeVar

from everwatch.core.clock import Clock
from everwatch.core.errors import EverwatchError, is_retryable
from everwatch.kafka.acknowledging import ToSend
from everwatch.notifier.outcome_rows import UnpublishedOutcome
from everwatch.notifier.storage import Storage

MOST_OUTCOMES = 2_000
# longer than the producer waits for the broker
TAKEN_FOR_MS = 60_000
DELIVERED_WITHIN_MS = 30_000
_LOOK_EVERY_S = 0.5

Value = TypeVar("Value")


class SendsEach(Protocol):
    """Sends records; ``kafka.acknowledging.AcknowledgingProducer``."""

    async def send_each(self, records: Sequence[ToSend]) -> list[EverwatchError | None]:
        """Send records and give why each is not acknowledged: None if it is."""
        ...


class InDatabase(Protocol):
    """Calls something in the thread of the database."""

    def __call__(self, call: Callable[[], Value], /) -> Awaitable[Value]:
        """Return what ``call`` returns."""
        ...


class OutcomePublisher:
    """Publishes what the transactions of other parts have stored; a kill before the row is gone repeats the record."""

    def __init__(
        self,
        storage: Storage,
        producer: SendsEach,
        topic: str,
        clock: Clock,
        in_database: InDatabase,
        complain: Callable[[str, str], None],
    ) -> None:
        self._storage = storage
        self._producer = producer
        self._topic = topic
        self._clock = clock
        self._in_database = in_database
        self._complain = complain
        self._published: list[int] = []

    async def run(self) -> None:
        """Publish until cancelled."""
        while True:
            if not await self.turn():
                await asyncio.sleep(_LOOK_EVERY_S)

    async def turn(self) -> int:
        """Forget what the last turn has published, and publish what waits; return how many were acknowledged."""
        published = list(self._published)
        waiting = await self._in_database(partial(self._next, published))
        del self._published[: len(published)]
        if not waiting:
            return 0
        failures = await self._producer.send_each([(self._topic, each.key, each.value) for each in waiting])
        for each, failure in zip(waiting, failures, strict=True):
            if failure is not None:
                self._complain("outcome", f"An outcome could not be written to the topic {self._topic}: {failure}")
            if failure is None or not is_retryable(failure):
                # one that Kafka never takes must not stand before all others
                self._published.append(each.seq)
        return len(self._published)

    async def finish(self) -> None:
        """Forget published outcomes."""
        if self._published:
            await self._in_database(partial(self._forget, self._published))

    def _next(self, published: list[int]) -> list[UnpublishedOutcome]:
        now = self._clock.now_ms()
        if not published:
            # mostly there is nothing, and then nothing is locked or written
            with self._storage.look() as work:
                if not work.has_outcomes(now):
                    return []
        with self._storage.begin() as work:
            work.delete_outcomes(published)
            return work.take_outcomes(now, now + TAKEN_FOR_MS, MOST_OUTCOMES)

    def _forget(self, published: list[int]) -> None:
        with self._storage.begin() as work:
            work.delete_outcomes(published)

"""Asks executors to run a check once, and waits for what it found."""

import asyncio
from collections.abc import Sequence
from typing import Protocol

from everwatch.core.errors import InvalidInput
from everwatch.encoding.trial_records import TrialOutcome, TrialRequest, decode_trial, encode_trial
from everwatch.kafka.acknowledging import AcknowledgingProducer
from everwatch.kafka.consumed_record import Record
from everwatch.kafka.topics import Topics


class TrialRuns(Protocol):
    """Runs a check once, somewhere else."""

    async def run(self, request: TrialRequest, wait_s: float) -> TrialOutcome | None:
        """Return what the check found; None if no executor has answered within ``wait_s``. Raises BrokerUnavailable."""
        ...


class KafkaTrials:
    """Trials on Kafka. ``take`` is given all records of ``trial-results`` by a follower, in its thread."""

    def __init__(self, topics: Topics, producer: AcknowledgingProducer) -> None:
        self._topic = topics.trials
        self._producer = producer
        self._loop = asyncio.get_running_loop()
        self._waiting: dict[str, asyncio.Future[TrialOutcome]] = {}

    async def run(self, request: TrialRequest, wait_s: float) -> TrialOutcome | None:
        found: asyncio.Future[TrialOutcome] = self._loop.create_future()
        self._waiting[request.trial_id] = found
        try:
            await self._producer.send(self._topic, *encode_trial(request))
            await asyncio.wait([found], timeout=wait_s)
            return found.result() if found.done() else None
        finally:
            del self._waiting[request.trial_id]

    def take(self, records: Sequence[Record]) -> None:
        """Take in outcomes; called in another thread."""
        for record in records:
            try:
                outcome = decode_trial(record.value, TrialOutcome)
            except InvalidInput:
                continue  # not an outcome that is awaited here
            if not self._loop.is_closed():
                self._loop.call_soon_threadsafe(self._settle, outcome)

    def _settle(self, outcome: TrialOutcome) -> None:
        waiting = self._waiting.get(outcome.trial_id)
        if waiting is not None and not waiting.done():
            waiting.set_result(outcome)

"""Isolation of poison records: a record whose handling fails becomes a dead letter, and the others are handled."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from everwatch.core.bisection import Bisection
from everwatch.core.clock import Clock
from everwatch.core.errors import InvalidInput, Unhandled, is_retryable
from everwatch.kafka.consumed_record import Record
from everwatch.observability.log_throttle import LogThrottle
from everwatch.observability.logs import labelled
from everwatch.observability.metrics import POISON
from streams.outputs.refused_inputs import RefusedInputs

logger = logging.getLogger(__name__)
PAUSE_S = 0.1
# limit of all pauses of one batch: it may hold thousands of poison records, and waiting helps few of them
LONGEST_PAUSES_S = 1.0


class PoisonIsolation:
    """Calls the handler of one topic, ``handle``, and refuses poison records: one that fails each time harms no other.

    The agent of the topic runs it.
    """

    def __init__(
        self,
        topic: str,
        handle: Callable[[Sequence[Record]], Awaitable[None]],
        refused: Callable[[], RefusedInputs],
        clock: Clock,
    ) -> None:
        self._topic = topic
        self.handle = handle
        self._refused = refused
        self._log_throttle = LogThrottle(clock)

    async def run(self, rest: Bisection[Record]) -> None:
        """Handle the rest of a batch; when this returns, every record is durably handled or refused.

        A part that fails is halved, down to the records that fail alone; those are refused after three attempts
        (``Bisection``). Meanwhile the topic's other partitions at this worker wait, too: a batch spans them.
        Raises errors that are no record's fault (``is_retryable``); the caller then runs ``rest`` again.
        """
        pauses_s = LONGEST_PAUSES_S
        while part := rest.part:
            try:
                await self._handle_part(part)
            except Exception as error:
                if is_retryable(error):
                    raise
                self._complain(error, part)
                if not rest.failed():
                    pauses_s -= await _pause(len(part), pauses_s)
                    continue
                await self._refuse(part[0], error)
            rest.done()

    async def _handle_part(self, part: Sequence[Record]) -> None:
        refused = self._refused()
        try:
            await self.handle(part)
        except BaseException:
            refused.forget(self._topic)
            raise
        await refused.write_letters(self._topic)

    async def _refuse(self, record: Record, error: Exception) -> None:
        POISON.labels(self._topic).inc()
        refused = self._refused()
        refused.refuse(record, error if isinstance(error, InvalidInput) else Unhandled(error))
        await refused.write_letters(self._topic)

    def _complain(self, error: Exception, part: Sequence[Record]) -> None:
        if self._log_throttle.may_log(type(error).__name__):
            logger.error(
                "handling %d records of %s failed; looking for the record that causes it (logged once a minute)",
                len(part),
                self._topic,
                exc_info=error,
                extra=labelled(topic=self._topic),
            )


async def _pause(records: int, pauses_s: float) -> float:
    """Wait before a record that failed alone is handled again; return how long, s."""
    if records != 1 or pauses_s <= 0:
        return 0
    await asyncio.sleep(PAUSE_S)
    return PAUSE_S

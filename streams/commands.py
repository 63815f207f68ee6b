"""Commands come through Faust one by one, and are carried out some at a time: each batch waits for the broker once."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from mode import Service

from everwatch.clock import Clock
from everwatch.isolation import Bisection
from everwatch.kafka.records import Record
from everwatch.quiet import Quiet
from everwatch.timetable import NotPlanned
from streams.isolation import Isolated
from streams.partition_logs import PartitionLost

logger = logging.getLogger(__name__)
AT_ONCE = 1_000
RETRY_S = 1.0
# as many wait as are carried out at once; then the agent waits, and Faust reads no further
MOST_WAITING = AT_ONCE


class Commands(Service):
    """Gathers the agent's events and carries them out; an event is acknowledged when its command is durable."""

    def __init__(
        self,
        handler: Isolated,
        owned: Callable[[], set[int]],
        give_up: Callable[[BaseException], None],
        clock: Clock,
    ) -> None:
        super().__init__()
        self._handler = handler
        self._owned = owned
        self._give_up = give_up
        self._waiting: asyncio.Queue[tuple[int, Any]] = asyncio.Queue(MOST_WAITING)
        self._era = 0
        self._quiet = Quiet(clock)

    async def take(self, event: Any) -> None:
        """Take over an event of Faust's. Waits while there is enough to do."""
        await self._waiting.put((self._era, event))

    def forget(self) -> None:
        """A rebalance: what waits is read again by whoever owns its partition then."""
        self._era += 1

    @Service.task
    async def _carry_out_all(self) -> None:
        while not self.should_stop:
            some = [await self._waiting.get()]
            while len(some) < AT_ONCE and not self._waiting.empty():
                some.append(self._waiting.get_nowait())
            await self._carry_out_some(some)

    async def _carry_out_some(self, some: list[tuple[int, Any]]) -> None:
        era, owned = self._era, self._owned()
        events = [event for taken, event in some if taken == era and event.message.partition in owned]
        work = Bisection([_record_of(event.message) for event in events])
        while not self.should_stop and era == self._era:
            try:
                await self._handler.run(work)
            except PartitionLost:
                return  # none of them is acknowledged: their next owners read them again
            except NotPlanned as error:
                self._give_up(error)
                return
            except Exception as error:
                if self._quiet.may_say(type(error).__name__):
                    logger.warning("commands failed; retrying (logged once a minute)", exc_info=error)
                await self.sleep(RETRY_S)
                continue
            for event in events:
                event.ack()
            return


def _record_of(message: Any) -> Record:
    return Record(
        message.topic,
        message.partition,
        message.offset,
        int(message.timestamp * 1000),
        message.key,
        message.value,
    )

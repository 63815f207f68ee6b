"""Commands come through Faust one by one, and are carried out some at a time: each batch waits for the broker once."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from mode import Service

from everwatch.kafka.records import Record
from everwatch.timetable import NotPlanned
from streams.tables import PartitionLost

logger = logging.getLogger(__name__)
AT_ONCE = 1_000
# as many wait as are carried out at once; then the agent waits, and Faust reads no further
MOST_WAITING = AT_ONCE


class Commands(Service):
    """Gathers the agent's events and carries them out; an event is acknowledged when its command is durable."""

    def __init__(
        self,
        carry_out: Callable[[list[Record]], Awaitable[None]],
        owned: Callable[[], set[int]],
        give_up: Callable[[BaseException], None],
    ) -> None:
        super().__init__()
        self._carry_out = carry_out
        self._owned = owned
        self._give_up = give_up
        self._waiting: asyncio.Queue[tuple[int, Any]] = asyncio.Queue(MOST_WAITING)
        self._era = 0

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
        while not self.should_stop:
            era, owned = self._era, self._owned()
            events = [event for taken, event in some if taken == era and event.message.partition in owned]
            if not events:
                return
            try:
                await self._carry_out([_record_of(event.message) for event in events])
            except PartitionLost:
                return
            except NotPlanned as error:
                self._give_up(error)
                return
            except Exception:
                logger.exception("commands failed; they are tried again")
                await self.sleep(1.0)
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

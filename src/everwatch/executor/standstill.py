"""Notices that the process stood still (it was stopped, or the machine slept), and keeps its ticks waiting after that.

Ticks that wait in the process are older by then, and say nothing of what was cancelled or became due meanwhile: both
are still to be read from their topics. Lives on the event loop.
"""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import Future

from everwatch.core.clock import Clock
from everwatch.executor.assignment import STANDSTILL_S, HeldPartition

log = logging.getLogger(__name__)
LOOK_EVERY_S = 0.5
# longest time for which nothing is begun
CANCELLATIONS_WITHIN_S = 10.0
# longest wait of ticks for fresher ones: cancellations, and then the partitions, are read by then
AFTERMATH_S = 20.0


class Standstill:
    """``go_on`` is called when something that waited for the end of a standstill may go on."""

    def __init__(
        self,
        clock: Clock,
        read_cancellations: Callable[[], "Future[None]"],
        go_on: Callable[[], None],
        look_every_s: float = LOOK_EVERY_S,
        cancellations_within_s: float = CANCELLATIONS_WITHIN_S,
    ) -> None:
        """``read_cancellations`` gives a future that is done when all is known that is cancelled by now.

        Nothing is begun for ``cancellations_within_s`` at most.
        """
        self._look_every_s = look_every_s
        self._within_s = cancellations_within_s
        self._clock = clock
        self._read_cancellations = read_cancellations
        self._go_on = go_on
        self._loop = asyncio.get_running_loop()
        self._looked_s = clock.monotonic_s()
        self._resumed_s: float | None = None
        self._reading: asyncio.Task[None] | None = None
        self._timer = self._loop.call_later(self._look_every_s, self._look_again)

    def close(self) -> None:
        """Stop looking."""
        self._timer.cancel()
        if self._reading is not None:
            self._reading.cancel()

    def keeps_waiting(self) -> bool:
        """Tell whether nothing is to be begun yet: cancellations up to now are still being read."""
        now_s = self._clock.monotonic_s()
        if now_s - self._looked_s > STANDSTILL_S:
            self._resumed_s = now_s
            if self._reading is not None:
                # the end that it knows may be from before this standstill
                self._reading.cancel()
            self._reading = self._loop.create_task(self._read())
        self._looked_s = now_s
        return self._reading is not None

    @property
    def is_recent(self) -> bool:
        """Tell whether the process stood still a moment ago."""
        return self._resumed_s is not None and self._clock.monotonic_s() - self._resumed_s < AFTERMATH_S

    def is_behind(self, held: HeldPartition) -> bool:
        """Tell whether there is more to read of a partition, or that is not known since the process goes on."""
        if held.is_behind:
            return True
        return self.is_recent and self._resumed_s is not None and held.looked_s < self._resumed_s

    async def _read(self) -> None:
        known = asyncio.wrap_future(self._read_cancellations())
        await asyncio.wait({known}, timeout=self._within_s)
        if not known.done():
            log.warning(
                "after a standstill cancellations could not be read within %g s; what was cancelled meanwhile may run",
                self._within_s,
            )
        self._reading = None
        self._go_on()

    def _look_again(self) -> None:
        self._timer = self._loop.call_later(self._look_every_s, self._look_again)
        if not self.keeps_waiting() and self.is_recent:
            self._go_on()

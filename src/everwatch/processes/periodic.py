"""Periodic work of a process."""

import asyncio
from collections.abc import Awaitable, Callable


class Periodic:
    """Calls ``work``, waits ``every_s``, and so on: one call at a time, until it is cancelled.

    With ``at_once`` False it waits before the first call, too. An exception ends it: ``run`` raises it, or calls
    ``on_error`` with it and returns.
    """

    def __init__(
        self,
        work: Callable[[], Awaitable[object]],
        every_s: float,
        on_error: Callable[[Exception], object] | None = None,
        *,
        at_once: bool = True,
    ) -> None:
        self._work = work
        self._every_s = every_s
        self._on_error = on_error
        self._at_once = at_once

    async def run(self) -> None:
        """Go on until cancelled, or until the work raises."""
        if not self._at_once:
            await asyncio.sleep(self._every_s)
        while True:
            try:
                await self._work()
            except Exception as error:
                if self._on_error is None:
                    raise
                self._on_error(error)
                return
            await asyncio.sleep(self._every_s)

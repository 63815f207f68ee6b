"""Processes in the loop of a test."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import TypeVar

from everwatch.processes import Process
from everwatch.processes.health import ProcessPhase
from everwatch.processes.running import live
from support.waiting import PATIENCE

AProcess = TypeVar("AProcess", bound=Process)


def _never(status: int) -> None:
    raise AssertionError(f"the test's own process was to end with status {status}")


@asynccontextmanager
async def running(process: AProcess) -> AsyncIterator[AProcess]:
    """Run a process until the block is left; entered once it has started. Raises what it ended for."""
    life = asyncio.create_task(live(process, _never))
    try:
        async with asyncio.timeout(30 * PATIENCE):
            while process.health.phase is ProcessPhase.STARTING and not life.done():
                await asyncio.sleep(0.01)
        if not life.done():
            yield process
    finally:
        process.stopping.set()
        with suppress(asyncio.CancelledError):
            await life

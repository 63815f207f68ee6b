"""Base class of a process, as the skeleton runs it."""

import asyncio
from collections.abc import Coroutine
from typing import Any, ClassVar

from everwatch import __version__
from everwatch.core.clock import Clock
from everwatch.core.config import Settings
from everwatch.processes.health import Health


class Process:
    """Base of every process. The skeleton calls ``start``, ``run`` and ``stop``, each once and in this order.

    ``stopping`` is set when the process is to stop; ``health`` answers probes.
    """

    name: ClassVar[str]

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self.settings = settings
        self.clock = clock
        self.health = Health(self.name, settings.instance, __version__, clock)
        self.stopping = asyncio.Event()
        self.failed = asyncio.Event()
        self.failure: BaseException | None = None
        self._parts: set[asyncio.Task[Any]] = set()

    async def start(self) -> None:
        """Connect and check what ``run`` needs.

        A stop that comes first cancels it. Raises EverwatchError, which ends the process after ``stop``.
        """

    async def run(self) -> None:
        """Work until ``stopping`` is set, then return promptly. Raises what the process is to end for."""
        await self.stopping.wait()

    async def stop(self) -> None:
        """Finish running work and release all resources, within a few seconds.

        Called however ``start`` and ``run`` ended, and so also after half a start.
        """

    def measure(self) -> None:
        """Set the gauges of the current state. Called once a second on the event loop; must be cheap."""

    def begin(self, name: str, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        """Run ``work`` beside ``run``. The process ends when it raises, or returns before the process stops.

        A part that still runs after ``stop`` is cancelled.
        """
        task = asyncio.get_running_loop().create_task(work, name=f"{self.name}: {name}")
        self._parts.add(task)
        task.add_done_callback(self._part_ended)
        return task

    def fail(self, error: BaseException) -> None:
        """End the process for ``error``, unless it ends for another one already. On the event loop only."""
        if self.failure is None:
            self.failure = error
            self.failed.set()

    async def end_parts(self) -> None:
        """Cancel what ``begin`` began and wait for its end."""
        for task in self._parts:
            task.cancel()
        if self._parts:
            await asyncio.wait(set(self._parts))

    def _part_ended(self, task: "asyncio.Task[Any]") -> None:
        self._parts.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if error is not None:
            self.fail(error)
        elif not self.stopping.is_set():
            self.fail(RuntimeError(f"{task.get_name()} ended although the process did not"))

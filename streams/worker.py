"""A worker as a process: Faust, and the engine beside it, from start to stop."""

import asyncio
import fcntl
import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import faust

from everwatch.core.clock import Clock
from everwatch.core.config import Settings
from everwatch.core.errors import FolderInUse
from everwatch.core.private_files import make_private_folder
from everwatch.core.process_memory import expect_batches
from everwatch.kafka.clients import Clients
from everwatch.processes import Process
from streams.app import App, create_app
from streams.options import WorkerOptions

logger = logging.getLogger(__name__)
MOST_WORKERS_A_FOLDER = 64


class Worker(Process):
    """Keeps its users' monitors and emits their ticks.

    With ``rebuild_changelog`` its tables are taken as the truth where the changelog has lost records. ``clients``: of
    the engine; default: clients of ``bootstrap_servers``. ``start`` raises FolderInUse; ``run`` and ``stop`` raise what
    the worker ended for.
    """

    name = "worker"

    def __init__(
        self,
        settings: Settings,
        bootstrap_servers: str,
        clock: Clock,
        *,
        rebuild_changelog: bool = False,
        clients: Clients | None = None,
    ) -> None:
        super().__init__(settings, clock)
        self._bootstrap_servers = bootstrap_servers
        self._clients = clients
        self._rebuild_changelog = rebuild_changelog
        self._claim = ExitStack()
        self._app: App | None = None
        self._services: _Services | None = None
        self._running: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Claim a folder and put the parts together."""
        expect_batches()
        settings = self.settings
        folder = self._claim.enter_context(claim_folder(settings.data_dir / "workers", settings.worker_id))
        app, engine = create_app(
            settings,
            self._bootstrap_servers,
            self.clock,
            folder,
            clients=self._clients,
            options=WorkerOptions(rebuild_changelog=self._rebuild_changelog),
        )
        self._app = app
        self.health.expect("assignment", engine.ownership.why_not_open)
        self.health.expect("emission", engine.partitions.why_behind)
        self._services = _Services(app, engine, quiet=True, redirect_stdouts=False, override_logging=False, daemon=True)
        self._services.spinner = None  # it writes terminal escapes into logs

    async def run(self) -> None:
        """Run Faust until the process stops, or Faust or the engine ends."""
        assert self._services is not None  # made by ``start``
        assert self._app is not None
        self._running = asyncio.create_task(self._services.start())
        denied = asyncio.create_task(self._app.engine.access_denied.wait())
        stopped = asyncio.create_task(self.stopping.wait())
        try:
            await asyncio.wait({self._running, denied, stopped}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            denied.cancel()
            stopped.cancel()
        if self._running.done():
            self._running.result()
        self._raise_reason()

    async def stop(self) -> None:
        """Stop the engine, then Faust; release the folder."""
        try:
            if self._running is not None and self._services is not None:
                await self._services.stop()
                self._running.cancel()
                await asyncio.wait({self._running})
                self._raise_reason()
        finally:
            self._claim.close()

    def measure(self) -> None:
        """Set the gauges of partitions, tables and producer."""
        if self._app is not None:
            self._app.engine.measure()

    def _raise_reason(self) -> None:
        assert self._services is not None
        assert self._app is not None
        reason = self._app.ended_for or self._services.crash_reason
        if reason is not None:
            raise reason


class _Services(faust.Worker):
    """Faust's order of starting and stopping, without its signal handlers."""

    def install_signal_handlers(self) -> None:
        """Leave signals to the process."""


@contextmanager
def claim_folder(parent: Path, worker_id: str) -> Iterator[Path]:
    """A folder for the worker's local state that no other living worker uses: ``worker_id``, or the first free number.

    A worker that is started again finds the folder of its predecessor, and so its tables. Raises FolderInUse.
    """
    names = [worker_id] if worker_id else [str(number) for number in range(1, MOST_WORKERS_A_FOLDER + 1)]
    for name in names:
        folder = parent / name
        make_private_folder(folder)
        with (folder / "lock").open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            yield folder
            return
    raise FolderInUse(
        f"Another worker uses {parent / names[0]}: stop it, or give this one another EVERWATCH_WORKER_ID."
        if worker_id
        else f"{MOST_WORKERS_A_FOLDER} workers run in {parent} already: give this one another EVERWATCH_DATA_DIR."
    )

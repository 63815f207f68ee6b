"""Runs one worker until it is told to stop."""

import asyncio
import fcntl
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import faust
import uvloop

from everwatch.core.clock import Clock
from everwatch.core.config import Settings
from everwatch.core.errors import FolderInUse
from everwatch.core.private_files import make_private_folder
from everwatch.core.process_memory import expect_batches
from everwatch.observability.metrics import serve_metrics
from streams.app import create_app

logger = logging.getLogger(__name__)
MOST_WORKERS_A_FOLDER = 64


def run_worker(settings: Settings, bootstrap_servers: str, clock: Clock, *, rebuild_changelog: bool = False) -> None:
    """Run a worker; returns by exiting the process, with status 0 after SIGINT or SIGTERM.

    With ``rebuild_changelog`` its tables are taken as the truth where the changelog has lost records. Raises
    EverwatchError, if that is what it ended for.
    """
    expect_batches()
    serve_metrics(settings)
    with claim_folder(settings.data_dir / "workers", settings.worker_id) as folder:
        loop = uvloop.new_event_loop()
        asyncio.set_event_loop(loop)
        app, engine = create_app(settings, bootstrap_servers, clock, folder, rebuild_changelog=rebuild_changelog)
        worker = faust.Worker(
            app,
            engine,
            loop=loop,
            quiet=True,
            redirect_stdouts=False,
            override_logging=False,
            loglevel=settings.log_level,
            daemon=True,
        )
        worker.spinner = None  # it writes terminal escapes into logs
        try:
            worker.execute_from_commandline()
        finally:
            # Faust ends by SystemExit, whatever it ended for
            reason = app.ended_for
            if reason is not None:
                raise reason


@contextmanager
def claim_folder(parent: Path, worker_id: str) -> Iterator[Path]:
    """A folder for the worker's local state that no other living worker uses: ``worker_id``, or the first free number.

    A worker that is started again finds the folder of its predecessor, and so its tables. Raises FolderInUse.
    """
    names = [worker_id] if worker_id else [str(number) for number in range(1, MOST_WORKERS_A_FOLDER + 1)]
    for name in names:
        folder = parent / name
        make_private_folder(folder)
        with (folder / "lock").open("w") as lock:
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

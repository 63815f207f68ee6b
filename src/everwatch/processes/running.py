"""The life of a process: signals, start, run, stop, and its end within ten seconds of a signal."""

import asyncio
import faulthandler
import logging
import os
import platform
import signal
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import uvloop

from everwatch import __version__
from everwatch.core.errors import EverwatchError
from everwatch.processes.certificates import measure_certificates
from everwatch.processes.health import ProcessPhase
from everwatch.processes.metrics import BUILD, HEARTBEAT, LOOP_LAG, PARTITIONS, READY, measure_disk
from everwatch.processes.otlp import exporting_metrics
from everwatch.processes.parent import when_input_ends
from everwatch.processes.process import Process
from everwatch.processes.serving import serve_health

logger = logging.getLogger(__name__)

STOP_WITHIN_S = 9.5
"""Seconds from the signal to the end of the process; the documented limit is ten seconds."""
_BEAT_S = 1.0
_FILES_LOOKED_AT_EVERY_S = 30.0
_SIGNALS = (signal.SIGINT, signal.SIGTERM)

End = Callable[[int], object]
"""End the operating-system process at once with this exit status."""


def run_process(process: Process, *, stop_with_parent: bool = False) -> None:
    """Run ``process`` until it is signalled or fails. To be called by a command as its last act.

    SIGINT or SIGTERM begins the stop; a second one ends the process at once with status 128 + its number. A process
    that has not stopped in time is ended as if it were killed. With ``stop_with_parent`` the end of stdin is a first
    signal, too: the parent holds its other end. SIGUSR1 writes the stacks of all threads to stderr.

    Raises what the process ended for, and SettingsError if metrics cannot be served.
    """
    if sys.__stderr__ is not None:
        faulthandler.register(signal.SIGUSR1, file=sys.__stderr__)
    BUILD.info({"process": process.name, "version": __version__, "python": platform.python_version()})
    PARTITIONS.set(process.settings.partitions)
    with (
        serve_health(process.settings, process.health),
        exporting_metrics(process.name, process.settings.instance, process.clock),
    ):
        uvloop.run(live(process, os._exit, stop_with_parent=stop_with_parent, guard_exit=True))


async def live(
    process: Process,
    end: End,
    *,
    stop_with_parent: bool = False,
    guard_exit: bool = False,
    stop_within_s: float = STOP_WITHIN_S,
) -> None:
    """Start, run and stop ``process``, with signals handled. Raises what it ended for.

    Calls ``end`` for a second signal, and when the stop takes too long. With ``guard_exit`` also when the interpreter
    does not end in that time after this has returned: threads may keep it.
    """
    loop = asyncio.get_running_loop()
    last_resort = _LastResort(process, end, stop_within_s)
    with _signals_handled(process, end, last_resort), _beating(process, loop):
        if stop_with_parent:
            when_input_ends(partial(_set_from_thread, loop, process.stopping))
        cancelled: asyncio.CancelledError | None = None
        try:
            await _start_and_run(process, last_resort)
        except asyncio.CancelledError as error:
            cancelled = error
        except Exception as error:
            process.fail(error)
        process.stopping.set()
        process.health.phase = ProcessPhase.STOPPING
        last_resort.arm()
        try:
            await process.stop()
        except Exception as error:
            # a part that fails may say why at its stop once more
            if process.failure not in (None, error):
                logger.exception("stopping the %s failed, too", process.name)
            process.fail(error)
        await process.end_parts()
    if not guard_exit:
        last_resort.disarm()
    if process.failure is not None:
        raise process.failure
    if cancelled is not None:
        raise cancelled


async def _start_and_run(process: Process, last_resort: "_LastResort") -> None:
    stop = asyncio.create_task(process.stopping.wait())
    failed = asyncio.create_task(process.failed.wait())
    try:
        if await _until_one_of(process.start(), last_resort, stop, failed):
            process.health.phase = ProcessPhase.RUNNING
            await _until_one_of(process.run(), last_resort, failed)
    finally:
        stop.cancel()
        failed.cancel()


async def _until_one_of(
    work: Coroutine[Any, Any, None], last_resort: "_LastResort", *others: "asyncio.Task[Any]"
) -> bool:
    """Run ``work``, and cancel it when one of ``others`` ends first. Return whether it ended by itself.

    ``last_resort`` bounds the time that it takes to stop.
    """
    task = asyncio.create_task(work)
    try:
        await asyncio.wait({task, *others}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
            return True
        return False
    finally:
        if not task.done():
            last_resort.arm()
            task.cancel()
            await asyncio.wait({task})


class _LastResort:
    """Ends the process when its stop takes too long: clients may wait for a broker that is unavailable.

    By then everything that must be kept is kept, or is read again as after a kill.
    """

    def __init__(self, process: Process, end: End, stop_within_s: float) -> None:
        self._process = process
        self._stop_within_s = stop_within_s
        self._end = end
        self._timer: threading.Timer | None = None

    def arm(self) -> None:
        """Begin to count, unless that has begun."""
        if self._timer is None:
            self._timer = threading.Timer(self._stop_within_s, self._give_up)
            self._timer.daemon = True
            self._timer.start()

    def disarm(self) -> None:
        """Count no longer."""
        if self._timer is not None:
            self._timer.cancel()

    def _give_up(self) -> None:
        failure = self._process.failure
        if failure is not None:
            logger.error("%s", failure)
        status = failure.exit_code if isinstance(failure, EverwatchError) else int(failure is not None)
        self._end(status)


def _set_from_thread(loop: asyncio.AbstractEventLoop, event: asyncio.Event) -> None:
    # a closed loop means that the process has ended
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(event.set)


@contextmanager
def _signals_handled(process: Process, end: End, last_resort: _LastResort) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    signalled = False

    def handle(number: signal.Signals) -> None:
        nonlocal signalled
        if signalled:
            logger.warning("second signal (%s): the %s ends at once", number.name, process.name)
            end(128 + number)
            return
        signalled = True
        last_resort.arm()
        process.stopping.set()

    for number in _SIGNALS:
        loop.add_signal_handler(number, handle, number)
    try:
        yield
    finally:
        for number in _SIGNALS:
            loop.remove_signal_handler(number)


@contextmanager
def _beating(process: Process, loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """Note once a second that the event loop turns, how late it is, and whether the process is ready."""
    health, clock, settings = process.health, process.clock, process.settings
    handle: asyncio.TimerHandle | None = None
    files_due_s = loop.time()

    def beat(due_s: float) -> None:
        nonlocal handle, files_due_s
        health.beat(loop)
        HEARTBEAT.set(clock.now_ms() / 1000)
        LOOP_LAG.set(max(0.0, loop.time() - due_s))
        READY.set(health.phase is ProcessPhase.RUNNING and not health.not_ready())
        try:
            process.measure()
            if loop.time() >= files_due_s:
                files_due_s = loop.time() + _FILES_LOOKED_AT_EVERY_S
                measure_disk(settings.data_dir)
                measure_certificates(settings)
        except Exception:
            logger.exception("the gauges of the %s cannot be set", process.name)
        due_s = loop.time() + _BEAT_S
        handle = loop.call_at(due_s, beat, due_s)

    beat(loop.time())
    try:
        yield
    finally:
        health.end()
        if handle is not None:
            handle.cancel()

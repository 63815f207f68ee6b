"""The processes, each alone: worker, executor, sink, and the embedded Kafka."""

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Awaitable, Callable
from typing import Annotated

import typer
import uvloop

from everwatch.cli.support.child_processes import Children
from everwatch.cli.support.embedded_broker import start_broker
from everwatch.cli.support.options import Bootstrap, DataDir, prepare_data_folder, ready_broker, settings_of
from everwatch.cli.support.stop_signals import stop_when_signalled
from everwatch.core.clock import Clock, SystemClock
from everwatch.core.config import Settings
from everwatch.core.errors import SettingsError
from everwatch.kafka.process_rights import Process
from everwatch.plans.plans_file import PlansFile

StopWithParent = Annotated[bool, typer.Option("--stop-with-parent", hidden=True)]
# what was promised to whoever stops a process, less a little
STOP_WITHIN_S = 9.5
# settings of an executor that its processes divide among them; 0 is no limit
_SHARED = ("max_in_flight", "target_in_flight", "target_per_s")
Run = Callable[[Settings, str, Clock, asyncio.Event], Awaitable[None]]


def worker(
    data_dir: DataDir = None,
    bootstrap_servers: Bootstrap = None,
    worker_id: Annotated[
        str | None, typer.Option(help="Name of this worker's folder; default: the first free number.")
    ] = None,
    rebuild_changelog: Annotated[
        bool,
        typer.Option(
            "--rebuild-changelog",
            help="Where the table's changelog has lost records, write this worker's tables back to it: they are taken"
            " as the truth. Read past a batch that cannot be read. Only for a worker that has ended with exit"
            " status 11, or that says that a partition stays closed.",
        ),
    ] = False,
    stop_with_parent: StopWithParent = False,
) -> None:
    """Run one worker: keeps its users' monitors and emits their ticks. Start more to share the load.

    Example: `EVERWATCH_BOOTSTRAP_SERVERS=kafka:9092 everwatch worker`
    """
    from streams.worker import run_worker  # Faust takes a second to import, and only this command needs it

    settings = settings_of(data_dir, bootstrap_servers, worker_id=worker_id)
    if settings.plans_file is not None:
        # what is wrong is said before a broker is looked for
        PlansFile(settings.plans_file)
    prepare_data_folder(settings)
    bootstrap = _prepared(settings, Process.WORKER, stop_with_parent)
    run_worker(settings, bootstrap, SystemClock(), rebuild_changelog=rebuild_changelog)


def executor(
    data_dir: DataDir = None,
    bootstrap_servers: Bootstrap = None,
    max_in_flight: Annotated[int | None, typer.Option(help="Checks running at once.", show_default="500")] = None,
    processes: Annotated[
        int, typer.Option(min=1, max=256, help="Share the work among so many processes, for as many cores.")
    ] = 1,
    stop_with_parent: StopWithParent = False,
) -> None:
    """Run one executor: claims ticks and runs their checks. Start more to share the load.

    With several processes each gets its share of what the settings allow this executor; one that dies is started
    again.

    Example: `EVERWATCH_BOOTSTRAP_SERVERS=kafka:9092 everwatch executor --max-in-flight 2000 --processes 4`
    """
    from everwatch.executor.executor_process import run

    settings = settings_of(data_dir, bootstrap_servers, max_in_flight=max_in_flight)
    shares = _shares(settings, processes)
    bootstrap = _prepared(settings, Process.EXECUTOR, stop_with_parent)
    if processes > 1:
        _share(settings, bootstrap, shares)
    else:
        _run_until_signalled(run, settings, bootstrap)


def sink(
    data_dir: DataDir = None, bootstrap_servers: Bootstrap = None, stop_with_parent: StopWithParent = False
) -> None:
    """Run one sink: stores results, transitions and the catalogue of users and monitors in the database.

    Example: `EVERWATCH_BOOTSTRAP_SERVERS=kafka:9092 everwatch sink --data-dir /var/lib/everwatch`
    """
    from everwatch.sink.sink_process import run

    settings = settings_of(data_dir, bootstrap_servers)
    if not settings.database:
        prepare_data_folder(settings)
    _run_until_signalled(run, settings, _prepared(settings, Process.SINK, stop_with_parent))


def kafka(
    data_dir: DataDir = None,
    port: Annotated[int | None, typer.Option(help="Port on 127.0.0.1; default: 9092, or a free one.")] = None,
) -> None:
    """Run the embedded Kafka of a data folder alone, until Ctrl-C. It prints its address on stdout.

    Example: `everwatch kafka --data-dir ./state --port 19092`
    """
    settings = settings_of(data_dir, kafka_port=port)
    stop = stop_when_signalled()
    prepare_data_folder(settings)
    broker = start_broker(settings, SystemClock())
    try:
        typer.echo(broker.bootstrap_servers)
        while not stop.wait(1.0):
            if not broker.alive():
                typer.echo(f"everwatch: Kafka ended by itself; see {broker.log_path}.", err=True)
                raise typer.Exit(5)
    finally:
        broker.stop()


def _shares(settings: Settings, processes: int) -> list[dict[str, str]]:
    """What each of so many processes gets of an executor's limits. Raises SettingsError if one cannot be shared."""
    shares: list[dict[str, str]] = [{} for _ in range(processes)]
    for name in _SHARED:
        whole: int = getattr(settings, name)
        if 0 < whole < processes:
            raise SettingsError(
                f"setting EVERWATCH_{name.upper()}: {whole} cannot be shared by {processes} processes; raise it, or"
                f" start at most {whole} with --processes"
            )
        for number, share in enumerate(shares):
            share[f"EVERWATCH_{name.upper()}"] = str(whole // processes + (number < whole % processes))
    return shares


def _share(settings: Settings, bootstrap_servers: str, shares: list[dict[str, str]]) -> None:
    """Run an executor as several processes of one consumer group, until signalled."""
    stop = stop_when_signalled()
    children = Children(SystemClock(), lambda sentence: typer.echo(f"everwatch: {sentence}", err=True))
    common = {"EVERWATCH_DATA_DIR": str(settings.data_dir), "EVERWATCH_BOOTSTRAP_SERVERS": bootstrap_servers}
    try:
        for number, share in enumerate(shares, 1):
            command = [sys.executable, "-m", "everwatch", "executor", "--stop-with-parent"]
            children.start(f"executor process {number}", command, common | share)
        while not stop.wait(1.0):
            for sentence in children.look_after():
                typer.echo(f"everwatch: {sentence}", err=True)
    finally:
        children.stop()


def _prepared(settings: Settings, process: Process, stop_with_parent: bool) -> str:
    """The broker's address, with every topic in place. Raises BrokerUnavailable, TopicMismatch, AccessError."""
    if stop_with_parent:
        threading.Thread(target=_stop_at_end_of_input, daemon=True).start()
    return ready_broker(settings, process)


def _stop_at_end_of_input() -> None:
    # the parent holds the other end of our stdin: when it is gone, however it died, the pipe ends; read past
    # sys.stdin, whose lock this thread would still hold when the interpreter ends, which then aborts
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def _run_until_signalled(run: Run, settings: Settings, bootstrap_servers: str) -> None:
    async def until_signalled() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()

        def begin_to_stop() -> None:
            if not stop.is_set():
                stop.set()
                # clients may wait for a broker that is away; by then whatever must be kept is kept, as if killed
                last_resort = threading.Timer(STOP_WITHIN_S, os._exit, [0])
                last_resort.daemon = True
                last_resort.start()

        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, begin_to_stop)
        await run(settings, bootstrap_servers, SystemClock(), stop)

    uvloop.run(until_signalled())

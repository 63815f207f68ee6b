"""The processes, each alone: worker, executor, sink, notifier, and the embedded Kafka.

Each command imports its process: the help and its mistakes need none.
"""

import sys
from typing import Annotated

import typer

from everwatch.cli.support.child_processes import Children
from everwatch.cli.support.options import Bootstrap, DataDir, prepare_data_folder, ready_broker, settings_of
from everwatch.cli.support.stop_signals import stop_when_signalled
from everwatch.core.clock import SystemClock
from everwatch.core.config import Settings
from everwatch.core.errors import SettingsError
from everwatch.kafka.process_rights import ProcessRole

StopWithParent = Annotated[bool, typer.Option("--stop-with-parent", hidden=True)]
# settings of an executor that its processes divide among them; 0 is no limit
_SHARED = ("max_in_flight", "target_in_flight", "target_per_s")


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
    from everwatch.plans.plans_file import PlansFile
    from everwatch.processes import run_process
    from streams.worker import Worker

    settings = settings_of(data_dir, bootstrap_servers, worker_id=worker_id)
    if settings.plans_file is not None:
        # an invalid setting is reported before a connection to a broker is made
        PlansFile(settings.plans_file, settings.regions)
    prepare_data_folder(settings)
    settings, bootstrap = ready_broker(settings, ProcessRole.WORKER)
    run_process(
        Worker(settings, bootstrap, SystemClock(), rebuild_changelog=rebuild_changelog),
        stop_with_parent=stop_with_parent,
    )


def executor(
    data_dir: DataDir = None,
    bootstrap_servers: Bootstrap = None,
    max_in_flight: Annotated[int | None, typer.Option(help="Checks running at once.", show_default="500")] = None,
    processes: Annotated[
        int, typer.Option(min=1, max=256, help="Number of processes that share the work, for as many cores.")
    ] = 1,
    stop_with_parent: StopWithParent = False,
) -> None:
    """Run one executor: claims ticks and runs their checks. Start more to share the load.

    With several processes each gets its share of what the settings allow this executor; one that dies is started
    again.

    Example: `EVERWATCH_BOOTSTRAP_SERVERS=kafka:9092 everwatch executor --max-in-flight 2000 --processes 4`
    """
    from everwatch.executor.executor_process import Executor
    from everwatch.kafka.clients import KafkaClients
    from everwatch.processes import run_process

    settings = settings_of(data_dir, bootstrap_servers, max_in_flight=max_in_flight)
    shares = _shares(settings, processes)
    settings, bootstrap = ready_broker(settings, ProcessRole.EXECUTOR)
    if processes > 1:
        _share(settings, bootstrap, shares, stop_with_parent=stop_with_parent)
    else:
        run_process(
            Executor(settings, KafkaClients(settings, bootstrap), SystemClock()), stop_with_parent=stop_with_parent
        )


def sink(
    data_dir: DataDir = None, bootstrap_servers: Bootstrap = None, stop_with_parent: StopWithParent = False
) -> None:
    """Run one sink: stores results, transitions and the catalogue of users and monitors in the database.

    Example: `EVERWATCH_BOOTSTRAP_SERVERS=kafka:9092 everwatch sink --data-dir /var/lib/everwatch`
    """
    from everwatch.kafka.clients import KafkaClients
    from everwatch.processes import run_process
    from everwatch.sink.sink_process import Sink

    settings = settings_of(data_dir, bootstrap_servers)
    if not settings.database:
        prepare_data_folder(settings)
    settings, bootstrap = ready_broker(settings, ProcessRole.SINK)
    run_process(Sink(settings, KafkaClients(settings, bootstrap), SystemClock()), stop_with_parent=stop_with_parent)


def notifier(
    data_dir: DataDir = None, bootstrap_servers: Bootstrap = None, stop_with_parent: StopWithParent = False
) -> None:
    """Run one notifier: sends alerts of monitors that go down and recover to people and incident systems.

    The rules are a TOML file that `EVERWATCH_NOTIFY_FILE` names (docs/notifications.md).

    Example: `EVERWATCH_BOOTSTRAP_SERVERS=kafka:9092 EVERWATCH_NOTIFY_FILE=notify.toml everwatch notifier`
    """
    from everwatch.notifier.notifier_process import Notifier
    from everwatch.notifier.rules_file import RulesFile
    from everwatch.processes import run_process

    settings = settings_of(data_dir, bootstrap_servers)
    # an invalid file is reported before a connection to a broker is made
    rules = RulesFile(settings.notify_file)
    if not settings.database:
        prepare_data_folder(settings)
    settings, bootstrap = ready_broker(settings, ProcessRole.NOTIFIER)
    run_process(Notifier(settings, bootstrap, SystemClock(), rules), stop_with_parent=stop_with_parent)


def kafka(
    data_dir: DataDir = None,
    port: Annotated[int | None, typer.Option(help="Port on 127.0.0.1; default: 9092, or a free one.")] = None,
) -> None:
    """Run the embedded Kafka of a data folder alone, until Ctrl-C. It prints its address on stdout.

    Example: `everwatch kafka --data-dir ./state --port 19092`
    """
    from everwatch.cli.support.embedded_broker import start_broker

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
    """Share an executor's limits among processes. Raises SettingsError if one cannot be shared."""
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


def _share(settings: Settings, bootstrap_servers: str, shares: list[dict[str, str]], *, stop_with_parent: bool) -> None:
    """Run an executor as several processes of one consumer group, until signalled."""
    from everwatch.cli.support.metrics_port import MetricsPort
    from everwatch.processes.parent import when_input_ends

    stop = stop_when_signalled()
    if stop_with_parent:
        when_input_ends(stop.set)
    children = Children(SystemClock(), lambda sentence: typer.echo(f"everwatch: {sentence}", err=True))
    common = {
        "EVERWATCH_DATA_DIR": str(settings.data_dir),
        "EVERWATCH_BOOTSTRAP_SERVERS": bootstrap_servers,
    }
    metrics = MetricsPort(settings)
    try:
        metrics.open()
        for number, share in enumerate(shares, 1):
            command = [sys.executable, "-m", "everwatch", "executor", "--stop-with-parent"]
            own = metrics.environment_of("executor", number)
            children.start(f"executor process {number}", command, common | share | own)
        while not stop.wait(1.0):
            for sentence in children.look_after():
                typer.echo(f"everwatch: {sentence}", err=True)
    finally:
        children.stop()
        metrics.close()

"""``everwatch up``: everything on this machine, until Ctrl-C."""

import typer

from everwatch.cli.support.options import Bootstrap, DataDir, prepare_data_folder, settings_of
from everwatch.cli.support.stop_signals import stop_when_signalled
from everwatch.core.clock import SystemClock


def up(data_dir: DataDir = None, bootstrap_servers: Bootstrap = None) -> None:
    """Run Kafka (embedded, unless one is configured) and one of each process here, until Ctrl-C.

    A process that dies is started again.

    Examples: `everwatch up` · `everwatch up --data-dir ./data` · and from another terminal
    `everwatch signup u-1 --http https://example.com --every 30s`
    """
    # none of these is needed to print the help
    from rich.console import Console

    from everwatch.cli.support.local_processes import PROCESSES, Local
    from everwatch.notifier.rules_file import RulesFile
    from everwatch.plans.plans_file import PlansFile

    settings = settings_of(data_dir, bootstrap_servers)
    if settings.plans_file is not None:
        # a worker that ends at once would be started repeatedly
        PlansFile(settings.plans_file, settings.regions)
    RulesFile(settings.notify_file)
    console = Console(stderr=True)
    stop = stop_when_signalled()
    prepare_data_folder(settings)
    with Local(settings, SystemClock(), console) as local:
        local.start_kafka()
        for name in PROCESSES:
            local.start(name)
        api = local.start_api()
        console.print(f"Console: {api.link}  (opens once, within 10 minutes)", soft_wrap=True)
        console.print(f"Everwatch is up. Kafka: {local.bootstrap_servers}  Data: {settings.data_dir}", soft_wrap=True)
        console.print(f"Database: {local.shown_database}  Logs: {local.log_folder}", soft_wrap=True)
        console.print(f"API: {api.address}  Token of an administrator: {api.token}", soft_wrap=True)
        console.print("Sign a user up: everwatch signup u-1 --http https://example.com --every 30s")
        console.print("Stop: Ctrl-C")
        while not stop.wait(0.5):
            for sentence in local.look_after():
                console.print(sentence)
        console.print("Stopping…")
    console.print("Stopped. Nothing is lost: start again to go on.")
    raise typer.Exit(0)

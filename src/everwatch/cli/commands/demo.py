"""``everwatch demo``: the whole of Everwatch with made-up users, live, and an account at the end."""

import signal
import sys
import threading
from collections import Counter
from typing import Annotated, NamedTuple

import orjson
import typer
from rich.console import Console

from everwatch.cli.support.demo_run import INBOX_FILE, DemoRun
from everwatch.cli.support.local_processes import PROCESSES, ConsoleAccess, Local
from everwatch.cli.support.option_groups import with_options
from everwatch.cli.support.options import Bootstrap, DataDir, prepare_data_folder, settings_of
from everwatch.cli.support.run_parts import run_parts
from everwatch.core.clock import Clock, SystemClock
from everwatch.core.config import Settings, given_settings
from everwatch.core.errors import InvalidInput, SettingsError
from everwatch.demo.cast import Cast, Mix
from everwatch.demo.certificates import write_certificates
from everwatch.demo.inbox import rules_of
from everwatch.demo.ports import DemoPorts, choose_ports
from everwatch.demo.showcase import DemoState
from everwatch.demo.view import print_showcase, print_summary
from everwatch.kafka.clients import new_admin
from everwatch.kafka.topic_administration import create_topic
from everwatch.rules.admission import admit_signup

_RULES_FILE = "demo-notify.toml"
# every target of the demo is on this machine, which need not be spared
_ENVIRONMENT = {
    # names below localhost are both
    "EVERWATCH_ALLOW_NETWORKS": "127.0.0.0/8,::1/128",
    "EVERWATCH_TARGET_IN_FLIGHT": "0",
    "EVERWATCH_TARGET_PER_S": "0",
    # the users have a plan that is in no file
    "EVERWATCH_PLANS_FILE": "",
}


class CrowdOptions(NamedTuple):
    """Options of the made-up users and their monitors."""

    users: Annotated[int, typer.Option(min=1, max=1_000_000, help="Made-up users.")] = 200
    every: Annotated[str, typer.Option(help="Interval of the http and tcp monitors.")] = "5s"
    mix: Annotated[Mix, typer.Option(help="Monitors of each user: all kinds, or one http check.")] = Mix.ALL


@with_options(crowd=CrowdOptions)
def demo(
    *,
    crowd: CrowdOptions,
    seconds: Annotated[
        float | None, typer.Option(min=1, help="Seconds to run, counted from when all users are signed up.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object as the last line of stdout, and nothing else there.")
    ] = False,
    data_dir: DataDir = None,
    bootstrap_servers: Bootstrap = None,
) -> None:
    """Run Kafka and one of each process with made-up users whose monitors check a local server.

    Some monitors are broken on purpose, and their alerts arrive at a local mail server and webhook. One more user,
    `showcase`, has a healthy and a failing monitor of every kind. At the end a reconciliation compares the ticks due by
    the schedules alone with those that the database holds, and a table shows each kind's final state; the exit status
    is 1 if anything was missed, counted twice or not as expected. Started again, it continues with the same users.

    Examples: `everwatch demo` · `everwatch demo --users 5000 --mix http --every 10s --seconds 60`
    """
    users, every, mix = crowd
    settings = settings_of(data_dir, bootstrap_servers)
    if data_dir is None and "data_dir" not in given_settings():
        # made-up users must not end up among real ones
        settings = settings_of(settings.data_dir / "demo", bootstrap_servers)
    stop = _stop_on_signal()
    console = Console(stderr=True)
    clock = SystemClock()
    topic = f"{settings.topic_prefix}demo-greetings"
    try:
        # any ports do for this
        admit_signup(next(Cast(users, mix, every, DemoPorts(1, 2, 3, 4), topic).signups())[1])
    except InvalidInput as error:
        raise SettingsError(f"--every {every}: {error.reason}.") from None
    prepare_data_folder(settings)
    with Local(settings, clock, console) as local:
        console.print(f"Starting Kafka and Everwatch in {settings.data_dir} …", highlight=False)
        local.start_kafka()
        settings = local.settings
        # not before the folder is ours: a demo that runs there goes by these files
        ports = choose_ports(settings.data_dir)
        cast = Cast(users, mix, every, ports, topic)
        api = _start_processes(local, settings, clock, cast, ports)
        console.print(f"Console: {api.link}  (opens once, within 10 minutes)", soft_wrap=True, highlight=False)
        console.print(f"API: {api.address}  Token of an administrator: {api.token}", soft_wrap=True, highlight=False)
        run = DemoRun(settings, clock, local, cast, stop)
        try:
            summary, account, endings = run.perform(console, seconds, live=not as_json and console.is_terminal)
        finally:
            run.close()
        console.print("Stopping…")
    if as_json:
        typer.echo(orjson.dumps(summary).decode())
    else:
        broken = Counter(part.health for part in cast.all_parts())
        print_summary(
            Console(), summary, account.redelivered, {"down": broken[DemoState.DOWN], "late": broken[DemoState.LATE]}
        )
        print_showcase(Console(), endings)
        Console().print(f"  [dim]look inside: everwatch results --data-dir {settings.data_dir}[/]", highlight=False)
    if account.missed or account.waiting or account.duplicates or any(ending.problem for ending in endings):
        raise typer.Exit(1)


def _stop_on_signal() -> threading.Event:
    """Return an event that the first SIGINT or SIGTERM sets; a second one interrupts."""
    stop = threading.Event()

    def on_signal(*_: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        run_parts().on_signal(number, on_signal)
    return stop


def _start_processes(local: Local, settings: Settings, clock: Clock, cast: Cast, ports: DemoPorts) -> ConsoleAccess:
    """Start the targets and the inbox of the demo, then one of each process; gives where the API is."""
    certificates = settings.data_dir / "demo-certificates"
    trusted = write_certificates(certificates, clock.now_ms()).trusted
    create_topic(new_admin(settings, local.bootstrap_servers), settings, cast.topic)
    served = [str(port) for port in (ports.web, ports.tls, ports.dns)]
    local.start("target", [sys.executable, "-m", "everwatch.demo.target", *served, str(certificates)])
    inbox = settings.data_dir / INBOX_FILE
    local.start("inbox", [sys.executable, "-m", "everwatch.demo.inbox", str(ports.mail), str(ports.hook), str(inbox)])
    rules = settings.data_dir / _RULES_FILE
    rules.write_text(rules_of(ports))
    for name in PROCESSES:
        # a worker that knew the topics would refuse the monitor that is to fail for its topic
        topics = cast.topic if name == "executor" else ""
        extra = {
            "EVERWATCH_PUBLISH_TOPICS": topics,
            "EVERWATCH_CA_FILE": str(trusted),
            "EVERWATCH_NOTIFY_FILE": str(rules),
        }
        local.start(name, extra=_ENVIRONMENT | extra)
    return local.start_api(_ENVIRONMENT)

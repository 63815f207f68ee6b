"""``everwatch``: the commands, and what an error looks like.

A command's module is imported when it is run, not to list it: importing all of them takes longer than most commands
do.
"""

import os
import sys
from collections.abc import Callable

import typer

import everwatch
from everwatch.cli.support import global_options
from everwatch.cli.support.global_options import CommandReach
from everwatch.cli.support.lazy_commands import LazyGroup, ListedCommand, list_command
from everwatch.cli.support.terminal_output import guard_terminal
from everwatch.core.errors import EverwatchError
from everwatch.core.private_files import keep_files_private

START, PROCESS, USE, OPERATE = "Start here", "One process alone", "Use it", "Look after it"
# name, panel, module and attribute in cli/commands, and the first sentence of its help (a test compares them)
COMMANDS = (
    ListedCommand(
        "demo",
        START,
        "demo:demo",
        "Run Kafka and one of each process with made-up users whose monitors check a local server.",
        CommandReach.LOCAL,
    ),
    ListedCommand(
        "up",
        START,
        "up:up",
        "Run Kafka (embedded, unless one is configured) and one of each process here, until Ctrl-C.",
        CommandReach.LOCAL,
    ),
    ListedCommand(
        "worker",
        PROCESS,
        "processes:worker",
        "Run one worker: keeps its users' monitors and emits their ticks. Start more to share the load.",
        CommandReach.LOCAL,
    ),
    ListedCommand(
        "executor",
        PROCESS,
        "processes:executor",
        "Run one executor: claims ticks and runs their checks. Start more to share the load.",
        CommandReach.LOCAL,
    ),
    ListedCommand(
        "sink",
        PROCESS,
        "processes:sink",
        "Run one sink: stores results, transitions and the catalogue of users and monitors in the database.",
        CommandReach.LOCAL,
    ),
    ListedCommand(
        "notifier",
        PROCESS,
        "processes:notifier",
        "Run one notifier: sends alerts of monitors that go down and recover to people and incident systems.",
        CommandReach.LOCAL,
    ),
    ListedCommand(
        "api",
        PROCESS,
        "api:api",
        "Run the HTTP API: users, monitors, tasks, pings and signals for programs. Start more behind a load balancer.",
        CommandReach.LOCAL,
    ),
    ListedCommand(
        "kafka",
        PROCESS,
        "processes:kafka",
        "Run the embedded Kafka of a data folder alone, until Ctrl-C. It prints its address on stdout.",
        CommandReach.LOCAL,
    ),
    ListedCommand(
        "signup", USE, "signup:signup", "Sign users up; signing up again changes the registration.", CommandReach.API
    ),
    ListedCommand(
        "monitor",
        USE,
        "monitor:app",
        "Put, try, change, pause, maintain, resume, run, delete and list monitors.",
        CommandReach.API,
    ),
    ListedCommand("task", USE, "task:app", "Create, cancel, list and count delayed tasks.", CommandReach.API),
    ListedCommand(
        "user",
        USE,
        "user:app",
        "List and show users, pause, change, end and purge them, set maintenance windows.",
        CommandReach.API,
    ),
    ListedCommand(
        "signal",
        USE,
        "signal:signal",
        "Send one signal: a job is alive and well, begins, fails, or has measured something.",
        CommandReach.API,
    ),
    ListedCommand(
        "import",
        USE,
        "import_:import_",
        "Import users and monitors: only rows that are new or changed since the last import of this source.",
        CommandReach.API,
    ),
    ListedCommand(
        "export",
        USE,
        "export:export",
        "Export users and monitors as rows: each user as a signup, each monitor put by command in a row of its own.",
        CommandReach.API,
    ),
    ListedCommand(
        "try",
        USE,
        "try_:try_",
        "Run a kind once with a config, here, and print what a result would say; no result is sent or stored.",
        CommandReach.LOCAL,
    ),
    ListedCommand(
        "results",
        USE,
        "results:results",
        "Print results, the newest last; with --json one object a line.",
        CommandReach.API,
    ),
    ListedCommand(
        "transitions",
        USE,
        "transitions:transitions",
        "Print changes of state and reminders, the newest last; with --json one object a line.",
        CommandReach.API,
    ),
    ListedCommand(
        "notify",
        OPERATE,
        "notify:app",
        "Check notification rules, see which alerts were sent to whom, and test routes.",
    ),
    ListedCommand(
        "explain",
        OPERATE,
        "explain:explain",
        "Say why a monitor is in its state, when it runs next, its last result, and which processes own it.",
        CommandReach.API,
    ),
    ListedCommand(
        "audit",
        OPERATE,
        "audit:audit",
        "Recompute which ticks were due and compare them with the database; exit status 1 if anything is wrong.",
        CommandReach.API,
    ),
    ListedCommand(
        "backup",
        OPERATE,
        "backup:app",
        "Back up topics, offsets and the database into a folder, with proof of its contents.",
    ),
    ListedCommand(
        "restore",
        OPERATE,
        "restore:restore",
        "Restore a backup into empty topics and a new database, and compare them with the backup.",
    ),
    ListedCommand(
        "repartition",
        OPERATE,
        "repartition:repartition",
        "Copy the installation into new topics with another partition count, prove the copy, and switch to it.",
    ),
    ListedCommand(
        "db",
        OPERATE,
        "db:app",
        "Show size and age of the database's tables, the next deletions, and roll-ups.",
        CommandReach.API,
    ),
    ListedCommand(
        "secrets",
        OPERATE,
        "secrets:app",
        "Make keys that encrypt secrets in configs, and encrypt stored ones anew.",
        CommandReach.API,
    ),
    ListedCommand(
        "api-token",
        OPERATE,
        "api_token:app",
        "Make, list and revoke tokens of the HTTP API, and make login links.",
        CommandReach.API,
    ),
    ListedCommand(
        "operator",
        OPERATE,
        "operators:app",
        "Add, change, list and remove operators who log in to the console with a password.",
        CommandReach.API,
    ),
    ListedCommand(
        "plans",
        OPERATE,
        "plans:app",
        "Check a file of plans, show the signup that it makes of a user, and the plans in force.",
        CommandReach.LOCAL,
    ),
    ListedCommand(
        "topics", OPERATE, "topics:app", "Create and check topics, skip what cannot be read.", CommandReach.API
    ),
    ListedCommand(
        "lag",
        OPERATE,
        "lag:lag",
        "Show lag in records and seconds, owner, and how far ticks are emitted, per topic, group and partition.",
        CommandReach.API,
    ),
    ListedCommand(
        "dead-letters", OPERATE, "dead_letters:app", "List, show, count and redrive refused records.", CommandReach.API
    ),
    ListedCommand(
        "doctor",
        OPERATE,
        "doctor:doctor",
        "Check broker, topics, workers, executors, sink, database, disk and clocks; exit status 1: a fault.",
        CommandReach.API,
    ),
)

app = typer.Typer(
    name="everwatch",
    cls=LazyGroup,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_show_locals=False,
    help="An always-on set of monitors for every user of a product, on Kafka.\n\n"
    "Try it: `everwatch demo`. Run it here: `everwatch up`. Every setting is an environment variable"
    " `EVERWATCH_…`; see docs/settings.md.",
    epilog="Exit status: 0 all well, 1 a check failed, 2 wrong usage or setting, 3 no broker, 4 topics do not fit,"
    " 5 embedded Kafka, 6 database, 7 folder in use, 8 TLS, 9 authentication, 10 an ACL, 11 lost or closed changelog,"
    " 12 schema registry, 130 interrupted.",
)
for listed in COMMANDS:
    list_command(app, listed)


@app.callback(invoke_without_command=True)
def version(
    context: typer.Context,
    show: bool = typer.Option(False, "--version", help="Print the version and exit."),
    timezone: str | None = typer.Option(
        None,
        metavar="ZONE",
        help="Time zone in which instants are printed, e.g. Europe/Berlin. [env: EVERWATCH_TIMEZONE, TZ]",
        show_default=False,
    ),
    api: str | None = typer.Option(
        None,
        "--api",
        metavar="URL",
        help="Go through the HTTP API there, in place of Kafka and the database. [env: EVERWATCH_API_URL]",
        show_default=False,
    ),
    token: str | None = typer.Option(
        None,
        "--token",
        help="Token for --api; others on this machine see command lines, not variables. [env: EVERWATCH_API_TOKEN]",
        show_default=False,
    ),
) -> None:
    """Take the options that stand before every command."""
    global_options.TIMEZONE.set(timezone)
    global_options.API.set(api)
    global_options.TOKEN.set(token)
    if name := context.invoked_subcommand:
        global_options.COMMAND.set((name, next(each.reach for each in COMMANDS if each.name == name)))
    if show:
        typer.echo(f"everwatch {everwatch.__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(2)


def main(run: Callable[[], object] = app) -> None:
    """Run a command; an error on purpose is one line on stderr and the error's exit status."""
    guard_terminal()
    keep_files_private()
    try:
        run()
    except EverwatchError as error:
        typer.secho(f"everwatch: {error}", fg=typer.colors.RED, err=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # the reader of our output went away (as in `everwatch results | head`): nothing is wrong
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)

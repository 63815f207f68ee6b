"""``everwatch``: the commands, and what an error looks like."""

import os
import sys

import typer

from everwatch import __version__
from everwatch.cli import (
    audit,
    demo,
    doctor,
    explain,
    export,
    import_,
    lag,
    monitor,
    plans,
    processes,
    results,
    signal,
    signup,
    task,
    topics,
    try_,
    up,
    user,
)
from everwatch.cli.output import guard_terminal
from everwatch.errors import EverwatchError

app = typer.Typer(
    name="everwatch",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_show_locals=False,
    help="An always-on set of monitors for every user of a product, on Kafka.\n\n"
    "Try it: `everwatch demo`. Run it here: `everwatch up`. Every setting is an environment variable"
    " `EVERWATCH_…`; see docs/operations.md.",
    epilog="Exit status: 0 all well, 1 a check failed, 2 wrong usage or setting, 3 no broker, 4 topics do not fit,"
    " 5 embedded Kafka, 6 database, 7 folder in use, 130 interrupted.",
)


@app.callback(invoke_without_command=True)
def version(
    context: typer.Context, show: bool = typer.Option(False, "--version", help="Print the version and exit.")
) -> None:
    """Print the version where it is asked for."""
    if show:
        typer.echo(f"everwatch {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(2)


app.command("demo", rich_help_panel="Start here")(demo.demo)
app.command("up", rich_help_panel="Start here")(up.up)
app.command("worker", rich_help_panel="One process alone")(processes.worker)
app.command("executor", rich_help_panel="One process alone")(processes.executor)
app.command("sink", rich_help_panel="One process alone")(processes.sink)
app.command("kafka", rich_help_panel="One process alone")(processes.kafka)
app.command("signup", rich_help_panel="Use it")(signup.signup)
app.add_typer(monitor.app, name="monitor", rich_help_panel="Use it")
app.add_typer(task.app, name="task", rich_help_panel="Use it")
app.add_typer(user.app, name="user", rich_help_panel="Use it")
app.command("signal", rich_help_panel="Use it")(signal.signal)
app.command("import", rich_help_panel="Use it")(import_.import_)
app.command("export", rich_help_panel="Use it")(export.export)
app.command("try", rich_help_panel="Use it")(try_.try_)
app.command("results", rich_help_panel="Use it")(results.results)
app.command("explain", rich_help_panel="Look after it")(explain.explain)
app.command("audit", rich_help_panel="Look after it")(audit.audit)
app.add_typer(plans.app, name="plans", rich_help_panel="Look after it")
app.add_typer(topics.app, name="topics", rich_help_panel="Look after it")
app.command("lag", rich_help_panel="Look after it")(lag.lag)
app.command("doctor", rich_help_panel="Look after it")(doctor.doctor)


def main() -> None:
    """Run a command; an error on purpose is one line on stderr and the error's exit status."""
    guard_terminal()
    try:
        app()
    except EverwatchError as error:
        typer.secho(f"everwatch: {error}", fg=typer.colors.RED, err=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # the reader of our output went away (as in `everwatch results | head`): nothing is wrong
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)

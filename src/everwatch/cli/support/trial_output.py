"""Output of a trial of a check."""

import textwrap

import msgspec
import typer

from everwatch.model import Status
from everwatch.network.certificate import TIME_LEFT
from everwatch.operations import state_colours
from everwatch.schedule.duration import DAY_MS


class Trial(msgspec.Struct, frozen=True, omit_defaults=True):
    """Outcome of a trial run, under the names of a result's fields. ``executor``: "" if it ran here."""

    kind: str
    status: Status
    reason: str
    started_at: int
    duration_ms: float
    timings: dict[str, float]
    detail: str
    executor: str = ""


def print_trial(trial: Trial, as_json: bool) -> None:
    """Print a trial. Raises Exit with status 1 if it failed, or is late."""
    if as_json:
        typer.echo(msgspec.json.encode(trial).decode())
    else:
        _print(trial)
    if trial.status in (Status.FAILURE, Status.LATE):
        raise typer.Exit(1)


def _print(trial: Trial) -> None:
    status = typer.style(trial.status.value, fg=state_colours.OF_STATUS[trial.status], bold=True)
    by = f"  by {trial.executor}" if trial.executor else ""
    typer.echo(
        f"{status}  {trial.kind}  {trial.duration_ms:.1f} ms{by}" + (f"  {trial.reason}" if trial.reason else "")
    )
    for phase, ms in trial.timings.items():
        typer.echo(f"  {phase:<12} " + (f"{ms / DAY_MS:.1f} d" if phase == TIME_LEFT else f"{ms:.1f} ms"))
    if trial.detail:
        typer.echo(textwrap.indent(trial.detail, "    ", lambda _: True))

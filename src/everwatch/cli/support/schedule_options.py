"""Schedules on the command line: the options that make one, and its text for people."""

from collections.abc import Callable
from typing import Annotated, Any

import msgspec
import typer

from everwatch.cli.support.option_groups import with_options
from everwatch.cli.support.options import instant_of
from everwatch.cli.support.run_parts import now_ms
from everwatch.cli.support.time_display import time_text
from everwatch.core.errors import SettingsError
from everwatch.encoding.input_models import MOST_RUNS
from everwatch.model import Align, Maintenance, MonitorSpec
from everwatch.operations.schedule_words import schedule_words
from everwatch.schedule.duration import format_duration
from everwatch.schedule.instant import Bare

EveryOption = Annotated[
    str | None, typer.Option("--every", help="Interval, e.g. 30s; default: the kind's.", show_default=False)
]
CronOption = Annotated[
    str | None,
    typer.Option("--cron", help="Five cron fields instead of an interval, e.g. '0 9 * * 1-5'.", show_default=False),
]
TimezoneOption = Annotated[
    str | None,
    typer.Option(
        "--timezone",
        help="Time zone of --cron or of --align midnight, e.g. Europe/Berlin; default: UTC.",
        show_default=False,
    ),
]
AtOption = Annotated[
    str | None,
    typer.Option(
        "--at", help="Run once at INSTANT, e.g. 2026-11-21T09:00:00+01:00, or a duration from now.", show_default=False
    ),
]
InOption = Annotated[
    str | None, typer.Option("--in", help="Run once after DELAY from now, e.g. 90m.", show_default=False)
]
AlignOption = Annotated[
    Align | None,
    typer.Option("--align", help="Where --every is counted from; default: phase, spread evenly.", show_default=False),
]
SpreadOption = Annotated[
    str | None,
    typer.Option("--spread", help="Spread the runs of --cron over a duration, e.g. 10m.", show_default=False),
]
StartAtOption = Annotated[
    str | None,
    typer.Option(
        "--start-at", help="First instant at which it may be due: INSTANT, or a duration from now.", show_default=False
    ),
]
EndAtOption = Annotated[
    str | None,
    typer.Option(
        "--end-at", help="Last instant at which it may be due: INSTANT, or a duration from now.", show_default=False
    ),
]
MaxRunsOption = Annotated[
    int | None, typer.Option("--max-runs", min=1, max=MOST_RUNS, help="Maximum number of runs.", show_default=False)
]


class ScheduleOptions(msgspec.Struct, frozen=True, rename={"in_": "in"}):
    """Options of a schedule as they were given; None: not given."""

    every: EveryOption = None
    cron: CronOption = None
    timezone: TimezoneOption = None
    at: AtOption = None
    in_: InOption = None
    align: AlignOption = None
    spread: SpreadOption = None
    start_at: StartAtOption = None
    end_at: EndAtOption = None
    max_runs: MaxRunsOption = None


NOT_GIVEN = ScheduleOptions()
with_schedule = with_options(schedule=ScheduleOptions)
"""Gives a command the options of a schedule; it takes them as its argument ``schedule``."""


def schedule_of(options: ScheduleOptions) -> dict[str, Any]:
    """The schedule that these options mean, as a signup or a command says it; a delay counts from when that is sent.

    Raises SettingsError where options do not go together; whether they are right by themselves is found at admission.
    """
    alternatives = {"--every": options.every, "--cron": options.cron, "--at": options.at, "--in": options.in_}
    named = [name for name, value in alternatives.items() if value is not None]
    if len(named) > 1:
        raise SettingsError(f"Give one of --every, --cron, --at and --in, not {' and '.join(named)}.")
    if options.align is not None and options.every is None:
        raise SettingsError("--align goes with --every and nothing else.")
    if options.spread is not None and options.cron is None:
        raise SettingsError("--spread goes with --cron and nothing else.")
    if options.timezone is not None and options.cron is None and options.align is not Align.MIDNIGHT:
        raise SettingsError("--timezone goes with --cron, or with --every and --align midnight.")
    return _said(options)


def _said(options: ScheduleOptions) -> dict[str, Any]:
    """The fields that are given, as a signup or a command says them. Raises SettingsError."""
    said = {name: value for name, value in msgspec.to_builtins(options).items() if value is not None}
    now = now_ms()
    for name in _INSTANTS.intersection(said):
        said[name] = instant_of(f"--{name.replace('_', '-')}", said[name], now, Bare.FUTURE)
    return said


_INSTANTS = frozenset({"at", "start_at", "end_at"})
_ALTERNATIVES = ("every", "cron", "at", "in")
_OF_ONE = ("align", "spread", "timezone")


def changed_schedule(before: dict[str, Any], options: ScheduleOptions) -> dict[str, Any]:
    """A schedule, as a command says it, with the fields that are given; one of another type takes its place.

    Its bounds stay. Raises SettingsError where options do not go together.
    """
    said = _said(options)
    named = [name for name in _ALTERNATIVES if name in said]
    if len(named) > 1:
        raise SettingsError(f"Give one of --every, --cron, --at and --in, not --{' and --'.join(named)}.")
    left = dict(before)
    if named and named[0] not in before:
        left = {name: value for name, value in before.items() if name not in (*_ALTERNATIVES, *_OF_ONE)}
    return left | said


def schedule_text(spec: MonitorSpec, instant: Callable[[int], str] = time_text) -> str:
    """Describe a schedule in words; ``instant`` writes instants, for programs with ``instant_text``."""
    return schedule_words(spec, instant)


def maintenance_text(window: Maintenance) -> str:
    """A maintenance window in words."""
    if window.cron:
        return f"{format_duration(window.duration_ms)} from {window.cron} in {window.timezone}"
    return f"from {time_text(window.start)} to {time_text(window.end)}"

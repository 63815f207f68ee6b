"""``everwatch lag``: how far every process is behind its topics."""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from functools import partial
from threading import Event
from typing import TYPE_CHECKING, Annotated, NamedTuple

import msgspec
import typer

from everwatch.cli.support.database_reading import print_columns
from everwatch.cli.support.option_groups import with_options
from everwatch.cli.support.options import (
    CommonOptions,
    broker_of,
    clients_of,
    duration_of,
    fitted,
    settings_of,
)
from everwatch.cli.support.run_parts import now_ms, run_parts
from everwatch.core.clock import SystemClock
from everwatch.core.config import Settings
from everwatch.core.errors import SettingsError

if TYPE_CHECKING:
    from everwatch.kafka.lag import Lag
    from everwatch.kafka.process_figures import PartitionLag, TopicLag


class ReadingProcess(StrEnum):
    """Kinds of processes whose lag is known."""

    WORKER = "worker"
    EXECUTOR = "executor"
    SINK = "sink"
    NOTIFIER = "notifier"


class WatchOptions(NamedTuple):
    """Options that have a measurement repeated."""

    watch: Annotated[bool, typer.Option("--watch", "-w", help="Repeat the measurement until interrupted.")] = False
    every: Annotated[str, typer.Option(help="How often, with --watch.")] = "2s"


@with_options(repetition=WatchOptions, common=CommonOptions)
def lag(
    topic: Annotated[str, typer.Option(help="Only this topic.")] = "",
    process: Annotated[
        ReadingProcess | None, typer.Option(help="Only what this kind of process reads.", show_default=False)
    ] = None,
    behind: Annotated[bool, typer.Option("--behind", help="Only partitions on which records wait.")] = False,
    summary: Annotated[bool, typer.Option("--summary", help="One line for each topic and group.")] = False,
    *,
    repetition: WatchOptions,
    common: CommonOptions,
) -> None:
    """Show lag in records and seconds, owner, and how far ticks are emitted, per topic, group and partition.

    The lag in seconds is the age of the first record that is not handled; a tick's age counts from when it was due.
    With --json one object a line.

    Examples: `everwatch lag --summary` · `everwatch lag --watch --behind` · `everwatch lag --process executor --json`
    """
    from everwatch.kafka.lag import summed

    settings = settings_of(common.data_dir, common.bootstrap_servers)
    interval_s = duration_of("--every", repetition.every) / 1000

    def wanted(measured: "Lag") -> "Sequence[PartitionLag | TopicLag]":
        rows = [row for row in measured.partitions if not topic or row.topic == topic]
        if topic and not rows and measured.partitions:
            known = ", ".join(dict.fromkeys(row.topic for row in measured.partitions))
            raise SettingsError(f"Nothing is known to read {topic!r}; what is read: {known}.")
        rows = [row for row in rows if (not process or row.process == process) and (not behind or row.lag)]
        return summed(rows) if summary else rows

    with _measuring(settings) as measure:
        _tell(_measured(measure, interval_s, repetition.watch), wanted, repetition.watch, common.as_json)


Rows = Callable[["Lag"], "Sequence[PartitionLag | TopicLag]"]


@contextmanager
def _measuring(settings: Settings) -> Iterator[Callable[[], "Lag"]]:
    """Return the function that measures the lag, by the broker or by the API that the settings name."""
    measure_lag = run_parts().measure_lag
    if measure_lag is not None:
        yield partial(measure_lag, settings)
        return
    if not settings.api_url:
        from everwatch.diagnosis import System  # SQLAlchemy takes a while to import
        from everwatch.diagnosis.system import ANSWERS_WITHIN_S

        settings = fitted(settings, clients_of(settings).admin(), timeout_s=ANSWERS_WITHIN_S)
        yield System(settings, broker_of(settings), SystemClock()).measure_lag
        return
    from everwatch.cli.support.api_connection import api_client
    from everwatch.kafka.lag import Lag

    with api_client(settings) as client:

        def measure() -> Lag:
            view = client.partitions()
            return Lag(view.at, tuple(view.items), {})

        yield measure


def _tell(measurements: Iterator["Lag"], wanted: Rows, watch: bool, as_json: bool) -> None:
    if as_json:
        for measured in measurements:
            for row in wanted(measured):
                typer.echo(msgspec.json.encode(row).decode())
        return
    if not watch:
        print_columns(_HEADER, _lines(wanted(next(measurements)), now_ms()))
        return
    from rich.live import Live
    from rich.table import Table

    with Live(auto_refresh=False, screen=sys.stdout.isatty()) as live:
        for measured in measurements:
            table = Table(*_HEADER, box=None)
            for line in _lines(wanted(measured), measured.at):
                table.add_row(*line)
            live.update(table, refresh=True)


def _measured(measure: Callable[[], "Lag"], interval_s: float, watch: bool) -> Iterator["Lag"]:
    pause = Event()
    yield measure()
    while watch:
        pause.wait(interval_s)
        yield measure()


_HEADER = ("process", "topic", "partition", "records", "seconds", "owner", "ticks emitted")


def _lines(rows: "Iterable[PartitionLag | TopicLag]", now: int) -> Iterator[tuple[str, ...]]:
    for row in rows:
        seconds = "?" if row.lag_s is None else f"{row.lag_s:.1f}"
        emitted = "-" if row.emitted_to is None else f"{max(0, now - row.emitted_to) / 1000:.1f} s ago"
        owner, place = _owner_and_place(row)
        yield row.process, row.topic, place, f"{row.lag:,}", seconds, owner, emitted


def _owner_and_place(row: "PartitionLag | TopicLag") -> tuple[str, str]:
    from everwatch.kafka.process_figures import TopicLag

    if isinstance(row, TopicLag):
        owners = ", ".join(row.owners)
        return (f"{owners}; {row.unowned} without" if row.unowned else owners), f"all {row.partitions}"
    host = f" ({row.host})" if row.host else ""
    return (f"{row.client_id}{host}" if row.client_id else "nobody"), str(row.partition)

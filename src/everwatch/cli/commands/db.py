"""``everwatch db``: size and age of the database's tables, the next deletions, and roll-ups of results."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated, NamedTuple, TypeVar

import orjson
import typer
from msgspec import to_builtins
from rich.console import Console
from rich.table import Table

from everwatch.cli.support.api_refusals import not_by_api
from everwatch.cli.support.database_reading import database, print_columns, reading
from everwatch.cli.support.option_groups import with_options
from everwatch.cli.support.options import AsJson, Bootstrap, CommonOptions, DataDir, plans_of, settings_of
from everwatch.cli.support.output_reading import SinceOption, UntilOption, interval_of
from everwatch.cli.support.rollups_by_api import ROLLUP_HEADER, print_rollups_by_api, rollup_row
from everwatch.cli.support.run_parts import now_ms
from everwatch.cli.support.time_display import time_text
from everwatch.core.clock import SystemClock
from everwatch.core.config import Settings
from everwatch.core.errors import SettingsError
from everwatch.core.retrying import retry_for
from everwatch.model import State
from everwatch.schedule.duration import describe_duration
from everwatch.store.archive import Archive
from everwatch.store.availability import MOST_BARS, Bar
from everwatch.store.database import open_for_writing, shown_url
from everwatch.store.database_status import DatabaseStatus, status_of
from everwatch.store.interface import StoreBusy
from everwatch.store.plan_keeping import NO_PLANS, PlanKeeping
from everwatch.store.rollup_counts import Rollup, RollupStep
from everwatch.store.sql_writer import open_store
from everwatch.store.table_status import TableStatus

app = typer.Typer(
    no_args_is_help=True, help="Show size and age of the database's tables, the next deletions, and roll-ups."
)

Value = TypeVar("Value")

BUSY_PATIENCE_S = 60.0
_SHARES = {"p50_ms": 0.5, "p95_ms": 0.95, "p99_ms": 0.99}


class By(StrEnum):
    """Length of a roll-up."""

    HOUR = "hour"
    DAY = "day"


@app.callback()
def _db() -> None:
    """Show size and age of the database's tables, the next deletions, and roll-ups."""


@app.command()
def status(data_dir: DataDir = None, bootstrap_servers: Bootstrap = None, as_json: AsJson = False) -> None:
    """Show size, rows and oldest row of each table, for how long rows are kept, and the next deletions.

    How long is what the settings (EVERWATCH_KEEP_…) and the file of plans say here: give this command the sink's; with
    --api what they say where the API runs. On PostgreSQL rows are the server's estimates; on SQLite they are counted,
    which takes longer the more there are.

    Examples: `everwatch db status` · `everwatch db status --json | jq .size`
    """
    settings = settings_of(data_dir, bootstrap_servers)
    if settings.api_url:
        found, where = _status_by_api(settings), settings.api_url
    else:
        plans = plans_of(settings)
        found = status_of(settings, PlanKeeping.of(plans.keep_days) if plans else NO_PLANS)
        where = shown_url(settings.database_url)
    if as_json:
        typer.echo(orjson.dumps(to_builtins(found)).decode())
        return
    table = Table("table", "rows", "size", "oldest", "kept", "deleted next")
    for column in table.columns[1:3]:
        column.justify = "right"
    for each in found.tables:
        table.add_row(each.table, f"{each.rows:,}", _size(each.size), _time(each.oldest), _kept(each), _next(each))
    Console().print(table)
    for sentence in _of_plans(found):
        typer.echo(sentence)
    typer.echo(f"{where}: {_whole(found)}")


def _status_by_api(settings: Settings) -> DatabaseStatus:
    """Return what the API says of its database. Raises ApiError."""
    from everwatch.cli.support.api_connection import api_client  # aiohttp takes a while to import

    with api_client(settings) as client:
        found = client.database()
    return DatabaseStatus(found.kind, found.size, found.free, found.days, found.tables)


class RollupSpan(NamedTuple):
    """Options of a time."""

    since: SinceOption = None
    until: UntilOption = None


@app.command()
@with_options(span=RollupSpan, common=CommonOptions)
def rollups(
    user: Annotated[str, typer.Argument(help="The user.", show_default=False)] = "",
    monitor: Annotated[str, typer.Argument(help="The monitor.", show_default=False)] = "",
    by: Annotated[By, typer.Option("--by", help="What each line is about.")] = By.HOUR,
    *,
    span: RollupSpan,
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="Build all users' roll-ups anew from stored results first.")
    ] = False,
    common: CommonOptions,
) -> None:
    """Show how often a monitor succeeded and failed in each hour or day, and how long that took.

    The sink adds these up, and the database keeps them for longer than results. Quantiles are within 2 %.

    Through the API these are at most the last 1,000 parts of the interval.

    --rebuild takes whole days (UTC) from that of --since on (without it, all), and only days of which no result was
    deleted: the others stay as they are. The sinks may go on meanwhile. Killed half-way, run it again.

    Examples: `everwatch db rollups u-1 website --since 24h` · `everwatch db rollups u-1 website --by day --json`
    · `everwatch db rollups --rebuild --since 7d`
    """
    settings = settings_of(common.data_dir, common.bootstrap_servers)
    when = interval_of(span.since, span.until)
    if bool(user) != bool(monitor) or not (user or rebuild):
        raise SettingsError("Roll-ups are shown of one monitor: name its user and it, or give --rebuild alone.")
    if rebuild:
        _refuse_api(settings, "rollups --rebuild", "it writes the database, which the API never does")
        _rebuild(settings, when.since)
    if not user:
        return
    if settings.api_url:
        print_rollups_by_api(settings, user, monitor, by.value, when, common.as_json)
        return
    with database(settings) as reader:
        found = reader.rollups(user, monitor, RollupStep[by.name], when)
        complete_from = reader.rollups_from()
    if common.as_json:
        for each in found:
            typer.echo(orjson.dumps(_as_object(each)).decode())
        return
    print_columns((by.value, *ROLLUP_HEADER), map(_line, found))
    if complete_from:
        typer.echo(
            f"Results before {time_text(complete_from)} do not count: `everwatch db rollups --rebuild` adds them."
        )


@app.command()
@with_options(common=CommonOptions)
def availability(
    user: Annotated[str, typer.Argument(help="The user.")],
    monitor: Annotated[str, typer.Argument(help="The monitor.")],
    since: SinceOption = "30d",
    until: UntilOption = None,
    bars: Annotated[int, typer.Option("--bars", min=0, max=MOST_BARS, help="Number of parts of the bar.")] = 30,
    *,
    common: CommonOptions,
) -> None:
    """Show the share of time in which a monitor was up, and a bar of its states.

    It is the time up of the time up, down or late, from the monitor's transitions. Time in maintenance does not count,
    nor time in which it was new, paused or done, or not there. In the bar `█` is up, `▃` down or late, `m` maintenance,
    `·` anything else; each character is the gravest state of its part. --json prints each part with its times in ms.

    Examples: `everwatch db availability u-1 website`
    · `everwatch db availability u-1 website --since 24h --bars 24 --json`
    """
    settings = settings_of(common.data_dir, common.bootstrap_servers)
    begin, end = interval_of(since, until)
    with reading(settings) as reader:
        found = reader.availability(user, monitor, begin, end or now_ms(), bars)
    if common.as_json:
        for each in [found.total, *found.bars]:
            typer.echo(orjson.dumps(to_builtins(each) | {"availability": each.availability}).decode())
        return
    share = found.total.availability
    typer.echo(f"{time_text(found.total.begin)} to {time_text(found.total.end)}")
    typer.echo("no time that counts" if share is None else f"{share:.4%} available")
    for state, length in sorted(found.total.by_state.items()):
        typer.echo(f"{state.value:<12} {describe_duration(length // 1000 * 1000)}")
    if found.total.maintenance_ms:
        typer.echo(f"{'maintenance':<12} {describe_duration(found.total.maintenance_ms // 1000 * 1000)}")
    if found.bars:
        typer.echo("".join(map(_bar, found.bars)))


def _bar(part: Bar) -> str:
    if part.state is None:
        return "m" if part.maintenance_ms else "·"
    return {State.UP: "█", State.DOWN: "▃", State.LATE: "▃"}.get(part.state, "·")


@app.command()
def archive(
    folder: Annotated[Path, typer.Argument(help="Where the files are written.", file_okay=False)],
    data_dir: DataDir = None,
    bootstrap_servers: Bootstrap = None,
    as_json: AsJson = False,
) -> None:
    """Write each day of results that is not archived yet into a Parquet file, before it is deleted.

    A day (UTC) is written when it has been over for a day; its file appears when it is whole, so this may be killed and
    run again. It needs pyarrow: `pip install 'everwatch[archive]'`. With EVERWATCH_KEEP_RESULTS_UNTIL_ARCHIVED=true the
    sink deletes nothing that is in no file.

    Examples: `everwatch db archive /var/archive/everwatch` · `everwatch db archive archive --json | jq .rows`
    """
    settings = settings_of(data_dir, bootstrap_servers)
    _refuse_api(settings, "archive", "it reads every result, and notes in the database which days have a file")
    now = now_ms()
    # what a reader would say of a missing database is better than an empty one made here
    with database(settings):
        engine = open_for_writing(settings.database_url)
    try:
        archive = Archive(engine, folder)
        days = archive.days(now)
        for day in days:
            written = archive.write(day)
            _patiently(partial(archive.note, now))
            if as_json:
                typer.echo(orjson.dumps(to_builtins(written)).decode())
            else:
                typer.echo(f"{written.file}: {written.rows:,} results, {_size(written.size)}")
        if not days:
            _patiently(partial(archive.note, now))
            typer.echo("Every day of results that is over for a day has its file.", err=True)
    finally:
        engine.dispose()


def _refuse_api(settings: Settings, what: str, why: str) -> None:
    """Raise SettingsError if the settings name an API."""
    if settings.api_url:
        raise not_by_api(f"'everwatch db {what}'", why)


def _rebuild(settings: Settings, since: int) -> None:
    # what a reader would say of a missing database is better than an empty one made here
    with database(settings):
        pass
    with closing(open_store(settings)) as store:
        last = _patiently(partial(store.rebuild_rollups, since))
        while last is not None:
            last = _patiently(partial(store.rebuild_rollups, since, last))
    typer.echo("The roll-ups are rebuilt.", err=True)


def _patiently(call: Callable[[], Value]) -> Value:
    """Call again while a sink holds what it needs, which is never for long."""
    return retry_for(BUSY_PATIENCE_S, StoreBusy, call, SystemClock())


def _as_object(each: Rollup) -> dict[str, object]:
    found: dict[str, object] = to_builtins(each)
    del found["durations"]
    quantiles = zip(_SHARES, each.quantiles_ms(*_SHARES.values()), strict=True)
    return found | {"mean_ms": each.mean_ms} | dict(quantiles)


def _line(each: Rollup) -> tuple[str, ...]:
    counts = (each.successes, each.failures, each.lates, each.skips)
    return rollup_row(each.at, counts, (each.mean_ms, *each.quantiles_ms(*_SHARES.values())))


def _whole(found: DatabaseStatus) -> str:
    said = f"{_size(found.size)} on disk"
    if found.free is not None:
        return f"{said}, of which {_size(found.free)} are used again before the file grows"
    return f"{said}, results of {found.days:,} days; rows are estimates"


def _kept(each: TableStatus) -> str:
    return _span(each.kept)


def _span(kept: int) -> str:
    return describe_duration(kept) if kept else "for good"


def _of_plans(found: DatabaseStatus) -> Iterator[str]:
    """Sentences about rows that are not kept as the table says."""
    for each in found.tables:
        if each.kept_of_plans:
            yield f"{each.table} by plan: {_by_plan(each.kept_of_plans)}"
        thinning = each.thinning
        if thinning is not None:
            after = f"after {_span(thinning.after)}" if thinning.after else "never"
            said = f"{each.table} become changes and failures only: {after}"
            if thinning.after_of_plans:
                said += f"; by plan, all are kept: {_by_plan(thinning.after_of_plans)}"
            if thinning.done_until is not None:
                said += f"; done before {_time(thinning.done_until)}, next {_time(thinning.next)}"
            yield said


def _by_plan(kept: Mapping[str, int]) -> str:
    return ", ".join(f"{plan} {_span(span)}" for plan, span in sorted(kept.items()))


def _next(each: TableStatus) -> str:
    return f"{_time(each.next)} {each.next_what}" if each.next is not None else "-"


def _time(instant: int | None) -> str:
    return "-" if instant is None else time_text(instant)


def _size(count: int | None) -> str:
    if count is None:
        return "-"
    size = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024 or unit == "GiB":
            break
        size /= 1024
    return f"{size:,.0f} {unit}" if unit == "B" else f"{size:,.1f} {unit}"

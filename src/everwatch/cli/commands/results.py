"""``everwatch results``: what came out, from the database or live from the topic."""

import textwrap
from collections.abc import Iterator
from functools import partial
from typing import Annotated

import msgspec
import typer

from everwatch.cli.support.database_reading import AfterOption, reading, say_next
from everwatch.cli.support.options import AsJson, Bootstrap, DataDir, settings_of
from everwatch.cli.support.output_reading import (
    FollowOption,
    LimitOption,
    MonitorOption,
    OutputSource,
    SinceOption,
    SourceOption,
    UntilOption,
    UserOption,
    from_topic,
    interval_of,
    live_events,
    newest,
    refuse_cursor_of_topic,
)
from everwatch.cli.support.time_display import time_text
from everwatch.core.config import Settings
from everwatch.encoding import codec
from everwatch.kafka.topics import Topics
from everwatch.model import Result, Status
from everwatch.operations import state_colours
from everwatch.store.interface import When


def results(
    user: UserOption = "",
    monitor: MonitorOption = "",
    status: Annotated[Status | None, typer.Option(help="Only with this status.", show_default=False)] = None,
    kind: Annotated[str, typer.Option(help="Only of monitors of this kind, e.g. http.")] = "",
    since: SinceOption = None,
    until: UntilOption = None,
    limit: LimitOption = 20,
    after: AfterOption = "",
    follow: FollowOption = False,
    detail: Annotated[bool, typer.Option("--detail", help="Show what was kept of failures, too.")] = False,
    source: SourceOption = OutputSource.DATABASE,
    data_dir: DataDir = None,
    bootstrap_servers: Bootstrap = None,
    as_json: AsJson = False,
) -> None:
    """Print results, the newest last; with --json one object a line.

    --since and --until select by the instant at which a result's tick was due.

    Examples: `everwatch results --user u-1` · `everwatch results --follow --json | jq .reason`
    · `everwatch results --status failure --kind http --since 1h --limit 1000`
    · `everwatch results --user u-1 --monitor shop --detail`
    """
    refuse_cursor_of_topic(after, source, follow=follow)
    settings = settings_of(data_dir, bootstrap_servers)
    when = When(*interval_of(since, until))
    show = partial(_print, as_json=as_json, with_detail=detail)
    wanted_status = "" if status is None else status.value

    def is_wanted(result: Result) -> bool:
        return (
            user in ("", result.user_id)
            and monitor in ("", result.monitor_id)
            and wanted_status in ("", result.status)
            and kind in ("", result.kind)
            and when.since <= result.scheduled_at
            and (not when.until or result.scheduled_at < when.until)
        )

    if follow or source is OutputSource.TOPIC:
        read = filter(is_wanted, _read(settings, user, monitor, follow=follow))
        for result in read if follow else newest(read, _when, limit):
            show(result)
        return
    with reading(settings) as reader:
        found = reader.results(user, monitor, status=wanted_status, kind=kind, when=when, after=after, limit=limit)
    for stored in reversed(found):
        show(stored.result)
    say_next(found.next)


def _read(settings: Settings, user: str, monitor: str, *, follow: bool) -> Iterator[Result]:
    """Results of the topic; live ones through the API, if the settings name one."""
    if follow and settings.api_url:
        return (event.result for event in live_events(settings, user, monitor, "result") if event.result)
    return from_topic(settings, Topics.of(settings).results, codec.decode_result, follow=follow)


def _print(result: Result, *, as_json: bool, with_detail: bool) -> None:
    if as_json:
        typer.echo(msgspec.json.encode(result).decode())
        return
    status = typer.style(f"{result.status:<8}", fg=state_colours.OF_STATUS[result.status])
    columns = [
        time_text(result.scheduled_at),
        f"{status} {result.user_id}/{result.monitor_id}",
        result.kind,
        _run_text(result),
        result.reason,
    ]
    typer.echo("  ".join(column for column in columns if column))
    if with_detail and result.detail:
        typer.echo(textwrap.indent(result.detail, "    ", lambda _: True))


def _run_text(result: Result) -> str:
    """How long the run took and which attempt it was; for ticks that were skipped, which ones."""
    if result.status is Status.SKIPPED:
        many = result.skipped_count > 1
        return f"{result.skipped_count} ticks until {time_text(result.skipped_until)}" if many else ""
    manual = ", by hand" if result.manual else ""
    return f"{result.duration_ms:.1f} ms  attempt {result.attempt}{manual}"


def _when(result: Result) -> int:
    return result.scheduled_at

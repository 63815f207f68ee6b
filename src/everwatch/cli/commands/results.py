"""``everwatch results``: results from the database, or live from the topic."""

import textwrap
from functools import partial
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from everwatch.cli.support.output_reading import Output, OutputOptions, show_output, with_output
from everwatch.cli.support.time_display import time_text
from everwatch.encoding import codec
from everwatch.model import Result, Status
from everwatch.operations import state_colours
from everwatch.store import Reader
from everwatch.store.selections import ResultSelection, When

if TYPE_CHECKING:
    from everwatch.cli.support.api_reading import ApiReader


@with_output
def results(
    status: Annotated[Status | None, typer.Option(help="Only with this status.", show_default=False)] = None,
    region: Annotated[str, typer.Option(help="Only of executors of this region.", show_default=False)] = "",
    detail: Annotated[bool, typer.Option("--detail", help="Show the captured answers of failures, too.")] = False,
    *,
    options: OutputOptions,
) -> None:
    """Print results, the newest last; with --json one object a line.

    --since and --until select by the instant at which a result's tick was due.

    Examples: `everwatch results --user u-1` · `everwatch results --follow --json | jq .reason`
    · `everwatch results --status failure --kind http --since 1h --limit 1000`
    · `everwatch results --user u-1 --monitor shop --detail`
    """
    wanted_status = "" if status is None else status.value

    def page(reader: "Reader | ApiReader", when: When) -> tuple[list[Result], str]:
        which = ResultSelection(options.user, options.monitor, wanted_status, options.kind, region)
        found = reader.results(which, when=when, after=options.after, limit=options.limit)
        return [stored.result for stored in found], found.next

    output = Output(
        "result", lambda topics: topics.results, codec.decode_result, lambda result: result.scheduled_at, page
    )
    show = partial(_print, as_json=options.as_json, with_detail=detail)

    def is_wanted(result: Result) -> bool:
        return wanted_status in ("", result.status) and region in ("", result.region)

    show_output(options, output, is_wanted, show)


def _print(result: Result, *, as_json: bool, with_detail: bool) -> None:
    if as_json:
        typer.echo(msgspec.json.encode(result).decode())
        return
    status = typer.style(f"{result.status:<8}", fg=state_colours.OF_STATUS[result.status])
    columns = [
        time_text(result.scheduled_at),
        f"{status} {result.user_id}/{result.monitor_id}",
        result.kind,
        result.region,
        _run_text(result),
        result.reason,
    ]
    typer.echo("  ".join(column for column in columns if column))
    if with_detail and result.detail:
        typer.echo(textwrap.indent(result.detail, "    ", lambda _: True))


def _run_text(result: Result) -> str:
    """Describe a run: its duration and attempt; of skipped ticks, which they were."""
    if result.status is Status.SKIPPED:
        many = result.skipped_count > 1
        return f"{result.skipped_count} ticks until {time_text(result.skipped_until)}" if many else ""
    manual = ", by hand" if result.manual else ""
    return f"{result.duration_ms:.1f} ms  attempt {result.attempt}{manual}"

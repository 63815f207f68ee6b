"""``everwatch audit``: was everything that was due run, once each?"""

from collections.abc import Iterator
from functools import partial
from itertools import islice
from threading import Event
from typing import TYPE_CHECKING, Annotated, NamedTuple

import orjson
import typer
from msgspec.structs import replace
from rich.console import Console
from rich.progress import Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from everwatch.cli.support.database_reading import database
from everwatch.cli.support.option_groups import with_options
from everwatch.cli.support.options import (
    CommonOptions,
    broker_of,
    clients_of,
    duration_of,
    fitted,
    instant_of,
    settings_of,
)
from everwatch.cli.support.progress_bar import progress_bar
from everwatch.cli.support.run_parts import now_ms, run_parts
from everwatch.cli.support.time_display import time_text
from everwatch.core.clock import SystemClock
from everwatch.core.config import Settings
from everwatch.core.errors import SettingsError
from everwatch.kafka.topics import Topics
from everwatch.operations.audit import AuditFinding, AuditReport, AuditTerms, Label
from everwatch.operations.audit import audit as audit_stored
from everwatch.operations.waiting_ticks import WaitingTicks
from everwatch.schedule.duration import describe_duration
from everwatch.schedule.instant import Bare, format_instant
from everwatch.store.stored_values import Identity

if TYPE_CHECKING:
    from everwatch.kafka.lag import Lag

SHOWN_EVERY = 10_000
_MEANINGS = {
    Label.ON_TIME: "run once",
    Label.LATE: "first run begun more than {late_after} after it was due",
    Label.RETRIED: "begun on time, and tried again",
    Label.SKIPPED: "not run, and a result says under which rule",
    Label.WAITING: "not begun yet: it waits in an executor's queue",
    Label.UNKNOWN: "due before the database knows anything",
    Label.MISSED: "no result says anything of it",
    Label.DUPLICATE: "results that were due at no time, or that are one attempt too many",
}
_COLOURS = {
    Label.MISSED: "red",
    Label.DUPLICATE: "red",
    Label.LATE: "yellow",
    Label.WAITING: "yellow",
    Label.UNKNOWN: "yellow",
}


class AuditSpan(NamedTuple):
    """Options of the time that is audited."""

    since: Annotated[str, typer.Option(help="Begin: INSTANT, or a duration ago.")] = "1h"
    until: Annotated[
        str | None,
        typer.Option(help="End: INSTANT, or a duration ago; default: --settle ago.", show_default=False),
    ] = None


@with_options(span=AuditSpan, common=CommonOptions)
def audit(
    span: AuditSpan,
    user: Annotated[str, typer.Option(help="Only this user's.")] = "",
    late_after: Annotated[str, typer.Option(help="A tick is late if its first run began later than that.")] = "1s",
    settle: Annotated[str, typer.Option(help="Age up to which a tick may still be under way.")] = "30s",
    limit: Annotated[int, typer.Option(min=0, max=1_000_000, help="Maximum number of examples of each.")] = 20,
    *,
    common: CommonOptions,
) -> None:
    """Recompute which ticks were due and compare them with the database; exit status 1 if anything is wrong.

    Wrong is a tick that was missed and a result that counts twice. From the history of the monitors it works out every
    tick that was due, and looks for its result. Through the API (--api) a process of it does that in the background.

    Examples: `everwatch audit --since 24h` · `everwatch audit --since 2026-11-21T09:00:00Z --until 5m --user u-1` ·
    `everwatch audit --json | jq .missed`
    """
    settings = settings_of(common.data_dir, common.bootstrap_servers)
    now = now_ms()
    late_after_ms, settle_ms = duration_of("--late-after", late_after), duration_of("--settle", settle)
    begin = instant_of("--since", span.since, now, Bare.PAST)
    settled = now - settle_ms
    end = settled if span.until is None else instant_of("--until", span.until, now, Bare.PAST)
    if begin >= end:
        raise SettingsError(
            f"There is nothing between {time_text(begin)} and {time_text(end)}: --since must lie further back"
            f" than --{'settle' if span.until is None else 'until'}."
        )
    console = Console(stderr=True)
    audited = _by_api if settings.api_url else _by_database
    report, known_since, problem = audited(settings, _Wanted(begin, end, user, late_after_ms, limit), console)
    if common.as_json:
        typer.echo(orjson.dumps(_as_json(report)).decode())
    else:
        _show(report, late_after_ms)
    if report.counts[Label.UNKNOWN]:
        since_when = time_text(known_since) if known_since else "then"
        console.print(
            f"The database has nothing from before {since_when}: it was begun later than the monitors, or"
            " older results are deleted (EVERWATCH_KEEP_RESULTS_DAYS).",
            style="yellow",
        )
    if problem:
        console.print(f"Whether missed ticks still wait for an executor is not known: {problem}", style="yellow")
    if end > settled:
        console.print(
            f"What was due after {time_text(settled)} is younger than {describe_duration(settle_ms)} and may still"
            " be under way.",
            style="yellow",
        )
    if not report.is_clean:
        raise typer.Exit(1)


class _Wanted(NamedTuple):
    """Which ticks are audited, and how many examples are wanted."""

    begin: int
    end: int
    user: str
    late_after_ms: int
    limit: int


def _by_database(settings: Settings, wanted: _Wanted, console: Console) -> tuple[AuditReport, int, str]:
    """Return the report, since when the database knows something, and why waiting ticks are not known, or ""."""
    columns = (TextColumn("{task.completed:,}"), TimeElapsedColumn())
    with database(settings) as reader, progress_bar(console, *columns, only_on_terminals=True) as progress:
        task = progress.add_task("Reading results", total=None)
        backlog = WaitingTicks(Topics.of(settings), reader.partition_of, partial(_measure_lag, settings))
        known_since = reader.known_since()
        report = audit_stored(
            reader.history(wanted.user),
            _counted(reader.identities(wanted.begin, wanted.end, wanted.user), progress, task),
            AuditTerms(
                wanted.begin, wanted.end, wanted.late_after_ms, wanted.limit, backlog.holds, known_since=known_since
            ),
        )
        return report, known_since, backlog.problem


def _by_api(settings: Settings, wanted: _Wanted, console: Console) -> tuple[AuditReport, int, str]:
    """Have an API process audit, and return what ``_by_database`` does; since when it knows something is 0."""
    from everwatch.api.audit_run_views import AuditRunBody
    from everwatch.cli.support.api_connection import api_client

    pause = Event()
    columns = (TextColumn("{task.completed:,}"), TimeElapsedColumn())
    with api_client(settings) as client, progress_bar(console, *columns, only_on_terminals=True) as progress:
        task = progress.add_task("Reading results", total=None)
        body = AuditRunBody(wanted.begin, wanted.end, wanted.user, wanted.late_after_ms)
        run = client.start_audit(body)
        while run.report is None:
            pause.wait(run_parts().look_again_s)
            run = client.audit_run(run.run_id)
            progress.update(task, completed=run.results_read)
    report = replace(
        run.report, missed=run.report.missed[: wanted.limit], duplicates=run.report.duplicates[: wanted.limit]
    )
    return report, 0, run.problem


def _measure_lag(settings: Settings) -> "Lag":
    from everwatch.diagnosis import System  # Kafka's client takes a while to import
    from everwatch.diagnosis.system import ANSWERS_WITHIN_S

    settings = fitted(settings, clients_of(settings).admin(), timeout_s=ANSWERS_WITHIN_S)
    return System(settings, broker_of(settings), SystemClock()).measure_lag()


def _counted(found: Iterator[Identity], progress: Progress, task: TaskID) -> Iterator[Identity]:
    while some := list(islice(found, SHOWN_EVERY)):
        yield from some
        progress.advance(task, len(some))


def _show(report: AuditReport, late_after_ms: int) -> None:
    table = Table("", "count", "")
    table.columns[1].justify = "right"
    for label, meaning in _MEANINGS.items():
        count = report.counts[label]
        said = meaning.format(late_after=describe_duration(late_after_ms))
        table.add_row(label.replace("_", " "), f"{count:,}", said, style=_COLOURS.get(label, "") if count else "dim")
    Console().print(table)
    for label, findings in _examples(report).items():
        for finding in findings:
            when = time_text(finding.instant)
            typer.echo(f"{label}  {when}  {finding.user_id}/{finding.monitor_id}: {finding.reason}")
        if left := report.counts[label] - len(findings):
            typer.echo(f"{label}  … and {left:,} more (--limit)")
    typer.echo(f"{report.redelivered:,} results delivered again and held once, {report.manual:,} manual runs")
    colour = typer.colors.GREEN if report.is_clean else typer.colors.RED
    typer.secho(_conclusion(report), fg=colour)


def _conclusion(report: AuditReport) -> str:
    span = f"from {time_text(report.begin)} to {time_text(report.end)}"
    ticks = f"{report.ticks:,} ticks of {report.monitors:,} monitors of {report.users:,} users {span}"
    if report.is_clean:
        return f"nothing missed, nothing twice: {ticks}" if report.ticks else f"nothing was due {span}"
    return f"{report.counts[Label.MISSED]:,} missed, {report.counts[Label.DUPLICATE]:,} too many: {ticks}"


def _as_json(report: AuditReport) -> dict[str, object]:
    return {
        "from": _iso(report.begin),
        "until": _iso(report.end),
        "ticks": report.ticks,
        "users": report.users,
        "monitors": report.monitors,
        **{label.value: count for label, count in report.counts.items()},
        "redelivered": report.redelivered,
        "manual": report.manual,
        "examples": {label.value: list(map(_finding, findings)) for label, findings in _examples(report).items()},
    }


def _finding(finding: AuditFinding) -> dict[str, str]:
    return {
        "user": finding.user_id,
        "monitor": finding.monitor_id,
        "instant": _iso(finding.instant),
        "reason": finding.reason,
    }


def _examples(report: AuditReport) -> dict[Label, tuple[AuditFinding, ...]]:
    return {Label.MISSED: report.missed, Label.DUPLICATE: report.duplicates}


def _iso(instant_ms: int) -> str:
    return format_instant(instant_ms)

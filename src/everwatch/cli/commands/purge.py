"""``everwatch user purge``: a user and everything that the database holds of it goes."""

import sys
from threading import Event
from typing import Annotated

import msgspec
import typer

from everwatch.cli.support.database_reading import database, print_columns, reading
from everwatch.cli.support.input_way import SendingOptions
from everwatch.cli.support.options import AsJson, Bootstrap, DataDir, UserArgument, duration_of, settings_of
from everwatch.cli.support.run_parts import run_parts
from everwatch.cli.support.sending import connected
from everwatch.cli.support.time_display import time_text
from everwatch.core.bounds import LATEST_MS
from everwatch.core.config import Settings
from everwatch.core.errors import EverwatchError, SettingsError
from everwatch.kafka.command_client import Unanswered, asked_of
from everwatch.model import CommandOutcome
from everwatch.store.purged_users import Remains, StoredPurge


class PurgeReport(msgspec.Struct, frozen=True):
    """Report of a purge: deleted rows, and records that remain. Instants in ms.

    ``ended_at``: nothing of the user from up to then is stored any more. ``was_watched``: a worker had it. ``deleted``:
    rows by table. ``guarded_until``: until then the database keeps a hash of the user's id, so that nothing comes back
    from the topics.
    """

    user_id: str
    ended_at: int
    was_watched: bool
    deleted: dict[str, int]
    guarded_until: int
    remains: tuple[Remains, ...]


def purge(
    user: UserArgument,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    timeout: Annotated[
        str, typer.Option("--timeout", help="How long to wait for the worker, and then for the sink.")
    ] = "60s",
    data_dir: DataDir = None,
    bootstrap_servers: Bootstrap = None,
    as_json: AsJson = False,
) -> None:
    """End a user, delete everything that the database holds of it, and say what remains on topics until when.

    A worker ends the user, and the sink deletes: results, roll-ups, transitions, history, tasks, replies, entries of
    the audit log, dead letters whose key is the user's, monitors and the user itself. Records of it that the topics
    hold later are not stored. Safe to repeat, also for a user who is gone already.

    Examples: `everwatch user purge u-1` · `everwatch user purge u-1 --yes --json | jq .remains`
    """
    settings = settings_of(data_dir, bootstrap_servers)
    timeout_s = duration_of("--timeout", timeout) / 1000
    asked = asked_of({"command": "purge", "user_id": user})
    partition = None
    if not settings.api_url:
        with database(settings) as reader:
            # whatever partitioner the user's signups were produced with
            partition = reader.partition_of(user)
    if not yes:
        _confirm(user, as_json)
    with connected(SendingOptions(settings, True, timeout_s, as_json), asked, partition) as link:
        [(_, reply)] = link.ask([asked])
    if reply.answer is CommandOutcome.REFUSED:
        raise EverwatchError(f"The worker refused it: {reply.reason}.")
    found = _wait_until_over(settings, user, asked.asker.command_id, timeout_s)
    outcome = found.outcome
    if outcome.refused:
        raise EverwatchError(f"Nothing was deleted: {outcome.refused}. Run this again.")
    report = PurgeReport(user, found.ended_at, found.was_watched, found.deleted, outcome.guarded_until, outcome.remains)
    if as_json:
        typer.echo(msgspec.json.encode(report).decode())
    else:
        _show(report)


def _wait_until_over(settings: Settings, user_id: str, command_id: str, timeout_s: float) -> StoredPurge:
    """Return the purge when the sink has carried it out or refused it. Raises Unanswered."""
    clock, pause = run_parts().clock, Event()
    deadline_s = clock.monotonic_s() + timeout_s
    with reading(settings) as reader:
        while True:
            found = reader.purge(user_id, command_id)
            if found is not None and found.over_at:
                return found
            if clock.monotonic_s() >= deadline_s:
                raise Unanswered(
                    f"User {user_id!r} has ended, and no sink has deleted what is stored of it within {timeout_s:g} s:"
                    " one does when it runs. Run this again to wait for it."
                )
            pause.wait(run_parts().look_again_s)


def _confirm(user: str, as_json: bool) -> None:
    """Ask whether to go on. Raises SettingsError without a terminal."""
    if as_json or not sys.stdin.isatty():
        raise SettingsError("Give --yes: without a terminal this cannot be confirmed, and a purge cannot be undone.")
    question = f"End user {user!r} and delete everything that the database holds of it? This cannot be undone."
    typer.confirm(question, abort=True, err=True)


def _show(report: PurgeReport) -> None:
    typer.secho(f"purged: {report.user_id}, up to {time_text(report.ended_at)}", fg=typer.colors.GREEN)
    if not report.was_watched:
        typer.echo("no worker had this user (any more)")
    rows = ", ".join(f"{count:,} {NAMES_OF_TABLES[table]}" for table, count in report.deleted.items())
    typer.echo(f"deleted from the database: {rows or 'nothing, it held nothing'}")
    typer.echo("topics may hold records of this user, the last of them until:")
    lines = ((each.topic, time_text(each.until) if each.until else "not bounded", each.rule) for each in report.remains)
    print_columns(("topic", "at the latest", "by its configuration"), lines)
    kept = "for good" if report.guarded_until >= LATEST_MS else f"until {time_text(report.guarded_until)}"
    typer.echo(f"the database keeps a hash of the user's id {kept}, so that none of it is stored again")


NAMES_OF_TABLES = {
    "results": "results",
    "transitions": "transitions",
    "monitor_history": "stretches of history",
    "hourly_rollups": "roll-ups of hours",
    "daily_rollups": "roll-ups of days",
    "replies": "replies",
    "audit_log": "entries of the audit log",
    "dead_letters": "dead letters",
    "tasks": "tasks",
    "former_specs": "earlier specifications of monitors",
    "monitor_labels": "labels",
    "monitors": "monitors",
    "users": "user",
}

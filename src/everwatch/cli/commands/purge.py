"""``everwatch user purge``: a user and everything that the database holds of it goes."""

import sys
from contextlib import closing
from typing import Annotated

import msgspec
import typer

from everwatch.cli.support.api_refusals import not_by_api
from everwatch.cli.support.database_reading import database, print_columns
from everwatch.cli.support.input_way import SendingOptions
from everwatch.cli.support.options import (
    AsJson,
    Bootstrap,
    DataDir,
    UserArgument,
    broker_of,
    duration_of,
    fitted,
    settings_of,
)
from everwatch.cli.support.sending import connected
from everwatch.cli.support.time_display import time_text
from everwatch.core.bounds import LATEST_MS
from everwatch.core.clock import SystemClock
from everwatch.core.config import Settings
from everwatch.core.errors import EverwatchError, SettingsError
from everwatch.kafka.clients import new_admin
from everwatch.kafka.command_client import asked_of
from everwatch.kafka.topics import Topics
from everwatch.model import CommandOutcome, Reply
from everwatch.operations import user_purge
from everwatch.operations.user_purge import Remains
from everwatch.store import Purge


class PurgeReport(msgspec.Struct, frozen=True):
    """Report of a purge: deleted rows, and records that remain. Instants in ms.

    ``ended_at``: nothing of the user from up to then is stored any more. ``was_watched``: a worker had it. ``deleted``:
    rows by table. ``sink_has_passed``: the sink has stored everything that came before. ``guarded_until``: until then
    the database keeps a hash of the user's id, so that nothing comes back from the topics.
    """

    user_id: str
    ended_at: int
    was_watched: bool
    deleted: dict[str, int]
    sink_has_passed: bool
    guarded_until: int
    remains: list[Remains]


def purge(
    user: UserArgument,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    timeout: Annotated[
        str, typer.Option("--timeout", help="How long to wait for the worker, and for the sink.")
    ] = "60s",
    data_dir: DataDir = None,
    bootstrap_servers: Bootstrap = None,
    as_json: AsJson = False,
) -> None:
    """End a user, delete everything that the database holds of it, and say what remains on topics until when.

    Results, roll-ups, transitions, history, tasks, replies, entries of the audit log, dead letters whose key is the
    user's, monitors and the user itself go. Records of it that the topics hold later are not stored. Safe to repeat,
    also after it was interrupted, and for a user who is gone already.

    Examples: `everwatch user purge u-1` · `everwatch user purge u-1 --yes --json | jq .remains`
    """
    settings = settings_of(data_dir, bootstrap_servers)
    if settings.api_url:
        raise not_by_api(
            "'everwatch user purge'",
            "it deletes rows of the database, which the API never writes; 'everwatch user deregister' ends a user",
        )
    timeout_s = duration_of("--timeout", timeout) / 1000
    asked = asked_of({"command": "purge", "user_id": user})
    with database(settings) as reader:
        # whatever partitioner the user's signups were produced with
        partition = reader.partition_of(user)
    if not yes:
        _confirm(user, as_json)
    clock = SystemClock()
    with connected(SendingOptions(settings, True, timeout_s, as_json), asked, partition) as link:
        [(_, reply)] = link.ask([asked])
    if reply.answer is CommandOutcome.REFUSED:
        raise EverwatchError(f"The worker refused it: {reply.reason}.")
    bootstrap = broker_of(settings)
    settings = fitted(settings, new_admin(settings, bootstrap))
    remains = user_purge.remains_of(settings, new_admin(settings, bootstrap), reply.at)
    ends = user_purge.ends_of(settings, bootstrap)
    changelog = Topics.of(settings).monitors_changelog
    wanted = Purge(
        user,
        reply.at,
        user_purge.guarded_until(settings, remains, reply.at),
        {partition: end for partition, end in ends.items() if partition.topic == changelog},
    )
    with closing(user_purge.opened(settings, clock)) as store:
        user_purge.begin(store, wanted, clock)
        has_passed = user_purge.wait_until_stored(store, ends, clock, timeout_s)
        if has_passed and reply.answer is CommandOutcome.UNCHANGED:
            _check_gone(settings, reply)
        deleted = user_purge.delete_rows(store, wanted, clock)
    was_watched = reply.answer is not CommandOutcome.UNCHANGED
    report = PurgeReport(user, reply.at, was_watched, deleted, has_passed, wanted.kept_until, remains)
    if as_json:
        typer.echo(msgspec.json.encode(report).decode())
    else:
        _show(report)


def _confirm(user: str, as_json: bool) -> None:
    """Ask whether to go on. Raises SettingsError without a terminal."""
    if as_json or not sys.stdin.isatty():
        raise SettingsError("Give --yes: without a terminal this cannot be confirmed, and a purge cannot be undone.")
    question = f"End user {user!r} and delete everything that the database holds of it? This cannot be undone."
    typer.confirm(question, abort=True, err=True)


def _check_gone(settings: Settings, reply: Reply) -> None:
    """Raise EverwatchError if the database has a user that the answering worker did not know."""
    with database(settings) as reader:
        found, partition = reader.user(reply.user_id), reader.partition_of(reply.user_id)
    if found is not None and found.registered_at <= reply.at:
        raise EverwatchError(
            f"User {reply.user_id!r} is watched on partition {partition}, and the worker that answered did not know it:"
            " run this again. Nothing was deleted."
        )


def _show(report: PurgeReport) -> None:
    typer.secho(f"purged: {report.user_id}, up to {time_text(report.ended_at)}", fg=typer.colors.GREEN)
    if not report.was_watched:
        typer.echo("no worker had this user (any more)")
    rows = ", ".join(f"{count:,} {NAMES_OF_TABLES[table]}" for table, count in report.deleted.items())
    typer.echo(f"deleted from the database: {rows or 'nothing, it held nothing'}")
    if not report.sink_has_passed:
        typer.secho(
            "the sink has not come so far yet: what it finds of this user from before is not stored",
            fg=typer.colors.YELLOW,
        )
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

"""``everwatch task``: delayed tasks, one or a million: create, cancel, list, count."""

import sys
from typing import Annotated, Any, NamedTuple

import msgspec
import orjson
import typer

from everwatch.cli.support.database_reading import AfterOption, print_columns, reading, say_next
from everwatch.cli.support.input_file import send_file
from everwatch.cli.support.option_groups import with_options
from everwatch.cli.support.options import (
    AsJson,
    DataDir,
    DocumentOptions,
    LocalOptions,
    OptionalUser,
    UserArgument,
    documents_of,
    settings_of,
)
from everwatch.cli.support.output_reading import interval_of
from everwatch.cli.support.run_parts import now_ms
from everwatch.cli.support.schedule_options import AtOption, InOption, ScheduleOptions, schedule_of
from everwatch.cli.support.sending import Sending, delivery_of, send, with_sending
from everwatch.cli.support.task_lines import commands_of, path_in_line
from everwatch.cli.support.time_display import time_text
from everwatch.core.config import Settings
from everwatch.core.errors import EverwatchError, RefusalCode, SettingsError
from everwatch.model import Reply, Status
from everwatch.store import StoredTask, TaskStatus
from everwatch.transfer.import_rows import RowReading
from everwatch.transfer.row_files import STDIN, FileSource, Format

app = typer.Typer(no_args_is_help=True, help="Create, cancel, list and count delayed tasks.")

_TASK = typer.Argument(metavar="TASK", help="The task's id.", show_default=False)
TaskArgument = Annotated[str, _TASK]
OptionalTask = Annotated[str | None, _TASK]
OfUser = Annotated[str, typer.Option("--user", help="Only this user's.")]
From = Annotated[
    str | None,
    typer.Option(
        "--from",
        help="Only those due from then on: INSTANT, a duration ago, e.g. 1h, or +1h from now.",
        show_default=False,
    ),
]
Until = Annotated[
    str | None,
    typer.Option(
        "--until", help="Only those due before then: INSTANT, a duration ago, or +1h from now.", show_default=False
    ),
]


class DueOptions(NamedTuple):
    """Options of the instant at which a task is due."""

    at: AtOption = None
    in_: InOption = None


class TaskArguments(NamedTuple):
    """The arguments that name a task, none where a file does."""

    user: OptionalUser = None
    task: OptionalTask = None


@app.command()
@with_sending
@with_options(named=TaskArguments, due=DueOptions, documents=DocumentOptions)
def create(
    named: TaskArguments,
    file: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="JSON lines, also .gz, one task a line: user_id, task_id, kind, at or in, config, payload, policy;"
            " - is stdin.",
        ),
    ] = None,
    *,
    due: DueOptions,
    kind: Annotated[
        str | None, typer.Option(help="Kind of the task: webhook, http, …; see docs/kinds.md.", show_default=False)
    ] = None,
    documents: DocumentOptions,
    sending: Sending,
) -> None:
    """Create delayed tasks: each runs once at its instant. One that is there already is changed.

    Without --wait it is sent; with it, the worker's answer is printed, and the exit status is 1 if it was refused.

    Examples: `everwatch task create u-1 remind --in 90m --kind webhook --config @hook.json --wait` ·
    `everwatch task create u-1 probe --at 2026-11-21T09:00:00+01:00 --kind http --config @probe.json` ·
    `everwatch task create --file tasks.jsonl`
    """
    fields, (user, task), (at, in_) = documents_of(documents), named, due
    if file is not None:
        if fields or any(option is not None for option in (user, task, at, in_, kind, sending.asked_id)):
            raise SettingsError("With --file omit USER, TASK and the options of a task: they are in the lines.")
        source = FileSource(file, Format.JSONL, RowReading(), stdin=sys.stdin.buffer if file == STDIN else None)
        send_file(source, commands_of(source.lines()), delivery_of(sending), "Creating", path_in_line)
        return
    if user is None or task is None:
        raise SettingsError("Give a USER and a TASK, or --file FILE (see 'everwatch task create --help').")
    if at is None and in_ is None:
        raise SettingsError("A task needs --at or --in.")
    if kind is None:
        raise SettingsError("Say what the task does with --kind, such as --kind webhook (see docs/kinds.md).")
    if not task:
        raise SettingsError("The task's id must not be empty.")
    monitor = {"kind": kind, "schedule": schedule_of(ScheduleOptions(at=at, in_=in_)), **fields}
    wanted = {"command": "put", "user_id": user, "monitor_id": task, "monitor": monitor}
    send(wanted, sending)


@app.command()
@with_sending
def cancel(
    user: UserArgument,
    task: OptionalTask = None,
    all_: Annotated[bool, typer.Option("--all", help="All of the user's pending tasks.")] = False,
    *,
    sending: Sending,
) -> None:
    """Cancel a pending task, or all of a user's; one that has fired is no longer pending.

    Examples: `everwatch task cancel u-1 greet --wait` · `everwatch task cancel u-1 --all`
    """
    # an empty id would mean all of them
    if bool(task) == all_ or task == "":
        raise SettingsError("Give either a TASK or --all.")
    wanted = {"command": "cancel", "user_id": user} | ({"monitor_id": task} if task else {})
    send(wanted, sending, _print_what_became_of_it)


def _print_what_became_of_it(refused: Reply, settings: Settings) -> None:
    """Say on stderr what the database holds of a task that the worker does not know (any more)."""
    if refused.code != RefusalCode.NOT_FOUND or not refused.monitor_id:
        return
    try:
        with reading(settings) as reader:
            found = reader.task(refused.user_id, refused.monitor_id, now_ms())
    except EverwatchError:
        return  # the answer stands without it
    if found is not None and found.ended_at:
        why = f": {found.reason}" if found.reason else ""
        typer.echo(f"The database holds this task as {found.status} since {time_text(found.ended_at)}{why}", err=True)


class TaskPage(NamedTuple):
    """Options of how much of the list is printed."""

    limit: Annotated[int, typer.Option(min=1, max=1_000_000, help="Maximum number, by when they are due.")] = 20
    after: AfterOption = ""


@app.command("list")
@with_options(page=TaskPage, common=LocalOptions)
def list_(
    user: OfUser = "",
    status: Annotated[TaskStatus | None, typer.Option(help="Only those of this status.", show_default=False)] = None,
    from_: From = None,
    until: Until = None,
    *,
    page: TaskPage,
    common: LocalOptions,
) -> None:
    """List tasks as the database has them, by when they are due; with --json one object a line.

    Examples: `everwatch task list --user u-1 --status pending` ·
    `everwatch task list --from now --until +1h` ·
    `everwatch task list --status failed --from 24h --limit 1000 --json | jq .reason`
    """
    when = interval_of(from_, until, "--from")
    with reading(settings_of(common.data_dir)) as reader:
        now = now_ms()
        found = reader.tasks(user, status or "", when=when, now=now, after=page.after, limit=page.limit)
    if common.as_json:
        for task in found:
            typer.echo(orjson.dumps(_plain(task)).decode())
    elif found:
        header = ("due", "status", "user", "task", "kind", "reason")
        print_columns(header, (_row(task) for task in found))
    else:
        typer.echo("no such tasks")
    say_next(found.next)


@app.command()
def count(
    user: OfUser = "", from_: From = None, until: Until = None, data_dir: DataDir = None, as_json: AsJson = False
) -> None:
    """Count tasks by status.

    Examples: `everwatch task count` ·
    `everwatch task count --user u-1 --from 2026-11-21T00:00:00Z --json | jq .pending`
    """
    when = interval_of(from_, until, "--from")
    with reading(settings_of(data_dir)) as reader:
        counts = reader.count_tasks(user, when=when, now=now_ms())
    if as_json:
        typer.echo(orjson.dumps(counts).decode())
        return
    for status, number in counts.items():
        typer.echo(f"{status:<9}  {number}")


@app.command()
def show(user: UserArgument, task: TaskArgument, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Show one task; the database keeps it when it is over.

    Example: `everwatch task show u-1 greet --json | jq .status`
    """
    with reading(settings_of(data_dir)) as reader:
        found = reader.task(user, task, now_ms())
    if found is None:
        raise EverwatchError(f"The database holds no task {task!r} of user {user!r} (a moment ago, or not yet).")
    if as_json:
        typer.echo(orjson.dumps(_plain(found)).decode())
        return
    typer.echo(f"task     {found.user_id}/{found.monitor_id}, version {found.version}, kind {found.kind}")
    typer.echo(f"status   {_status_text(found)}" + (f": {found.reason}" if found.reason else ""))
    typer.echo(f"due      {time_text(found.due_at)}")
    if found.attempt:
        typer.echo(f"retry    attempt {found.attempt} is pending")
    typer.echo(f"created  {time_text(found.created_at)}")
    if found.ended_at:
        typer.echo(f"ended    {time_text(found.ended_at)}")


def _plain(task: StoredTask) -> dict[str, Any]:
    said: dict[str, Any] = msgspec.to_builtins(task)
    return {"user_id": said.pop("user_id"), "task_id": said.pop("monitor_id"), **said}


def _row(task: StoredTask) -> tuple[str, ...]:
    return (time_text(task.due_at), _status_text(task), task.user_id, task.monitor_id, task.kind, task.reason)


def _status_text(task: StoredTask) -> str:
    if task.paused and task.status is TaskStatus.PENDING:
        return f"{task.status}, paused"
    # a failure is what one expects of a task that failed
    return f"{task.status} ({task.outcome})" if task.outcome in (Status.LATE, Status.SKIPPED) else str(task.status)

"""``everwatch task``: delayed tasks, one or a million: create, cancel, list, count."""

from collections import Counter
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Annotated, Any

import msgspec
import orjson
import typer
from rich.console import Console
from rich.progress import Progress

from everwatch.cli.commanding import (
    Delivery,
    OptionalUser,
    Sending,
    UserArgument,
    connected,
    delivery_of,
    send,
    with_sending,
)
from everwatch.cli.options import AsJson, Config, DataDir, Payload, PolicyOption, instant_of, json_of, settings_of
from everwatch.cli.progress import MOST_REASONS_SHOWN, file_bar, tell_refused
from everwatch.cli.schedules import AtOption, InOption, ScheduleOptions, schedule_of
from everwatch.cli.stored import database, print_columns
from everwatch.clock import Clock, SystemClock
from everwatch.errors import EverwatchError, InvalidInput, SettingsError
from everwatch.kafka.asking import Asked, asked_of
from everwatch.model import Answer, Reply
from everwatch.schedule.instant import instant_text
from everwatch.store import StoredTask, TaskStatus
from everwatch.wire import Name, UserId, parse_json

app = typer.Typer(no_args_is_help=True, help="Create, cancel, list and count delayed tasks.")

MOST_REASONS_KEPT = 1_000
LINES_BETWEEN_LOOKS = 1_000

_TASK = typer.Argument(metavar="TASK", help="The task's id.", show_default=False)
TaskArgument = Annotated[str, _TASK]
OptionalTask = Annotated[str | None, _TASK]
OfUser = Annotated[str, typer.Option("--user", help="Only this user's.")]
From = Annotated[str | None, typer.Option("--from", help="Only those due at INSTANT or later.", show_default=False)]
Until = Annotated[str | None, typer.Option("--until", help="Only those due before INSTANT.", show_default=False)]


@app.command()
@with_sending
def create(
    user: OptionalUser = None,
    task: OptionalTask = None,
    file: Annotated[
        Path | None,
        typer.Option(help="JSON lines, one task a line: user_id, task_id, at or in, kind, config, payload, policy."),
    ] = None,
    at: AtOption = None,
    in_: InOption = None,
    kind: Annotated[str, typer.Option(help="What is run: http, tcp, …; see docs/kinds.md.")] = "noop",
    config: Config = None,
    payload: Payload = None,
    policy: PolicyOption = None,
    *,
    sending: Sending,
) -> None:
    """Create delayed tasks: each runs once at its instant. One that is there already is changed.

    Examples: `everwatch task create u-1 remind --in 90m --payload '{"text": "call back"}' --wait` ·
    `everwatch task create u-1 probe --at 2026-11-21T09:00:00+01:00 --kind http --config @probe.json` ·
    `everwatch task create --file tasks.jsonl`
    """
    given = json_of("--config", config) | json_of("--payload", payload) | json_of("--policy", policy)
    if file is not None:
        if given or any(option is not None for option in (user, task, at, in_, sending.command_id)):
            raise SettingsError("With --file the lines say it all: leave USER, TASK and the options of a task away.")
        _create_all(file, delivery_of(sending))
        return
    if user is None or task is None:
        raise SettingsError("Give a USER and a TASK, or --file FILE (see 'everwatch task create --help').")
    if at is None and in_ is None:
        raise SettingsError("A task needs --at or --in.")
    if not task:
        raise SettingsError("The task's id must not be empty.")
    monitor = {"kind": kind, "schedule": schedule_of(ScheduleOptions(at=at, in_=in_)), **given}
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
    send(wanted, sending)


# --- from the database ----------------------------------------------------------------------------------------------


@app.command("list")
def list_(
    user: OfUser = "",
    status: Annotated[TaskStatus | None, typer.Option(help="Only those of this status.", show_default=False)] = None,
    from_: From = None,
    until: Until = None,
    limit: Annotated[int, typer.Option(min=1, max=1_000_000, help="At most so many, those due first.")] = 20,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """List tasks as the database has them, by when they are due; with --json one object a line.

    Examples: `everwatch task list --user u-1 --status pending` ·
    `everwatch task list --status failed --from 2026-11-21T00:00:00Z --limit 1000 --json | jq .reason`
    """
    from_ms, until_ms = _span(from_, until)
    with database(settings_of(data_dir)) as reader:
        now = SystemClock().now_ms()
        found = reader.tasks(user, status or "", from_ms, until_ms, now=now, limit=limit)
    if as_json:
        for task in found:
            typer.echo(orjson.dumps(_plain(task)).decode())
    elif found:
        header = ("due", "status", "user", "task", "kind", "reason")
        print_columns(header, (_row(task) for task in found))
    else:
        typer.echo("no such tasks")


@app.command()
def count(
    user: OfUser = "", from_: From = None, until: Until = None, data_dir: DataDir = None, as_json: AsJson = False
) -> None:
    """Count tasks by status.

    Examples: `everwatch task count` ·
    `everwatch task count --user u-1 --from 2026-11-21T00:00:00Z --json | jq .pending`
    """
    from_ms, until_ms = _span(from_, until)
    with database(settings_of(data_dir)) as reader:
        counts = reader.count_tasks(user, from_ms, until_ms, now=SystemClock().now_ms())
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
    with database(settings_of(data_dir)) as reader:
        found = reader.task(user, task, SystemClock().now_ms())
    if found is None:
        raise EverwatchError(f"The database holds no task {task!r} of user {user!r} (a moment ago, or not yet).")
    if as_json:
        typer.echo(orjson.dumps(_plain(found)).decode())
        return
    typer.echo(f"task     {found.user_id}/{found.monitor_id}, version {found.version}, kind {found.kind}")
    typer.echo(f"status   {_status_text(found)}" + (f": {found.reason}" if found.reason else ""))
    typer.echo(f"due      {instant_text(found.due_at)}")
    if found.attempt:
        typer.echo(f"retry    attempt {found.attempt} is pending")
    typer.echo(f"created  {instant_text(found.created_at)}")
    if found.ended_at:
        typer.echo(f"ended    {instant_text(found.ended_at)}")


def _span(from_: str | None, until: str | None) -> tuple[int, int]:
    from_ms = 0 if from_ is None else instant_of("--from", from_)
    until_ms = 0 if until is None else instant_of("--until", until)
    return from_ms, until_ms


def _plain(task: StoredTask) -> dict[str, Any]:
    said: dict[str, Any] = msgspec.to_builtins(task)
    return {"user_id": said.pop("user_id"), "task_id": said.pop("monitor_id"), **said}


def _row(task: StoredTask) -> tuple[str, ...]:
    return (instant_text(task.due_at), _status_text(task), task.user_id, task.monitor_id, task.kind, task.reason)


def _status_text(task: StoredTask) -> str:
    return f"{task.status}, paused" if task.paused and task.status is TaskStatus.PENDING else str(task.status)


# --- from a file ----------------------------------------------------------------------------------------------------


class TaskLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"in_": "in"}):
    """One line of a file of tasks; what it does not judge is judged with the command that it becomes."""

    user_id: UserId
    task_id: Name
    at: Any = None
    in_: Any = None
    kind: Any = "noop"
    config: Any = {}
    payload: Any = None
    policy: Any = {}
    command_id: Any = ""


class Tally:
    """What has become of the lines of a file. Of the reasons why lines were refused it keeps the first thousand."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._began_s = clock.monotonic_s()
        self.sent = 0
        self.refused = 0
        self.reasons: list[tuple[int, str]] = []
        self.answers: Counter[str] = Counter()

    @property
    def seconds(self) -> float:
        return self._clock.monotonic_s() - self._began_s

    def refuse(self, line: int, error: InvalidInput) -> None:
        """Note a line that is no task, or that a worker refused."""
        self.refused += 1
        if len(self.reasons) < MOST_REASONS_KEPT:
            self.reasons.append((line, str(InvalidInput(error.reason, _path_in_line(error.path)))))

    def note(self, asked: Asked, reply: Reply) -> None:
        """Note the answer to a line's command."""
        self.answers[reply.answer.value] += 1
        if reply.answer is Answer.REFUSED:
            self.refuse(asked.line, InvalidInput(reply.reason, reply.path))

    def report(self, console: Console, as_json: bool) -> None:
        """Print it."""
        rate = f"{self.seconds:.1f} s, {self.sent / max(self.seconds, 0.001):.0f} a second"
        if as_json:
            reasons = [{"line": number, "reason": reason} for number, reason in self.reasons]
            told = {"sent": self.sent, "refused": self.refused, "reasons": reasons, "answers": self.answers}
            typer.echo(orjson.dumps({**told, "seconds": round(self.seconds, 3)}).decode())
            return
        others = f"… and {self.refused - MOST_REASONS_SHOWN} more (--json lists {MOST_REASONS_KEPT})"
        for number, (line, reason) in enumerate(self.reasons, 1):
            tell_refused(console, number, f"line {line}: {reason}", others)
        answers = "".join(f", {number} {answer}" for answer, number in self.answers.items() if answer != Answer.REFUSED)
        typer.echo(f"{self.sent} sent, {self.refused} refused{answers} ({rate})")


def _create_all(file: Path, delivery: Delivery) -> None:
    try:
        size = file.stat().st_size
    except OSError as error:
        raise _unreadable(file, error) from None
    console = Console(stderr=True)
    tally = Tally(SystemClock())
    try:
        with file_bar(console) as bar:
            commands = _commands(file, tally, _follow(bar, size, tally))
            first = next(commands, None)
            if first is not None:
                _send_all(chain([first], commands), tally, delivery)
    finally:
        # an import that was cut short says how far it came
        tally.report(console, delivery.as_json)
    if tally.refused:
        raise typer.Exit(1)


def _send_all(commands: Iterator[Asked], tally: Tally, delivery: Delivery) -> None:
    with connected(delivery) as link:
        try:
            if delivery.wait:
                for asked, reply in link.ask(commands):
                    tally.note(asked, reply)
            else:
                link.tell(commands)
        finally:
            tally.sent = link.delivered


def _commands(file: Path, tally: Tally, look: Callable[[int, int], None]) -> Iterator[Asked]:
    """The commands of a file's lines; what is refused is tallied, and ``look`` sees how many lines and bytes are read.

    Raises SettingsError.
    """
    read = 0
    try:
        with file.open("rb") as stream:
            for number, line in enumerate(stream, 1):
                read += len(line)
                if number % LINES_BETWEEN_LOOKS == 0:
                    look(number, read)
                if not line.strip():
                    continue
                try:
                    command = asked_of(_put_of(line), number)
                except InvalidInput as error:
                    tally.refuse(number, error)
                else:
                    yield command
    except OSError as error:
        raise _unreadable(file, error) from None


def _unreadable(file: Path, error: OSError) -> SettingsError:
    return SettingsError(f"The file {file} cannot be read: {error.strerror}.")


def _put_of(line: bytes) -> dict[str, Any]:
    """The command that puts the task of a line. Raises InvalidInput."""
    task = parse_json(line, TaskLine)
    if (task.at is None) == (task.in_ is None):
        raise InvalidInput("a task needs at or in" if task.at is None else "a task is due at or in, not both")
    return {
        "command": "put",
        "user_id": task.user_id,
        "monitor_id": task.task_id,
        "command_id": task.command_id,
        "monitor": {
            "kind": task.kind,
            "config": task.config,
            "schedule": {"in": task.in_} if task.at is None else {"at": task.at},
            "policy": task.policy,
            "payload": task.payload,
        },
    }


def _path_in_line(path: str) -> str:
    """A field of a command, by the name that it has in a line."""
    for inside, outside in {"$.monitor_id": "$.task_id", "$.monitor.schedule": "$", "$.monitor": "$"}.items():
        if path == inside or path.startswith((f"{inside}.", f"{inside}[")):
            return outside + path.removeprefix(inside)
    return path


def _follow(bar: Progress, size: int, tally: Tally) -> Callable[[int, int], None]:
    """What moves the bar as a file of ``size`` bytes is read; a pipe has none."""
    shown = bar.add_task("Creating", total=size or None, told="")

    def look(lines: int, read: int) -> None:
        bar.update(shown, completed=read, told=f"{lines} tasks, {lines / max(tally.seconds, 0.001):.0f} a second")

    return look

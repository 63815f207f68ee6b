"""``everwatch monitor``: put, change and show one monitor; and how any command is sent and its answer told."""

from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import msgspec
import orjson
import typer

from everwatch.cli.options import (
    AsJson,
    Bootstrap,
    Config,
    DataDir,
    Payload,
    PolicyOption,
    duration_of,
    json_of,
    ready_broker,
    settings_of,
)
from everwatch.cli.publishing import Publisher
from everwatch.cli.schedules import (
    AlignOption,
    AtOption,
    CronOption,
    EndAtOption,
    EveryOption,
    InOption,
    MaxRunsOption,
    ScheduleOptions,
    SpreadOption,
    StartAtOption,
    TimezoneOption,
    schedule_of,
    schedule_text,
)
from everwatch.cli.stored import database, no_user, print_columns
from everwatch.clock import SystemClock
from everwatch.config import Settings
from everwatch.errors import SettingsError
from everwatch.kafka.asking import Asked, ReplyTopic, ask, asked_of, tell
from everwatch.kafka.topics import Topics
from everwatch.model import Answer, Monitor, Reply
from everwatch.schedule.due import upcoming
from everwatch.schedule.instant import instant_text

app = typer.Typer(no_args_is_help=True, help="Put, pause, resume, run, delete and list single monitors.")

# --- what commands have in common -----------------------------------------------------------------------------------

UserArgument = Annotated[str, typer.Argument(metavar="USER", help="The user's id.", show_default=False)]
MonitorArgument = Annotated[str, typer.Argument(metavar="MONITOR", help="The monitor's id.", show_default=False)]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Wait for the worker's answer, and print it.")]
Timeout = Annotated[str, typer.Option("--timeout", help="How long to wait for an answer, with --wait.")]
CommandId = Annotated[
    str | None,
    typer.Option("--id", help="The command's id: sent again, it is carried out once; default: a new one."),
]
ANSWER_WITHIN = "30s"


class Delivery(NamedTuple):
    """How commands are sent: under which settings, whether and how long an answer is waited for."""

    settings: Settings
    wait: bool
    timeout_s: float
    as_json: bool


def delivery_of(
    data_dir: Path | None, bootstrap_servers: str | None, wait: bool, timeout: str, as_json: bool
) -> Delivery:
    """How these options want commands to be sent. Raises SettingsError."""
    timeout_s = duration_of("--timeout", timeout) / 1000
    return Delivery(settings_of(data_dir, bootstrap_servers), wait, timeout_s, as_json)


def send(wanted: dict[str, Any], command_id: str | None, delivery: Delivery) -> None:
    """Send one command and print what became of it; exits with 1 if it was refused.

    Raises InvalidInput, before a broker is looked for; BrokerUnavailable; Unanswered.
    """
    asked = asked_of(wanted | ({} if command_id is None else {"command_id": command_id}))
    with connected(delivery) as link:
        if not delivery.wait:
            link.tell([asked])
            _print_sent(wanted, asked, delivery.as_json)
            return
        for _, reply in link.ask([asked]):
            _print_reply(reply, delivery.as_json)
            if reply.answer is Answer.REFUSED:
                raise typer.Exit(1)


class Link:
    """A way to the workers and, if answers are waited for, back. ``delivered``: commands that the broker has."""

    def __init__(self, delivery: Delivery, bootstrap_servers: str, replies: ReplyTopic | None) -> None:
        self._topic = Topics.of(delivery.settings).commands
        self._publisher = Publisher(delivery.settings, bootstrap_servers)
        self._replies = replies
        self._timeout_s = delivery.timeout_s

    @property
    def delivered(self) -> int:
        return self._publisher.delivered

    def tell(self, commands: Iterable[Asked]) -> None:
        """Send commands, durably. Raises BrokerUnavailable."""
        tell(self._topic, commands, self._publisher)

    def ask(self, commands: Iterable[Asked]) -> Iterator[tuple[Asked, Reply]]:
        """Send commands and give their answers. Raises BrokerUnavailable, Unanswered."""
        assert self._replies is not None  # asked for by delivery.wait
        return ask(self._topic, commands, self._publisher, self._replies, SystemClock(), self._timeout_s)


@contextmanager
def connected(delivery: Delivery) -> Iterator[Link]:
    """A link to the broker, with the topics made where missing. Raises BrokerUnavailable, TopicMismatch."""
    settings = delivery.settings
    bootstrap = ready_broker(settings)
    if not delivery.wait:
        yield Link(delivery, bootstrap, None)
        return
    with closing(ReplyTopic(settings, bootstrap)) as replies:
        yield Link(delivery, bootstrap, replies)


def _print_sent(wanted: dict[str, Any], asked: Asked, as_json: bool) -> None:
    user_id, monitor_id, command = asked.user_id, wanted.get("monitor_id", ""), wanted["command"]
    if as_json:
        sent = {"command_id": asked.command_id, "user_id": user_id, "monitor_id": monitor_id, "command": command}
        typer.echo(orjson.dumps(sent | {"answer": None}).decode())
    else:
        typer.echo(f"sent: {command} {_subject(user_id, monitor_id)} (id {asked.command_id})")


def _print_reply(reply: Reply, as_json: bool) -> None:
    if as_json:
        typer.echo(msgspec.json.encode(reply).decode())
        return
    said = f"{reply.command} {_subject(reply.user_id, reply.monitor_id)}"
    match reply.answer:
        case Answer.REFUSED:
            said += f": {reply.reason}" + (f" (at {reply.path})" if reply.path else "")
        case Answer.REPEATED:
            said += ": a command with this id was carried out before"
        case Answer.UNCHANGED:
            said += ": all is so already"
        case Answer.DONE if reply.version:
            said += f", version {reply.version}"
    colour = typer.colors.RED if reply.answer is Answer.REFUSED else typer.colors.GREEN
    typer.echo(f"{typer.style(reply.answer.value, fg=colour)}: {said}")


def _subject(user_id: str, monitor_id: str) -> str:
    return f"{user_id}/{monitor_id}" if monitor_id else user_id


# --- the commands ---------------------------------------------------------------------------------------------------


@app.command()
def put(
    user: UserArgument,
    monitor: MonitorArgument,
    kind: Annotated[str, typer.Option(help="What is checked: http, tcp, heartbeat, …; see docs/kinds.md.")],
    config: Config = None,
    every: EveryOption = None,
    cron: CronOption = None,
    timezone: TimezoneOption = None,
    at: AtOption = None,
    in_: InOption = None,
    align: AlignOption = None,
    spread: SpreadOption = None,
    start_at: StartAtOption = None,
    end_at: EndAtOption = None,
    max_runs: MaxRunsOption = None,
    payload: Payload = None,
    policy: PolicyOption = None,
    if_version: Annotated[
        int | None,
        typer.Option(min=0, help="Refuse unless the monitor is at this version; 0: unless there is none."),
    ] = None,
    command_id: CommandId = None,
    wait: Wait = False,
    timeout: Timeout = ANSWER_WITHIN,
    data_dir: DataDir = None,
    bootstrap_servers: Bootstrap = None,
    as_json: AsJson = False,
) -> None:
    """Put a monitor, or change the one of that name. Signing up again leaves it alone.

    Examples: `everwatch monitor put u-1 site --kind http --config '{"url": "https://example.com"}' --every 30s --wait`
    · `everwatch monitor put u-1 site --kind http --config @site.json --policy '{"retries": {"max": 3}}' --if-version 1`
    """
    schedule = schedule_of(ScheduleOptions(every, cron, timezone, at, in_, align, spread, start_at, end_at, max_runs))
    given = json_of("--config", config) | json_of("--payload", payload) | json_of("--policy", policy)
    wanted: dict[str, Any] = {
        "command": "put",
        "user_id": user,
        "monitor_id": monitor,
        "monitor": {"kind": kind, "schedule": schedule, **given},
    }
    if if_version is not None:
        wanted["if_version"] = if_version
    send(wanted, command_id, delivery_of(data_dir, bootstrap_servers, wait, timeout, as_json))


@app.command()
def delete(
    user: UserArgument,
    monitor: MonitorArgument,
    command_id: CommandId = None,
    wait: Wait = False,
    timeout: Timeout = ANSWER_WITHIN,
    data_dir: DataDir = None,
    bootstrap_servers: Bootstrap = None,
    as_json: AsJson = False,
) -> None:
    """Delete a monitor; its results stay.

    Example: `everwatch monitor delete u-1 site --wait`
    """
    wanted = {"command": "delete", "user_id": user, "monitor_id": monitor}
    send(wanted, command_id, delivery_of(data_dir, bootstrap_servers, wait, timeout, as_json))


@app.command()
def pause(
    user: UserArgument,
    monitor: MonitorArgument,
    until: Annotated[str | None, typer.Option(help="Resume by itself at INSTANT.", show_default=False)] = None,
    for_: Annotated[
        str | None, typer.Option("--for", help="Resume by itself after so long, e.g. 2h.", show_default=False)
    ] = None,
    command_id: CommandId = None,
    wait: Wait = False,
    timeout: Timeout = ANSWER_WITHIN,
    data_dir: DataDir = None,
    bootstrap_servers: Bootstrap = None,
    as_json: AsJson = False,
) -> None:
    """Pause a monitor: until it is resumed, or for a while.

    Examples: `everwatch monitor pause u-1 site` · `everwatch monitor pause u-1 site --for 2h --wait` ·
    `everwatch monitor pause u-1 site --until 2026-11-21T09:00:00+01:00`
    """
    if until is not None and for_ is not None:
        raise SettingsError("Give one of --until and --for, not both.")
    wanted: dict[str, Any] = {"command": "pause", "user_id": user, "monitor_id": monitor}
    if until is not None:
        wanted["until"] = until
    elif for_ is not None:
        wanted["until"] = SystemClock().now_ms() + duration_of("--for", for_)
    send(wanted, command_id, delivery_of(data_dir, bootstrap_servers, wait, timeout, as_json))


@app.command()
def resume(
    user: UserArgument,
    monitor: MonitorArgument,
    command_id: CommandId = None,
    wait: Wait = False,
    timeout: Timeout = ANSWER_WITHIN,
    data_dir: DataDir = None,
    bootstrap_servers: Bootstrap = None,
    as_json: AsJson = False,
) -> None:
    """Let a paused monitor run again.

    Example: `everwatch monitor resume u-1 site --wait`
    """
    wanted = {"command": "resume", "user_id": user, "monitor_id": monitor}
    send(wanted, command_id, delivery_of(data_dir, bootstrap_servers, wait, timeout, as_json))


@app.command("run-now")
def run_now(
    user: UserArgument,
    monitor: MonitorArgument,
    command_id: CommandId = None,
    wait: Wait = False,
    timeout: Timeout = ANSWER_WITHIN,
    data_dir: DataDir = None,
    bootstrap_servers: Bootstrap = None,
    as_json: AsJson = False,
) -> None:
    """Run a monitor once, beside its schedule. The answer says that it was started; the result comes as any other.

    Example: `everwatch monitor run-now u-1 site --wait && everwatch results --user u-1 --monitor site --follow`
    """
    wanted = {"command": "run_now", "user_id": user, "monitor_id": monitor}
    send(wanted, command_id, delivery_of(data_dir, bootstrap_servers, wait, timeout, as_json))


@app.command("list")
def list_(user: UserArgument, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """List a user's monitors as the database has them, and when each runs next; with --json one object a line.

    Examples: `everwatch monitor list u-1` · `everwatch monitor list u-1 --json | jq .state`
    """
    now = SystemClock().now_ms()
    with database(settings_of(data_dir)) as reader:
        monitors = reader.monitors(user)
        if not monitors and reader.user(user) is None:
            raise no_user(user)
    if as_json:
        for monitor in monitors:
            typer.echo(orjson.dumps(_listed(monitor, now)).decode())
    elif monitors:
        header = ("monitor", "kind", "state", "since", "schedule", "next run")
        print_columns(header, (_row(monitor, now) for monitor in monitors))
    else:
        typer.echo(f"{user} has no monitors")


def _listed(monitor: Monitor, now: int) -> dict[str, Any]:
    coming = upcoming(monitor, now, 1)
    return {
        "monitor_id": monitor.monitor_id,
        "kind": monitor.spec.kind,
        "state": monitor.state.value,
        "state_since": monitor.state_since,
        "reason": monitor.reason,
        "version": monitor.version,
        "schedule": schedule_text(monitor.spec),
        "next_run": coming[0] if coming else None,
    }


def _row(monitor: Monitor, now: int) -> tuple[str, ...]:
    coming = upcoming(monitor, now, 1)
    return (
        monitor.monitor_id,
        monitor.spec.kind,
        monitor.state.value,
        instant_text(monitor.state_since),
        schedule_text(monitor.spec),
        instant_text(coming[0]) if coming else "-",
    )

"""What all commands to a worker have in common: their options, how one is sent, and how its answer is told."""

import inspect
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from functools import wraps
from typing import Annotated, Any, NamedTuple

import msgspec
import orjson
import typer

from everwatch.cli.options import AsJson, Bootstrap, DataDir, duration_of, ready_broker, settings_of
from everwatch.cli.publishing import Publisher
from everwatch.clock import SystemClock
from everwatch.config import Settings
from everwatch.kafka.asking import Asked, ReplyTopic, ask, asked_of, tell
from everwatch.kafka.topics import Topics
from everwatch.model import Answer, Reply

_USER = typer.Argument(metavar="USER", help="The user's id.", show_default=False)
UserArgument = Annotated[str, _USER]
OptionalUser = Annotated[str | None, _USER]
MonitorArgument = Annotated[str, typer.Argument(metavar="MONITOR", help="The monitor's id.", show_default=False)]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Wait for the worker's answer, and print it.")]
Timeout = Annotated[str, typer.Option("--timeout", help="How long to wait for an answer, with --wait.")]
CommandId = Annotated[
    str | None,
    typer.Option("--id", help="The command's id: sent again, it is carried out once; default: a new one."),
]
ANSWER_WITHIN = "30s"


class Sending(NamedTuple):
    """How a command is to be sent, as the options say that all commands have."""

    command_id: CommandId = None
    wait: Wait = False
    timeout: Timeout = ANSWER_WITHIN
    data_dir: DataDir = None
    bootstrap_servers: Bootstrap = None
    as_json: AsJson = False


class Delivery(NamedTuple):
    """How commands are sent: under which settings, whether and how long an answer is waited for."""

    settings: Settings
    wait: bool
    timeout_s: float
    as_json: bool


def with_sending(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of Sending, behind its own; it takes them as its argument ``sending``."""
    own = inspect.signature(command)
    options = inspect.signature(Sending).parameters

    @wraps(command)
    def from_options(**given: Any) -> None:
        said = Sending(**{name: given.pop(name) for name in options})
        command(**given, sending=said)

    shown = [each for each in own.parameters.values() if each.name != "sending"]
    # typer makes options of what the signature says
    from_options.__signature__ = own.replace(parameters=[*shown, *options.values()])  # type: ignore[attr-defined]
    return from_options


def delivery_of(sending: Sending) -> Delivery:
    """How these options want commands to be sent. Raises SettingsError."""
    timeout_s = duration_of("--timeout", sending.timeout) / 1000
    settings = settings_of(sending.data_dir, sending.bootstrap_servers)
    return Delivery(settings, sending.wait, timeout_s, sending.as_json)


def send(wanted: dict[str, Any], sending: Sending) -> None:
    """Send one command and print what became of it; exits with 1 if it was refused.

    Raises SettingsError and InvalidInput, before a broker is looked for; BrokerUnavailable; Unanswered.
    """
    delivery = delivery_of(sending)
    asked = asked_of(wanted | ({} if sending.command_id is None else {"command_id": sending.command_id}))
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

"""Options and output that all inputs to a worker share: how one is sent, and how its answer is printed."""

import os
import pwd
import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import msgspec
import orjson
import typer

from everwatch.cli.support.api_refusals import not_by_api
from everwatch.cli.support.input_publisher import InputPublisher
from everwatch.cli.support.input_way import InputWay, SendingOptions
from everwatch.cli.support.option_groups import with_options
from everwatch.cli.support.options import (
    AsJson,
    Bootstrap,
    DataDir,
    broker_of,
    clients_of,
    duration_of,
    ready_broker,
    settings_of,
)
from everwatch.cli.support.run_parts import run_parts
from everwatch.core.clock import SystemClock
from everwatch.core.config import Settings
from everwatch.core.errors import InvalidInput
from everwatch.kafka.command_client import Asked, Patience, ReplyReader, ask, asked_of, send_inputs
from everwatch.kafka.topic_administration import expect_topic
from everwatch.kafka.topics import Topics
from everwatch.model import Asker, CommandOutcome, Reply

if TYPE_CHECKING:
    from everwatch.kafka.clients import Clients

Wait = Annotated[
    bool, typer.Option("--wait/--no-wait", help="Wait for the worker's answer and print it; exit status 1: refused.")
]
Timeout = Annotated[str, typer.Option("--timeout", help="How long to wait for an answer, with --wait.")]
CommandId = Annotated[
    str | None,
    typer.Option(
        "--id", help="Id in the answer; of several commands with one id one is carried out; default: a new id."
    ),
]
ANSWER_WITHIN = "30s"


class Sending(NamedTuple):
    """Options that all commands have that send an input."""

    asked_id: CommandId = None
    wait: Wait = False
    timeout: Timeout = ANSWER_WITHIN
    data_dir: DataDir = None
    bootstrap_servers: Bootstrap = None
    as_json: AsJson = False


with_sending = with_options(sending=Sending)
"""Gives a command the options of Sending; it takes them as its argument ``sending``."""


def delivery_of(sending: Sending) -> SendingOptions:
    """Return the settings for sending that these options mean. Raises SettingsError."""
    timeout_s = duration_of("--timeout", sending.timeout) / 1000
    settings = settings_of(sending.data_dir, sending.bootstrap_servers)
    return SendingOptions(settings, sending.wait, timeout_s, sending.as_json)


def account_here() -> str:
    """Return the operating system's account of this process and its host, as ACCOUNT@HOST, for people to read."""
    number = os.getuid()
    try:
        account = pwd.getpwuid(number).pw_name
    except KeyError:
        # of a container that was given a number only
        account = str(number)
    return f"{account}@{socket.gethostname()}"


OnRefusal = Callable[[Reply, Settings], None]


def send(wanted: dict[str, Any], sending: Sending, on_refusal: OnRefusal | None = None) -> None:
    """Send one command and print its outcome; exits with 1 if it was refused.

    ``on_refusal``: prints more about an answer that refuses it.
    Raises SettingsError and InvalidInput, before a broker is looked for; BrokerUnavailable; Unanswered.
    """
    monitor_id = wanted.get("monitor_id", "")
    asker = Asker(wanted["command"], wanted["user_id"], monitor_id, sending.asked_id or "")
    with_id = wanted if sending.asked_id is None else wanted | {"command_id": sending.asked_id}
    send_one(lambda _: asked_of(with_id), asker, sending, on_refusal)


def send_one(
    make: Callable[[SendingOptions], Asked], asker: Asker, sending: Sending, on_refusal: OnRefusal | None = None
) -> None:
    """Send the input that ``make`` gives and print its outcome; exits with 1 if it was refused.

    ``asker``: of which it is, should it be refused before it is sent. Raises what ``send`` does.
    """
    delivery = delivery_of(sending)
    try:
        asked = make(delivery)
    except InvalidInput as error:
        if not delivery.as_json:
            raise
        said = {"answer": CommandOutcome.REFUSED, "reason": error.reason, "path": error.path, "code": error.code}
        typer.echo(orjson.dumps(_outline(asker) | said).decode())
        raise typer.Exit(1) from None
    with connected(delivery, asked) as link:
        if not delivery.wait:
            link.send([asked])
            _print_sent(asked, delivery.as_json)
            return
        for _, reply in link.ask([asked]):
            print_reply(reply, delivery.as_json)
            if reply.answer is CommandOutcome.REFUSED:
                if on_refusal is not None and not delivery.as_json:
                    on_refusal(reply, delivery.settings)
                raise typer.Exit(1)


class Link:
    """A way to the workers and, if answers are waited for, back. ``delivered``: inputs that the broker has."""

    def __init__(
        self,
        delivery: SendingOptions,
        clients: "Clients",
        bootstrap_servers: str,
        replies: ReplyReader | None,
        partition: int | None,
    ) -> None:
        self._topics = Topics.of(delivery.settings)
        self._publisher = InputPublisher(clients, bootstrap_servers, partition)
        self._replies = replies
        self._timeout_s = delivery.timeout_s

    @property
    def delivered(self) -> int:
        return self._publisher.delivered

    def send(self, inputs: Iterable[Asked]) -> None:
        """Send inputs, durably. Raises BrokerUnavailable."""
        send_inputs(self._topics, inputs, self._publisher)

    def ask(self, inputs: Iterable[Asked]) -> Iterator[tuple[Asked, Reply]]:
        """Send inputs and give their answers. Raises BrokerUnavailable, Unanswered."""
        assert self._replies is not None  # asked for by delivery.wait
        return ask(self._topics, inputs, self._publisher, self._replies, SystemClock(), Patience(self._timeout_s))


@contextmanager
def connected(delivery: SendingOptions, first: Asked, partition: int | None = None) -> Iterator[InputWay]:
    """A link to the broker, or to the API that the settings name, for inputs of which ``first`` is one.

    ``partition``: where they go; None: where their keys lead them.
    Commands make missing topics; signups and signals need theirs, with any number of partitions.
    Raises BrokerUnavailable, TopicMismatch.
    """
    settings = delivery.settings
    if (connect := run_parts().connect) is not None:
        with connect(delivery, first) as link:
            yield link
        return
    if settings.api_url:
        from everwatch.cli.support.api_connection import ApiLink, api_client  # aiohttp takes a while to import

        if partition is not None:
            raise not_by_api("This")
        with api_client(settings) as client:
            yield ApiLink(client, delivery.timeout_s, SystemClock())
        return
    topics = Topics.of(settings)
    topic = first.topic_of(topics)
    bootstrap = broker_of(settings)
    clients = clients_of(settings)
    if topic == topics.commands:
        ready_broker(settings)
    else:
        expect_topic(clients.admin(), settings, topic)
    if not delivery.wait:
        yield Link(delivery, clients, bootstrap, None, partition)
        return
    from everwatch.kafka.reply_topic import ReplyTopic  # only an answer needs a consumer

    with closing(ReplyTopic(settings, clients, SystemClock())) as replies:
        yield Link(delivery, clients, bootstrap, replies, partition)


def _outline(asker: Asker) -> dict[str, Any]:
    return {
        "command_id": asker.command_id,
        "signup_id": asker.signup_id,
        "signal_id": asker.signal_id,
        "user_id": asker.user_id,
        "monitor_id": asker.monitor_id,
        "command": asker.command,
    }


def _print_sent(asked: Asked, as_json: bool) -> None:
    asker = asked.asker
    if as_json:
        typer.echo(orjson.dumps(_outline(asker) | {"answer": None}).decode())
        return
    asked_id = asker.command_id or asker.signup_id or asker.signal_id
    with_id = f" (id {asked_id})" if asked_id else ""
    typer.echo(f"sent: {asker.command} {_subject(asker.user_id, asker.monitor_id)}{with_id}")


def print_reply(reply: Reply, as_json: bool) -> None:
    """Print the answer to an input."""
    if as_json:
        typer.echo(msgspec.json.encode(reply).decode())
        return
    said = f"{reply.command} {_subject(reply.user_id, reply.monitor_id)}"
    match reply.answer:
        case CommandOutcome.REFUSED:
            said += f": {reply.reason}" + (f" (at {reply.path})" if reply.path else "")
        case CommandOutcome.REPEATED:
            said += ": a command with this id was carried out before"
        case CommandOutcome.UNCHANGED:
            said += ": no change was needed"
        case CommandOutcome.DONE if reply.version:
            said += f", version {reply.version}"
    colour = typer.colors.RED if reply.answer is CommandOutcome.REFUSED else typer.colors.GREEN
    typer.echo(f"{typer.style(reply.answer.value, fg=colour)}: {said}")


def _subject(user_id: str, monitor_id: str) -> str:
    return f"{user_id}/{monitor_id}" if monitor_id else user_id

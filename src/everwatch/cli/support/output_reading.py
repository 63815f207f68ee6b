"""Records of an output topic, or of the database: what ``results`` and ``transitions`` have in common."""

from collections.abc import Callable, Iterator
from contextlib import closing
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Generic, Literal, NamedTuple, TypeVar

import typer
from confluent_kafka import OFFSET_END, Consumer, Message, TopicPartition

from everwatch.cli.support.database_reading import AfterOption, reading, say_next
from everwatch.cli.support.option_groups import with_options
from everwatch.cli.support.options import AsJson, Bootstrap, DataDir, broker_of, instant_of, settings_of
from everwatch.cli.support.run_parts import now_ms
from everwatch.core.clock import SystemClock
from everwatch.core.config import Settings
from everwatch.core.errors import InvalidInput, SettingsError
from everwatch.kafka.access_errors import raise_refused
from everwatch.kafka.clients import new_admin, new_consumer
from everwatch.kafka.consumed_record import Record
from everwatch.kafka.partition_bounds import bounds
from everwatch.kafka.to_end import read_to_end
from everwatch.kafka.topic_administration import expect_topic
from everwatch.kafka.topics import Topics
from everwatch.kafka.unreadable_batches import Sieve
from everwatch.schedule.instant import Bare
from everwatch.store import Reader
from everwatch.store.selections import When

if TYPE_CHECKING:
    from everwatch.cli.support.api_reading import ApiReader
    from everwatch.client import LiveEvent

Value = TypeVar("Value")


class OutputSource(StrEnum):
    """Source of an output to read."""

    DATABASE = "database"
    TOPIC = "topic"


UserOption = Annotated[str, typer.Option("--user", help="Only this user's.")]
MonitorOption = Annotated[str, typer.Option("--monitor", help="Only this monitor's (with --user).")]
LimitOption = Annotated[int, typer.Option("--limit", min=1, max=1_000_000, help="Maximum number, the newest first.")]
FollowOption = Annotated[bool, typer.Option("--follow", "-f", help="Follow the topic: print new ones as they come.")]
SourceOption = Annotated[OutputSource, typer.Option("--from", help="Where to read.")]
SinceOption = Annotated[
    str | None, typer.Option("--since", help="From then on: INSTANT, or a duration ago, e.g. 1h.", show_default=False)
]
UntilOption = Annotated[
    str | None, typer.Option("--until", help="Before then: INSTANT, or a duration ago.", show_default=False)
]


KindOption = Annotated[str, typer.Option("--kind", help="Only of monitors of this kind, e.g. http.")]


class OutputOptions(NamedTuple):
    """Options that ``results`` and ``transitions`` have in common."""

    user: UserOption = ""
    monitor: MonitorOption = ""
    kind: KindOption = ""
    since: SinceOption = None
    until: UntilOption = None
    limit: LimitOption = 20
    after: AfterOption = ""
    follow: FollowOption = False
    source: SourceOption = OutputSource.DATABASE
    data_dir: DataDir = None
    bootstrap_servers: Bootstrap = None
    as_json: AsJson = False


with_output = with_options(options=OutputOptions)
"""Gives a command the options of an output; it takes them as its argument ``options``."""


class Output(NamedTuple, Generic[Value]):
    """An output: its topic, its records, their instants, and how a page of it is read from the database.

    ``event``: its name among the live events of the API, whose field of that name holds it.
    """

    event: Literal["result", "transition"]
    topic: Callable[[Topics], str]
    decode: Callable[[bytes | None], Value]
    instant: Callable[[Value], int]
    page: Callable[["Reader | ApiReader", When], tuple[list[Value], str]]


def show_output(
    options: OutputOptions, output: Output[Value], is_wanted: Callable[[Value], bool], show: Callable[[Value], None]
) -> None:
    """Show the values that the options mean, the newest last.

    Raises SettingsError, StoreError, BrokerUnavailable, ApiError.
    """
    refuse_cursor_of_topic(options.after, options.source, follow=options.follow)
    settings = settings_of(options.data_dir, options.bootstrap_servers)
    when = interval_of(options.since, options.until)

    def is_meant(value: Any) -> bool:
        at = output.instant(value)
        return (
            options.user in ("", value.user_id)
            and options.monitor in ("", value.monitor_id)
            and options.kind in ("", value.kind)
            and when.since <= at
            and (not when.until or at < when.until)
            and is_wanted(value)
        )

    if options.follow or options.source is OutputSource.TOPIC:
        read = filter(is_meant, _values(settings, options, output))
        for value in read if options.follow else newest(read, output.instant, options.limit):
            show(value)
        return
    with reading(settings) as reader:
        found, following = output.page(reader, when)
    for value in reversed(found):
        show(value)
    say_next(following)


def _values(settings: Settings, options: OutputOptions, output: Output[Value]) -> Iterator[Value]:
    """Values of the topic; live ones through the API, if the settings name one."""
    if options.follow and settings.api_url:
        events = live_events(settings, options.user, options.monitor, output.event)
        return (getattr(event, output.event) for event in events if getattr(event, output.event))
    return from_topic(settings, output.topic(Topics.of(settings)), output.decode, follow=options.follow)


def interval_of(since: str | None, until: str | None, begins: str = "--since") -> When:
    """The interval that an option ``begins`` and --until mean. Raises SettingsError."""
    now = now_ms()
    begin = 0 if since is None else instant_of(begins, since, now, Bare.PAST)
    end = 0 if until is None else instant_of("--until", until, now, Bare.PAST)
    if end and begin >= end:
        raise SettingsError(f"There is nothing between {begins} and --until: {begins} must be the earlier one.")
    return When(begin, end)


def refuse_cursor_of_topic(cursor: str, source: OutputSource, *, follow: bool) -> None:
    """Refuse a cursor where the topic is read. Raises SettingsError."""
    if cursor and (follow or source is OutputSource.TOPIC):
        raise SettingsError("--after goes through the database page by page: omit --follow and --from topic.")


def from_topic(
    settings: Settings, topic: str, decode: Callable[[bytes | None], Value], *, follow: bool
) -> Iterator[Value]:
    """Yield the topic's values, partition by partition; with ``follow`` those from now on, without end.

    A record that cannot be decoded is reported on stderr. Raises BrokerUnavailable.
    """
    bootstrap = broker_of(settings)
    numbers = range(expect_topic(new_admin(settings, bootstrap), settings, topic))
    group = f"{settings.application}-cli-{settings.instance}"
    with closing(new_consumer(settings, bootstrap, group, **{"enable.partition.eof": not follow})) as consumer:
        sieve = Sieve(consumer, partial(new_consumer, settings, bootstrap, group), SystemClock())
        if follow:
            consumer.assign([TopicPartition(topic, number, OFFSET_END) for number in numbers])
            read = _following(consumer, topic, sieve)
        else:
            read = read_to_end(consumer, topic, {n: bounds(consumer, topic, n) for n in numbers}, sieve)
        for messages in read:
            for message in messages:
                record = Record.of(message)
                try:
                    yield decode(record.value)
                except InvalidInput as error:
                    typer.echo(
                        f"record {record.partition}/{record.offset} of {topic} cannot be read: {error}", err=True
                    )


def _following(consumer: Consumer, topic: str, sieve: Sieve) -> Iterator[list[Message]]:
    while True:
        sifted = sieve.sift(consumer.consume(1_000, 0.5))
        raise_refused(sifted.errors, topic)
        yield sifted.records


def live_events(
    settings: Settings, user_id: str, monitor_id: str, only: Literal["result", "transition"]
) -> Iterator["LiveEvent"]:
    """Yield live events of the API that the settings name, without end. Raises ApiError.

    How many were dropped, because there were more than the API gives one client, is told on stderr.
    """
    from everwatch.cli.support.api_connection import api_client

    with api_client(settings) as client:
        # ids of monitors are unique within a user only, so they are filtered here
        for event in client.live(user_id, monitor_id if user_id else "", only):
            if event.dropped:
                typer.echo(f"{event.dropped} events were left out at most: there are too many.", err=True)
            yield event


def newest(values: Iterator[Value], when: Callable[[Value], int], limit: int) -> list[Value]:
    """The newest ``limit`` of many values, the newest last; in memory there are never more than twice as many."""
    kept: list[Value] = []
    for value in values:
        kept.append(value)
        if len(kept) > 2 * limit:
            kept = sorted(kept, key=when)[-limit:]
    return sorted(kept, key=when)[-limit:]

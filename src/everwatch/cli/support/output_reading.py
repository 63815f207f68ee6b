"""Records of an output topic, or of the database: what ``results`` and ``transitions`` have in common."""

from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

import typer
from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, TopicPartition

from everwatch.cli.support.options import broker_of, instant_of
from everwatch.core.clock import SystemClock
from everwatch.core.config import Settings
from everwatch.core.errors import InvalidInput, SettingsError
from everwatch.kafka.access_errors import raise_refused
from everwatch.kafka.clients import new_admin, new_consumer
from everwatch.kafka.consumed_record import Record
from everwatch.kafka.partition_bounds import bounds
from everwatch.kafka.topics import expect_topic
from everwatch.kafka.unreadable_batches import PROBING, Sieve
from everwatch.schedule.instant import Bare

if TYPE_CHECKING:
    from everwatch.client import LiveEvent

Value = TypeVar("Value")


class OutputSource(StrEnum):
    """Where to read."""

    DATABASE = "database"
    TOPIC = "topic"


UserOption = Annotated[str, typer.Option("--user", help="Only this user's.")]
MonitorOption = Annotated[str, typer.Option("--monitor", help="Only this monitor's (with --user).")]
LimitOption = Annotated[int, typer.Option("--limit", min=1, max=1_000_000, help="At most so many, the newest.")]
FollowOption = Annotated[bool, typer.Option("--follow", "-f", help="Keep printing as they come, from the topic.")]
SourceOption = Annotated[OutputSource, typer.Option("--from", help="Where to read.")]
SinceOption = Annotated[
    str | None, typer.Option("--since", help="From then on: INSTANT, or a duration ago, e.g. 1h.", show_default=False)
]
UntilOption = Annotated[
    str | None, typer.Option("--until", help="Before then: INSTANT, or a duration ago.", show_default=False)
]


def interval_of(since: str | None, until: str | None) -> tuple[int, int]:
    """The interval that --since and --until mean, ms; 0 for no bound. Raises SettingsError."""
    now = SystemClock().now_ms()
    begin = 0 if since is None else instant_of("--since", since, now, Bare.PAST)
    end = 0 if until is None else instant_of("--until", until, now, Bare.PAST)
    if end and begin >= end:
        raise SettingsError("There is nothing between --since and --until: --since must lie further back.")
    return begin, end


def refuse_cursor_of_topic(cursor: str, source: OutputSource, *, follow: bool) -> None:
    """Refuse a cursor where the topic is read. Raises SettingsError."""
    if cursor and (follow or source is OutputSource.TOPIC):
        raise SettingsError("--after goes through the database page by page: leave --follow and --from topic away.")


def from_topic(
    settings: Settings, topic: str, decode: Callable[[bytes | None], Value], *, follow: bool
) -> Iterator[Value]:
    """What the topic holds, partition by partition; with ``follow`` what comes from now on, without end.

    A record that cannot be decoded is told on stderr. Raises BrokerUnavailable.
    """
    bootstrap = broker_of(settings)
    numbers = range(expect_topic(new_admin(settings, bootstrap), settings, topic))
    group = f"{settings.application}-cli-{settings.instance}"
    consumer = new_consumer(settings, bootstrap, group)
    try:
        sieve = Sieve(consumer, lambda: new_consumer(settings, bootstrap, group, **PROBING), SystemClock())
        held = {number: bounds(consumer, topic, number) for number in numbers}
        left = {number for number, offsets in held.items() if offsets}
        consumer.assign([TopicPartition(topic, n, OFFSET_END if follow else OFFSET_BEGINNING) for n in numbers])
        while follow or left:
            sifted = sieve.sift(consumer.consume(1_000, 0.5))
            raise_refused(sifted.errors, topic)
            left -= {each.partition for each in sifted.unreadable if each.end >= held[each.partition].stop}
            for message in sifted.records:
                record = Record.of(message)
                if record.offset + 1 >= held[record.partition].stop:
                    left.discard(record.partition)
                try:
                    yield decode(record.value)
                except InvalidInput as error:
                    typer.echo(
                        f"record {record.partition}/{record.offset} of {topic} cannot be read: {error}", err=True
                    )
    finally:
        consumer.close()


def live_events(
    settings: Settings, user_id: str, monitor_id: str, only: Literal["result", "transition"]
) -> Iterator["LiveEvent"]:
    """What comes from now on, without end, through the API that the settings name. Raises ApiError.

    How many were dropped, because there were more than the API gives one client, is told on stderr.
    """
    from everwatch.cli.support.api_connection import api_client

    with api_client(settings) as client:
        # ids of monitors are a user's, so of all users they are told apart here
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

"""``everwatch results``: what came out, from the database or live from the topic."""

import datetime
import textwrap
from collections.abc import Callable, Iterator
from enum import StrEnum
from functools import partial
from typing import Annotated

import msgspec
import typer
from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, TopicPartition

from everwatch import codec, colours
from everwatch.cli.options import AsJson, Bootstrap, DataDir, broker_of, settings_of
from everwatch.cli.stored import database
from everwatch.config import Settings
from everwatch.errors import InvalidInput
from everwatch.kafka.clients import new_admin, new_consumer
from everwatch.kafka.offsets import bounds
from everwatch.kafka.records import Record
from everwatch.kafka.topics import Topics, expect_topic
from everwatch.model import Result


class Source(StrEnum):
    """Where results are read from."""

    DATABASE = "database"
    TOPIC = "topic"


def results(
    user: Annotated[str, typer.Option(help="Only this user's.")] = "",
    monitor: Annotated[str, typer.Option(help="Only this monitor's (with --user).")] = "",
    limit: Annotated[int, typer.Option(min=1, max=1_000_000, help="At most so many, the newest.")] = 20,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Keep printing as they come, from the topic.")] = False,
    detail: Annotated[bool, typer.Option("--detail", help="Show what was kept of failures, too.")] = False,
    source: Annotated[Source, typer.Option("--from", help="Where to read.")] = Source.DATABASE,
    data_dir: DataDir = None,
    bootstrap_servers: Bootstrap = None,
    as_json: AsJson = False,
) -> None:
    """Print results, the newest last; with --json one object a line.

    Examples: `everwatch results --user u-1` · `everwatch results --follow --json | jq .reason`
    · `everwatch results --user u-1 --monitor shop --detail`
    """
    settings = settings_of(data_dir, bootstrap_servers)
    show = partial(_print, as_json=as_json, with_detail=detail)
    if follow or source is Source.TOPIC:
        _print_topic(settings, user, monitor, limit, follow, show)
        return
    with database(settings) as reader:
        for stored in reversed(reader.results(user, monitor, limit=limit)):
            show(stored.result)


def _print_topic(
    settings: Settings, user: str, monitor: str, limit: int, follow: bool, show: Callable[[Result], None]
) -> None:
    newest: list[Result] = []
    for result in _from_topic(settings, follow):
        if (user and result.user_id != user) or (monitor and result.monitor_id != monitor):
            continue
        if follow:
            show(result)
        else:
            newest.append(result)
            if len(newest) > 2 * limit:
                newest = sorted(newest, key=_when)[-limit:]
    for result in sorted(newest, key=_when)[-limit:]:
        show(result)


def _from_topic(settings: Settings, follow: bool) -> Iterator[Result]:
    bootstrap = broker_of(settings)
    topic = Topics.of(settings).results
    numbers = range(expect_topic(new_admin(settings, bootstrap), settings, topic))
    consumer = new_consumer(settings, bootstrap, f"{settings.application}-cli-{settings.instance}")
    try:
        held = {number: bounds(consumer, topic, number) for number in numbers}
        left = {number for number, offsets in held.items() if offsets}
        consumer.assign([TopicPartition(topic, n, OFFSET_END if follow else OFFSET_BEGINNING) for n in numbers])
        while follow or left:
            for message in consumer.consume(1_000, 0.5):
                if message.error() is not None:
                    continue
                record = Record.of(message)
                if record.offset + 1 >= held[record.partition].stop:
                    left.discard(record.partition)
                try:
                    yield codec.decode_result(record.value)
                except InvalidInput as error:
                    typer.echo(f"a record that is no result at {record.partition}/{record.offset}: {error}", err=True)
    finally:
        consumer.close()


def _print(result: Result, *, as_json: bool, with_detail: bool) -> None:
    if as_json:
        typer.echo(msgspec.json.encode(result).decode())
        return
    at = datetime.datetime.fromtimestamp(result.scheduled_at / 1000, datetime.UTC)
    when = at.strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
    status = typer.style(f"{result.status:<8}", fg=colours.OF_STATUS[result.status])
    typer.echo(
        f"{when}Z  {status} {result.user_id}/{result.monitor_id}  {result.kind}  {result.duration_ms:.1f} ms"
        + (f"  {result.reason}" if result.reason else "")
    )
    if with_detail and result.detail:
        typer.echo(textwrap.indent(result.detail, "    ", lambda _: True))


def _when(result: Result) -> int:
    return result.scheduled_at

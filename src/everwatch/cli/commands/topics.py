"""``everwatch topics``: create and check the topics."""

from contextlib import closing
from functools import partial
from typing import Annotated

import orjson
import typer
from rich.console import Console
from rich.table import Table

from everwatch.cli.support.api_refusals import not_by_api
from everwatch.cli.support.options import (
    AsJson,
    Bootstrap,
    DataDir,
    broker_of,
    fitted,
    settings_of,
)
from everwatch.core.config import Settings
from everwatch.core.errors import EverwatchError, SettingsError
from everwatch.kafka.clients import new_admin, new_consumer
from everwatch.kafka.consumer_groups import bounds_of
from everwatch.kafka.dead_letter_record import SourcePosition, place_of
from everwatch.kafka.peek import PEEKING
from everwatch.kafka.skipping import delete_before, first_readable, is_readable
from everwatch.kafka.topic_administration import TopicState, check_topics, ensure_topics, problems_of
from everwatch.kafka.topics import plan_topics

_WHY_NOT = "it creates topics or deletes records, for which processes of the API have no rights"

app = typer.Typer(no_args_is_help=True, help="Create and check topics, skip what cannot be read.")


@app.command()
def create(data_dir: DataDir = None, bootstrap_servers: Bootstrap = None, as_json: AsJson = False) -> None:
    """Create the topics that are missing; those that exist stay as they are. Safe to repeat.

    Example: `EVERWATCH_REPLICATION_FACTOR=3 everwatch topics create --bootstrap-servers kafka-1:9092`
    """
    settings = settings_of(data_dir, bootstrap_servers)
    _refuse_api(settings, "create")
    admin = new_admin(settings, broker_of(settings))
    _show(ensure_topics(admin, fitted(settings, admin)), as_json)


@app.command()
def check(data_dir: DataDir = None, bootstrap_servers: Bootstrap = None, as_json: AsJson = False) -> None:
    """Compare the topics with the settings and change nothing; exit status 4 if one does not fit.

    Example: `everwatch topics check --json | jq '.[] | select(.problem != "")'`
    """
    settings = settings_of(data_dir, bootstrap_servers)
    if settings.api_url:
        states, wrong = _checked_by_api(settings)
    else:
        admin = new_admin(settings, broker_of(settings))
        settings = fitted(settings, admin)
        states = check_topics(admin, settings)
        wrong = problems_of(states, settings)
    _show(states, as_json)
    for sentence in wrong if not as_json else ():
        typer.secho(sentence, fg=typer.colors.RED, err=True)
    if wrong:
        raise typer.Exit(4)


@app.command()
def skip(
    place: Annotated[
        str, typer.Argument(metavar="TOPIC/PARTITION/OFFSET", help="Where it cannot be read.", show_default=False)
    ],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be given up, and change nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    data_dir: DataDir = None,
    bootstrap_servers: Bootstrap = None,
) -> None:
    """Give up records that no process can read or pass over: `everwatch doctor` names the place under `unreadable`.

    Looks for the first offset behind the place that can be read (for up to some minutes), or the end of the partition,
    and has the broker delete everything before it. That cannot be undone. Processes go on there by themselves. With
    ACLs it needs Read and Delete on the topic. Topics that hold state (the changelog, progress) are refused.

    Example: `everwatch topics skip signups/4/1042 --dry-run`
    """
    settings = settings_of(data_dir, bootstrap_servers)
    _refuse_api(settings, "skip")
    at = _place_to_skip(place, settings)
    admin = new_admin(settings, broker_of(settings))
    held = bounds_of(admin, [(at.topic, at.partition)]).get((at.topic, at.partition))
    if held is None:
        raise EverwatchError(f"There is no partition {at.partition} of topic {at.topic}.")
    group = f"{settings.application}-skip-{settings.instance}"
    with closing(new_consumer(settings, broker_of(settings), group, **PEEKING)) as consumer:
        begin = max(at.offset, held.start)
        found = first_readable(partial(is_readable, consumer, at.topic, at.partition), begin, held.stop)
    if found <= begin:
        typer.echo(f"{place} can be read, or holds nothing: nothing is given up.")
        return
    what = f"offsets {held.start} to {found - 1} of topic {at.topic}, partition {at.partition}"
    unreadable = f"those from {begin} on cannot be read"
    if dry_run:
        typer.echo(f"It would give up {what}; {unreadable}.")
        return
    if not yes:
        typer.confirm(f"Give up {what}? {unreadable.capitalize()}, and they cannot be brought back.", abort=True)
    delete_before(admin, at.topic, at.partition, found)
    typer.echo(f"Given up: {what}.")


def _checked_by_api(settings: Settings) -> tuple[list[TopicState], list[str]]:
    """Return the topics as the API sees them, and sentences about faults. Raises ApiError."""
    from everwatch.cli.support.api_connection import api_client  # aiohttp takes a while to import

    with api_client(settings) as client:
        found = client.topics()
    return [
        TopicState(each.name, each.partitions, False, each.problem, each.hidden) for each in found.items
    ], found.problems


def _refuse_api(settings: Settings, what: str) -> None:
    """Raise SettingsError if the settings name an API."""
    if settings.api_url:
        raise not_by_api(f"'everwatch topics {what}'", _WHY_NOT)


def _place_to_skip(place: str, settings: Settings) -> SourcePosition:
    found = place_of(place)
    plans = {plan.name: plan for plan in plan_topics(settings)}
    if found is None or found.topic not in plans:
        raise SettingsError(f"{place!r} is no place: give TOPIC/PARTITION/OFFSET of one of Everwatch's topics.")
    if plans[found.topic].config["cleanup.policy"] == "compact":
        raise SettingsError(
            f"Topic {found.topic} holds state, of which nothing may be given up: see docs/changelog-loss.md,"
            " A changelog that cannot be read."
        )
    return found


def _show(states: list[TopicState], as_json: bool) -> None:
    if as_json:
        typer.echo(orjson.dumps([s.__dict__ for s in states]).decode())
        return
    table = Table("topic", "partitions", "")
    for state in states:
        table.add_row(state.name, str(state.partitions or "-"), _condition(state))
    Console().print(table)


def _condition(state: TopicState) -> str:
    """The state of one topic in a word or two; the sentence with the remedy stands below the table."""
    if not state.problem:
        return "created" if state.created else "ok"
    if state.hidden:
        return "not visible to this user"
    return "wrong number of partitions" if state.partitions else "missing"

"""``everwatch repartition``: another partition count, in a new generation of topics."""

from typing import Annotated, NamedTuple

import msgspec
import typer

from everwatch.backup.manifest import UnreadableOffsets
from everwatch.backup.source_topics import SourceTopics
from everwatch.cli.support.option_groups import with_options
from everwatch.cli.support.options import (
    CommonOptions,
    broker_of,
    fitted,
    settings_of,
)
from everwatch.cli.support.stage_progress import StageProgress
from everwatch.cli.support.stop_signals import interrupt_by_sigterm, stop_when_signalled
from everwatch.cli.support.time_display import time_text
from everwatch.cli.support.unreadable_output import warn_of_unreadable
from everwatch.core.clock import Clock, SystemClock
from everwatch.core.config import Settings, load_settings
from everwatch.core.errors import SettingsError, TopicMismatch
from everwatch.kafka.admin_client import Admin
from everwatch.kafka.clients import Clients, KafkaClients, new_admin
from everwatch.kafka.topic_administration import check_topics, expect_regions, problems_of
from everwatch.kafka.unreadable_batches import Unreadable
from everwatch.repartition.forwarding import ForwardingCallbacks, OldGeneration
from everwatch.repartition.forwarding import forward as forward_inputs
from everwatch.repartition.generation_notes import GenerationNotes
from everwatch.repartition.placing import NewPlaces, Partitioner, place_by
from everwatch.repartition.repartitioning import Repartitioning, settings_of_generation
from everwatch.repartition.repartitioning import undo as undo_repartitioning
from everwatch.repartition.surveying import Survey, survey
from everwatch.rules.generations import Generation, next_prefix, successor_of

COPY_PER_READ = 4.0
"""A copy reads the table twice, writes it, and reads the copy: each counts as one reading here."""


class RepartitionReport(msgspec.Struct, frozen=True):
    """A repartitioning as a program reads of it.

    ``prefix``, ``partitions``: settings of the new generation. ``switched``: it may be run, the old one not.
    ``records``: those that no reader had consumed, by topic. ``emitted_to``: the instant from which on ticks are due,
    ms. ``estimated_s``: of a dry run, how long a copy takes before processes must stop. ``unreadable``: what the old
    topics hold and no client can read: it is not copied.
    """

    prefix: str
    partitions: int
    switched: bool
    users: int = 0
    entries: int = 0
    entries_hash: str = ""
    partitioner: str = ""
    records: dict[str, int] = {}
    emitted_to: int = 0
    seconds: float = 0.0
    stopped_s: float = 0.0
    estimated_s: float = 0.0
    unreadable: list[UnreadableOffsets] = []


class UndoReport(msgspec.Struct, frozen=True):
    """An undone repartitioning as a program reads of it. ``opened``: the partitions that workers may run again."""

    prefix: str
    opened: list[int]


class _Place:
    """Kafka and the old generation, as the command reaches them."""

    def __init__(self, settings: Settings) -> None:
        bootstrap = broker_of(settings)
        self.clients: Clients = KafkaClients(settings, bootstrap)
        self.admin: Admin = new_admin(settings, bootstrap)
        self.settings = fitted(settings, self.admin)
        self.clock: Clock = SystemClock()

    def survey(self, partitioner: Partitioner | None, stages: StageProgress) -> Survey:
        if wrong := problems_of(check_topics(self.admin, self.settings), self.settings):
            raise TopicMismatch(" ".join(wrong))
        expect_regions(self.admin, self.settings)
        source = SourceTopics(self.settings, self.clients, self.admin, self.clock)
        return survey(source, self.settings.partitions, partitioner, self.clock, stages)


class StepOptions(NamedTuple):
    """Options that choose another step than the copy itself."""

    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be copied; change nothing.")] = False
    undo: Annotated[
        bool, typer.Option("--undo", help="Open the old topics again, unless workers have run the new ones.")
    ] = False
    forward: Annotated[
        bool, typer.Option("--forward", help="Forward what producers still send to the old topics, until Ctrl-C.")
    ] = False


@with_options(step=StepOptions, common=CommonOptions)
def repartition(
    partitions: Annotated[
        int | None, typer.Option("--partitions", metavar="N", help="Partitions of the new topics.", show_default=False)
    ] = None,
    prefix: Annotated[
        str | None,
        typer.Option(
            "--prefix",
            metavar="PREFIX",
            help="EVERWATCH_TOPIC_PREFIX of the new topics; default: that of the old ones and the next g2., g3., …",
            show_default=False,
        ),
    ] = None,
    partitioner: Annotated[
        Partitioner | None,
        typer.Option("--partitioner", help="Partitioner of all producers; default: the one that users' places show."),
    ] = None,
    *,
    step: StepOptions,
    common: CommonOptions,
) -> None:
    """Copy the installation into new topics with another partition count, prove the copy, and switch to it.

    Run it with the settings of the old topics. It copies while everything goes on, says when to stop all processes,
    and switches as soon as they have stopped. Then start them with the settings that it prints. Nothing old is deleted.
    Interrupted, it is run again, or undone. docs/repartitioning.md has the whole procedure.

    Examples: `everwatch repartition --partitions 32 --dry-run` · `everwatch repartition --partitions 32`
    · `everwatch repartition --forward` · `everwatch repartition --undo`
    """
    is_other = step.undo or step.forward
    if (step.undo and step.forward) or (is_other and (partitions is not None or prefix is not None or step.dry_run)):
        raise SettingsError("--undo and --forward each stand alone: the old topics say what they belong to.")
    settings = settings_of(common.data_dir, common.bootstrap_servers)
    if step.undo:
        _undo(settings, partitioner, common.as_json)
    elif step.forward:
        _forward(settings, partitioner, common.as_json)
    elif partitions is None:
        raise SettingsError("Say how many partitions there are to be: --partitions N.")
    else:
        _repartition(settings, _successor(settings, prefix, partitions), partitioner, step.dry_run, common.as_json)


def _successor(settings: Settings, prefix: str | None, partitions: int) -> Generation:
    wanted = next_prefix(settings.topic_prefix) if prefix is None else prefix
    # checks what was given as every setting is checked
    new = load_settings(topic_prefix=wanted, partitions=partitions)
    return Generation(new.topic_prefix, new.partitions)


def _repartition(
    settings: Settings, successor: Generation, partitioner: Partitioner | None, dry_run: bool, as_json: bool
) -> None:
    interrupt_by_sigterm()
    place = _Place(settings)
    settings = place.settings

    def print_ready(running: list[str]) -> None:
        typer.secho(
            "the table is copied and followed; stop all processes now, and the API: the switch follows by itself",
            fg=typer.colors.YELLOW,
            err=True,
        )
        typer.echo(f"still running: {', '.join(running)}", err=True)

    with StageProgress(is_quiet=as_json) as stages:
        work = Repartitioning(settings, successor, place.clients, place.admin, place.clock, stages)
        found = place.survey(partitioner, stages)
        if work.is_done():
            work.move_catalogue(found)
            _print_done(RepartitionReport(*successor, True, found.users, partitioner=found.partitioner), as_json)
            return
        if dry_run:
            counts = work.tail().counts
            estimated_s = found.seconds * COPY_PER_READ
            report = RepartitionReport(
                *successor,
                False,
                found.users,
                found.records,
                partitioner=found.partitioner,
                records=counts,
                estimated_s=estimated_s,
            )
            _print_dry_run(report, settings, as_json)
            return
        result = work.run(found, print_ready)
    _print_done(
        RepartitionReport(
            *successor,
            True,
            found.users,
            result.entries,
            result.entries_hash,
            found.partitioner,
            result.records,
            result.emitted_to,
            result.seconds,
            result.stopped_s,
            unreadable=work.unreadable,
        ),
        as_json,
    )


def _undo(settings: Settings, partitioner: Partitioner | None, as_json: bool) -> None:
    place = _Place(settings)
    settings = place.settings
    with StageProgress(is_quiet=as_json) as stages:
        found = place.survey(partitioner, stages)
        successor, opened = undo_repartitioning(settings, place.clients, place.admin, found.partitioner, stages)
    if as_json:
        typer.echo(msgspec.json.encode(UndoReport(successor.prefix if successor else "", opened)).decode())
    elif successor is None:
        typer.echo("nothing to undo: these topics are not closed")
    else:
        typer.secho("undone: start the processes again with the previous settings", fg=typer.colors.GREEN)
        typer.echo(f"the topics with the prefix {successor.prefix!r} are left, and no worker runs them")


def _forward(settings: Settings, partitioner: Partitioner | None, as_json: bool) -> None:
    place = _Place(settings)
    settings = place.settings
    noted = GenerationNotes(settings, place.clients, place.admin).read()
    successor = next((found for each in noted.values() if (found := successor_of(each.owner))), None)
    if successor is None:
        raise TopicMismatch("These topics are not closed: run 'everwatch repartition --partitions N' first.")
    with StageProgress(is_quiet=as_json) as stages:
        chosen = place.survey(partitioner, stages).partitioner
    stop = stop_when_signalled()
    if not as_json:
        typer.echo(f"forwarding signups, commands and signals to {successor.prefix!r} until Ctrl-C", err=True)

    def tell(topic: str, count: int) -> None:
        if not as_json:
            typer.echo(f"{topic}: {count} records forwarded")

    def tell_of(unreadable: Unreadable) -> None:
        place = f"{unreadable.topic}, partition {unreadable.partition}"
        typer.echo(f"not forwarded: {place}, {unreadable.refusal.reason}", err=True)

    new = settings_of_generation(settings, successor)
    old = OldGeneration(settings, place.clients, place.admin)
    places = NewPlaces(place_by(chosen, successor.partitions), successor.partitions)
    forwarded = forward_inputs(old, new, places, stop, ForwardingCallbacks(tell, tell_of), SystemClock())
    typer.echo(msgspec.json.encode({"forwarded": forwarded}).decode() if as_json else f"{forwarded} records forwarded")


def _print_dry_run(report: RepartitionReport, settings: Settings, as_json: bool) -> None:
    if as_json:
        typer.echo(msgspec.json.encode(report).decode())
        return
    typer.echo(f"{settings.partitions} → {report.partitions} partitions, prefix {report.prefix!r}")
    typer.echo(
        f"{report.users:,} users, {report.entries:,} records of the table, placed by {report.partitioner}: about"
        f" {report.estimated_s:.0f} s to copy while everything goes on"
    )
    waiting = ", ".join(f"{name} {count:,}" for name, count in report.records.items() if count)
    typer.echo(f"not consumed now, copied while everything is stopped: {waiting or 'nothing'}")


def _print_done(report: RepartitionReport, as_json: bool) -> None:
    if as_json:
        typer.echo(msgspec.json.encode(report).decode())
        return
    if report.entries_hash:
        typer.secho(
            f"switched: {report.entries:,} users and monitors, read again and equal, hash {report.entries_hash}",
            fg=typer.colors.GREEN,
        )
        typer.echo(
            f"{sum(report.records.values()):,} other records; {report.seconds:.1f} s,"
            f" {report.stopped_s:.1f} s of them with everything stopped"
        )
        if report.emitted_to:
            typer.echo(f"workers go on from {time_text(report.emitted_to)}: start them now, with")
        warn_of_unreadable(report.unreadable, "are not on the new topics")
    else:
        typer.echo("this is done already: start everything with")
    typer.echo(f"EVERWATCH_TOPIC_PREFIX={report.prefix}\nEVERWATCH_PARTITIONS={report.partitions}")

"""``everwatch restore``: a backup into empty topics and a new database."""

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from everwatch.backup.folder import read_manifest
from everwatch.backup.manifest import UnreadableOffsets
from everwatch.backup.restoring import Restoring
from everwatch.cli.support.options import (
    AsJson,
    Bootstrap,
    DataDir,
    broker_of,
    fitted_to_backup,
    prepare_data_folder,
    settings_of,
)
from everwatch.cli.support.stage_progress import StageProgress
from everwatch.cli.support.stop_signals import interrupt_by_sigterm
from everwatch.cli.support.time_display import time_text
from everwatch.cli.support.unreadable_output import warn_of_unreadable
from everwatch.core.clock import SystemClock
from everwatch.kafka.clients import KafkaClients, new_admin

_AUDITED_BEFORE_MS = 600_000
"""The audit that is advised begins so long before the instant from which on ticks are due."""


class RestoredReport(msgspec.Struct, frozen=True):
    """A restore as a program reads of it.

    ``emitted_to``: the earliest instant from which on ticks are due, ms; ``unreadable``: what the backup has left out.
    """

    folder: str
    records: int
    monitors_and_users: int
    monitors_hash: str
    emitted_to: int
    database: str
    seconds: float
    unreadable: list[UnreadableOffsets] = []


def restore(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The backup.", show_default=False)],
    data_dir: DataDir = None,
    bootstrap_servers: Bootstrap = None,
    as_json: AsJson = False,
) -> None:
    """Restore a backup into empty topics and a new database, and compare them with the backup.

    Nothing may run meanwhile. Topics that are missing are made, with the backup's configuration; the partition count
    must be the backup's. Workers take it from there: what was due since the backup fires or is skipped by the monitors'
    misfire rules. Interrupted, it leaves topics that no worker starts on: delete them and run it again.

    Examples: `everwatch restore /backups/monday` · `EVERWATCH_TOPIC_PREFIX=trial. everwatch restore /backups/monday`
    """
    settings = settings_of(data_dir, bootstrap_servers)
    interrupt_by_sigterm()
    manifest = read_manifest(folder)
    prepare_data_folder(settings)
    bootstrap = broker_of(settings)
    with StageProgress(is_quiet=as_json) as stages:
        settings = fitted_to_backup(settings, manifest.partitions)
        clients, admin = KafkaClients(settings, bootstrap), new_admin(settings, bootstrap)
        try:
            done = Restoring(settings, clients, admin, SystemClock(), stages).run(folder, manifest)
        except KeyboardInterrupt:
            typer.echo(
                "interrupted: what is restored so far is not whole, and no worker starts on it; delete the topics (and"
                " a new PostgreSQL database) before you restore again",
                err=True,
            )
            raise
    report = RestoredReport(
        str(folder),
        done.records,
        sum(part.keys for part in manifest.topic("monitors_changelog").partitions),
        done.monitors_hash,
        min((cut.emitted_to for cut in manifest.cuts if cut.emitted_to), default=0),
        manifest.database.kind.value if manifest.database else "",
        done.seconds,
        manifest.unreadable,
    )
    if as_json:
        typer.echo(msgspec.json.encode(report).decode())
        return
    typer.secho(
        f"restored: {report.records:,} records in {report.seconds:.1f} s, read again and equal", fg=typer.colors.GREEN
    )
    typer.echo(f"{report.monitors_and_users:,} users and monitors, hash {report.monitors_hash}")
    warn_of_unreadable(report.unreadable, "were not backed up")
    if not report.database:
        typer.echo("the backup holds no database: a sink makes a new one")
    if report.emitted_to:
        typer.echo(f"workers go on from {time_text(report.emitted_to)}: start them now")
        begin = time_text(report.emitted_to - _AUDITED_BEFORE_MS)
        typer.echo(f"when all processes run, audit the joint: everwatch audit --since '{begin}'")

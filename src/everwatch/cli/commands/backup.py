"""``everwatch backup``: a backup of the installation, and verification of one."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from typer.core import TyperGroup

from everwatch.backup.backing_up import BackingUp
from everwatch.backup.damage import Damaged
from everwatch.backup.folder import expect_free, read_manifest
from everwatch.backup.manifest import MANIFEST, Manifest, UnreadableOffsets
from everwatch.backup.newest import drop_older, drop_unfinished, name_of_backup
from everwatch.backup.verifying import ScratchServers, damages, has_postgresql, restore_into_scratch
from everwatch.cli.support.embedded_broker import start_broker
from everwatch.cli.support.options import (
    AsJson,
    Bootstrap,
    DataDir,
    broker_of,
    fitted,
    settings_of,
)
from everwatch.cli.support.stage_progress import StageProgress
from everwatch.cli.support.stop_signals import interrupt_by_sigterm
from everwatch.cli.support.unreadable_output import warn_of_unreadable
from everwatch.core.clock import SystemClock
from everwatch.core.config import SecurityProtocol, Settings
from everwatch.core.errors import EverwatchError, SettingsError
from everwatch.kafka.clients import KafkaClients, new_admin
from everwatch.kafka.permission_check import expect_rights
from everwatch.kafka.process_rights import ProcessRole, rights_of


class BackupReport(msgspec.Struct, frozen=True):
    """A backup as a program reads of it.

    ``unowned``: partitions that no worker owned, copied as their topics were; ``unreadable``: what is left out.
    """

    folder: str
    finished_at: int
    seconds: float
    bytes: int
    partitions: int
    monitors_and_users: int
    monitors_hash: str
    records: dict[str, int]
    results: int
    unowned: list[int]
    unreadable: list[UnreadableOffsets] = []


class VerifyReport(msgspec.Struct, frozen=True):
    """A verification as a program reads of it.

    ``damages``: a sentence for each file that is not as it was written; ``unreadable``: what the backup has left out.

    ``database_restored``: False also where ``restored`` is True, if a PostgreSQL dump was compared as a file alone.
    """

    folder: str
    damages: list[str]
    monitors_hash: str = ""
    restored: bool = False
    database_restored: bool = False
    seconds: float = 0.0
    unreadable: list[UnreadableOffsets] = []


class _BackupGroup(TyperGroup):
    """``backup DIR`` is ``backup create DIR``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        words = [each for each in args if not each.startswith("-")]
        if "--help" not in args and (not words or words[0] not in self.commands):
            args = ["create", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=_BackupGroup,
    help="Back up topics, offsets and the database into a folder, with proof of its contents."
    "\n\n`everwatch backup DIR` is `everwatch backup create DIR`."
    "\n\nExamples: `everwatch backup /backups/monday` · `everwatch backup verify /backups/monday`"
    " · `everwatch restore /backups/monday`",
)


@app.callback()
def _backup() -> None:
    """Back up topics, offsets and the database into a folder, with proof of its contents."""


@app.command()
def create(
    folder: Annotated[
        Path | None,
        typer.Argument(
            metavar="DIR",
            help="Folder to be made; default: one named after the time, in EVERWATCH_BACKUP_DIR.",
            show_default=False,
        ),
    ] = None,
    keep: Annotated[
        int,
        typer.Option(
            "--keep",
            min=0,
            help="Backups to keep in EVERWATCH_BACKUP_DIR, the newest; older ones are deleted; 0: all are kept.",
        ),
    ] = 0,
    data_dir: DataDir = None,
    bootstrap_servers: Bootstrap = None,
    as_json: AsJson = False,
) -> None:
    """Back up while everything goes on: the table of monitors, unconsumed records, offsets, and the database.

    The folder appears when all of it is on disk. It holds configs and, where EVERWATCH_SECRETS_KEY is not set, their
    secrets: keep it as private as the data folder. The key itself is not in it.

    Examples: `everwatch backup /backups/monday` · `EVERWATCH_BACKUP_DIR=/backups everwatch backup --keep 7 --json`
    """
    settings = settings_of(data_dir, bootstrap_servers)
    clock = SystemClock()
    if folder is not None and keep:
        raise SettingsError("--keep is for backups in EVERWATCH_BACKUP_DIR: omit it or the folder.")
    if folder is None:
        folder = _next_folder(settings, clock.now_ms())
        # before the backup, which finds no room for itself beside many of them
        _delete(folder.parent, lambda: drop_unfinished(folder.parent, clock.now_ms()))
    expect_free(folder)
    interrupt_by_sigterm()
    bootstrap = broker_of(settings)
    with StageProgress(is_quiet=as_json) as stages:
        clients, admin = KafkaClients(settings, bootstrap), new_admin(settings, bootstrap)
        settings = fitted(settings, admin)
        if settings.security_protocol is not SecurityProtocol.PLAINTEXT:
            expect_rights(admin, rights_of(ProcessRole.BACKUP, settings))
        manifest = BackingUp(settings, clients, admin, clock, stages).run(folder)
    report = _report(folder, manifest)
    if keep:
        _delete(folder.parent, lambda: drop_older(folder.parent, keep))
    if as_json:
        typer.echo(msgspec.json.encode(report).decode())
        return
    typer.secho(f"backed up: {folder}, {report.bytes:,} bytes in {report.seconds:.1f} s", fg=typer.colors.GREEN)
    typer.echo(f"{report.monitors_and_users:,} users and monitors, hash {report.monitors_hash}")
    typer.echo(f"{report.results:,} results in the database" if manifest.database else "no database: none is made yet")
    if report.unowned:
        typer.echo(f"no worker noted partitions {report.unowned}: they are backed up as their topics were", err=True)
    warn_of_unreadable(report.unreadable, "are not in it")


@app.command()
def verify(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The backup.", show_default=False)],
    files_only: Annotated[
        bool, typer.Option("--files-only", help="Do not restore it into a scratch Kafka; takes no Java.")
    ] = False,
    scratch_server: Annotated[
        str,
        typer.Option(
            "--scratch-server",
            metavar="URL",
            help="PostgreSQL on which a database is created, filled from the dump, compared and dropped.",
            show_default=False,
        ),
    ] = "",
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Check every file of a backup, and restore it into a scratch Kafka; exit status 1 if anything is wrong.

    The scratch Kafka and the scratch SQLite database are in a temporary folder and go when this ends. A PostgreSQL dump
    is restored into a new database on --scratch-server, by a role that may create one, and compared as a file
    without it. Prints a line for each damaged file.

    Examples: `everwatch backup verify /backups/monday` · `everwatch backup verify /backups/monday --files-only --json`
    · `everwatch backup verify /backups/monday --scratch-server postgresql://verifier@db-test/postgres`
    """
    if files_only and scratch_server:
        raise SettingsError("--files-only restores nothing: omit it or --scratch-server.")
    settings = settings_of(data_dir)
    interrupt_by_sigterm()
    clock = SystemClock()
    began_s = clock.monotonic_s()
    try:
        manifest = read_manifest(folder)
    except Damaged as damage:
        _print_verified(VerifyReport(str(folder), [str(damage)]), as_json)
        raise typer.Exit(1) from None
    has_dump = has_postgresql(manifest)
    if scratch_server and not has_dump:
        raise SettingsError("The backup holds no PostgreSQL database: omit --scratch-server.")
    with StageProgress(is_quiet=as_json) as stages:
        found = damages(folder, manifest, stages)
        restored = not found and not files_only
        if restored:
            with tempfile.TemporaryDirectory(prefix="everwatch-verify-") as scratch:
                stages.begin("starting a scratch Kafka")
                elsewhere = msgspec.structs.replace(settings, data_dir=Path(scratch), kafka_port=0)
                with start_broker(elsewhere, clock) as kafka:
                    servers = ScratchServers(kafka.bootstrap_servers, scratch_server)
                    restore_into_scratch(settings, servers, folder, manifest, clock, stages)
    seconds = clock.monotonic_s() - began_s
    database_restored = restored and bool(manifest.databases) and bool(not has_dump or scratch_server)
    said = [str(each) for each in found]
    _print_verified(
        VerifyReport(
            str(folder), said, manifest.monitors_hash, restored, database_restored, seconds, manifest.unreadable
        ),
        as_json,
    )
    if restored and has_dump and not scratch_server and not as_json:
        typer.echo("The PostgreSQL dump was compared as a file: --scratch-server restores it, too.", err=True)
    if found:
        raise typer.Exit(1)


def _next_folder(settings: Settings, now: int) -> Path:
    if settings.backup_dir is None:
        raise SettingsError("Name the folder of the backup, or set EVERWATCH_BACKUP_DIR.")
    return settings.backup_dir / name_of_backup(now)


def _delete(folder: Path, drop: Callable[[], list[Path]]) -> None:
    try:
        dropped = drop()
    except OSError as error:
        raise EverwatchError(f"Older backups in {folder} cannot be deleted: {error.strerror}.") from None
    for each in dropped:
        typer.echo(f"deleted: {each}", err=True)


def _report(folder: Path, manifest: Manifest) -> BackupReport:
    parts = manifest.topic("monitors_changelog").partitions
    size = sum(each.size for each in manifest.files.values()) + (folder / MANIFEST).stat().st_size
    return BackupReport(
        str(folder),
        manifest.finished_at,
        (manifest.finished_at - manifest.began_at) / 1000,
        size,
        manifest.partitions,
        sum(part.keys for part in parts),
        manifest.monitors_hash,
        {topic.name: sum(part.records for part in topic.partitions) for topic in manifest.topics},
        manifest.database.rows.get("results", 0) if manifest.database else 0,
        [cut.partition for cut in manifest.cuts if not cut.exact],
        manifest.unreadable,
    )


def _print_verified(report: VerifyReport, as_json: bool) -> None:
    if as_json:
        typer.echo(msgspec.json.encode(report).decode())
        return
    for sentence in report.damages:
        typer.secho(sentence, fg=typer.colors.RED)
    if report.damages:
        typer.echo(f"{report.folder} is damaged: do not rely on it")
        return
    how = "restored into a scratch Kafka and compared" if report.restored else "files compared"
    typer.secho(f"whole: {report.folder}, {how} in {report.seconds:.1f} s", fg=typer.colors.GREEN)
    typer.echo(f"hash of users and monitors: {report.monitors_hash}")
    warn_of_unreadable(report.unreadable, "were not backed up")

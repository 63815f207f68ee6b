"""Verification of a backup: its files one by one, and a restore into a scratch Kafka of its own."""

import gc
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import msgspec

from everwatch.backup.backing_up import hash_file
from everwatch.backup.damage import Damaged
from everwatch.backup.database_copy import check_sqlite
from everwatch.backup.folder import damage_of
from everwatch.backup.manifest import DatabaseKind, Manifest
from everwatch.backup.record_file import read_records
from everwatch.backup.record_hash import Hashed
from everwatch.backup.restoring import RestoreReport, Restoring
from everwatch.backup.scratch_database import scratch_database
from everwatch.backup.stages import Stages
from everwatch.core.clock import Clock
from everwatch.core.config import SecurityProtocol, Settings
from everwatch.kafka.clients import KafkaClients, new_admin


def damages(folder: Path, manifest: Manifest, stages: Stages) -> list[Damaged]:
    """Return the errors of the files of a backup, one a file; none if it is whole."""
    stages.begin("comparing the files with the manifest", len(manifest.files))
    found: list[Damaged] = []
    for file, expected in manifest.files.items():
        damage = damage_of(folder, file, expected)
        if damage is not None:
            found.append(damage)
        stages.advance(1)
    if found:
        return found
    for topic in manifest.topics:
        stages.begin(f"reading {topic.name}", sum(part.records for part in topic.partitions))
        for part in topic.partitions:
            try:
                if hash_file(folder, part.file, topic.name, stages) != Hashed(part.keys, part.hash):
                    raise Damaged(part.file, "its records do not have the hash of the manifest")
                if sum(map(len, read_records(folder, part.file))) != part.records:
                    raise Damaged(part.file, f"it does not hold {part.records} records")
            except Damaged as damage:
                found.append(damage)
    for database in manifest.databases:
        if database.kind is DatabaseKind.SQLITE:
            stages.begin("checking the database")
            try:
                check_sqlite(database, folder)
            except Damaged as damage:
                found.append(damage)
    return found


class ScratchServers(NamedTuple):
    """Servers for a trial of a restore. ``postgresql``: a URL; "" for none."""

    bootstrap_servers: str
    postgresql: str = ""


def restore_into_scratch(
    settings: Settings, scratch: ScratchServers, folder: Path, manifest: Manifest, clock: Clock, stages: Stages
) -> RestoreReport:
    """Restore into the scratch servers, and compare; the restored copy is deleted again.

    A database of PostgreSQL is restored into one that is made on its scratch server, and left out without one.
    Raises as ``Restoring.run`` and ``scratch_database`` do.
    """
    with ExitStack() as stack:
        data_dir = stack.enter_context(tempfile.TemporaryDirectory(prefix="everwatch-verify-"))
        database = ""
        if has_postgresql(manifest):
            if scratch.postgresql:
                database = stack.enter_context(scratch_database(scratch.postgresql))
            else:
                manifest = msgspec.structs.replace(manifest, database=None)
        target = msgspec.structs.replace(
            settings,
            data_dir=Path(data_dir),
            database=database,
            bootstrap_servers=scratch.bootstrap_servers,
            security_protocol=SecurityProtocol.PLAINTEXT,
            topic_prefix="verified.",
            partitions=manifest.partitions,
            regions=manifest.regions,
            region="",
            replication_factor=1,
        )
        # an admin client of librdkafka whose broker has stopped may never end: this one ends before its scratch Kafka
        stack.callback(gc.collect)
        clients = KafkaClients(target, scratch.bootstrap_servers)
        return Restoring(target, clients, new_admin(target, scratch.bootstrap_servers), clock, stages).run(
            folder, manifest
        )


def has_postgresql(manifest: Manifest) -> bool:
    """Tell whether a backup holds a dump of PostgreSQL."""
    return manifest.database is not None and manifest.database.kind is DatabaseKind.POSTGRESQL

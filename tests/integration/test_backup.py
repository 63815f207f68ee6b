"""Backup and restore of a running installation: nothing is missed and nothing counts twice over the joint.

The installation writes Confluent wire format, so that what a schema registry is for is seen on real processes, too.
"""

import gc
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson
import pytest
from conftest import NewPipeline
from support.command import run
from support.new_databases import open_new_store
from support.pipeline import Pipeline, every
from support.populated import populate
from support.postgres import Databases, PostgresServer
from support.schema_registry import StandInRegistry
from support.target import Target
from support.waiting import now_ms, wait_until

from everwatch.backup.backing_up import BackingUp
from everwatch.backup.folder import read_manifest
from everwatch.backup.manifest import Cut, Manifest, PartitionCopy, TopicCopy
from everwatch.backup.record_file import RecordWriters, StoredRecord
from everwatch.backup.record_hash import RecordsHash
from everwatch.backup.restoring import OWNER, Restoring
from everwatch.backup.scratch_database import NAME_PREFIX
from everwatch.backup.stages import Silent
from everwatch.backup.verifying import ScratchServers, damages, restore_into_scratch
from everwatch.core.clock import SystemClock
from everwatch.core.errors import TopicMismatch
from everwatch.kafka.admin_client import Admin
from everwatch.kafka.clients import KafkaClients, new_admin
from everwatch.kafka.progress import read_progress
from everwatch.kafka.to_end import BULK
from everwatch.kafka.topic_administration import ensure_topics
from everwatch.kafka.topic_configs import topic_configs
from everwatch.model import Result, State, Status
from everwatch.operations.audit import AuditReport, AuditTerms, Label, audit
from everwatch.store import Partition, Received, SinkBatch

pytestmark = pytest.mark.integration
USERS = [f"user-{number}" for number in range(12)]


@pytest.fixture(autouse=True)
def clients_end_before_their_broker() -> Iterator[None]:
    """An admin client that outlives its broker may wait for it for ever when it is collected at last."""
    yield
    gc.collect()


def says(pipeline: Pipeline, *arguments: str, status: int = 0) -> dict[str, Any]:
    said = run(*arguments, "--json", environment=pipeline.environment)
    assert said.returncode == status, said
    told: dict[str, Any] = orjson.loads(said.stdout)
    return told


def audited(pipeline: Pipeline, since: int, until: int) -> AuditReport:
    reader = pipeline.reader
    return audit(
        reader.history(),
        reader.identities(since, until),
        AuditTerms(since, until, known_since=reader.known_since()),
    )


class Watching(Silent):
    """Looks at the retention of a topic while it is compared."""

    def __init__(self, admin: Admin, topic: str) -> None:
        self._admin, self._topic = admin, topic
        self.seen: list[str] = []

    def begin(self, what: str, total: int | None = None) -> None:
        if what == f"comparing {self._topic}":
            self.seen.append(topic_configs(self._admin, [self._topic])[self._topic]["retention.ms"])


def test_an_old_backup_without_users_is_restored_whatever_the_cluster_does_with_timestamps(
    new_pipeline: NewPipeline, tmp_path: Path
) -> None:
    place = new_pipeline()
    settings, topics = place.settings, place.topics
    day_old = now_ms() - 26 * 3_600_000
    copies, files = [], {}
    with RecordWriters() as writers:
        for name in ("ticks", "signals", "replies", "trials"):
            hashed = RecordsHash()
            writer = writers.open(tmp_path, name)
            # one of a program that writes no timestamps
            for offset, at in enumerate((day_old, 0)):
                writer.add(StoredRecord(offset, at, b"anna", b"value"))
                hashed.add(b"anna", b"value", at, ())
            copies.append(
                TopicCopy(name, {"retention.ms": "86400000"}, [PartitionCopy(0, name, 0, 2, 2, *hashed.result())])
            )
        files = writers.close()
    copies.append(TopicCopy("monitors_changelog", {}, []))
    cuts = [Cut(number, day_old, 0, exact=True) for number in range(settings.partitions)]
    manifest = Manifest(1, "0.1.0", day_old, day_old, settings.partitions, copies, cuts, [], None, files, {})
    clients, admin = KafkaClients(settings, settings.bootstrap_servers), new_admin(settings, settings.bootstrap_servers)
    # a topic that the cluster's operator has made
    own = {"message.timestamp.type": "LogAppendTime", "retention.ms": "3600000"}
    ensure_topics(admin, settings, configs={topics.signals: own})
    watching = Watching(admin, topics.signals)
    report = Restoring(settings, clients, admin, SystemClock(), watching).run(tmp_path, manifest)
    # of trials nothing is restored
    assert report.records == 6
    assert watching.seen == ["-1"]
    after = topic_configs(admin, [topics.signals, topics.replies])
    assert own.items() <= after[topics.signals].items()
    assert "message.timestamp.type" not in after[topics.replies]
    assert after[topics.replies]["retention.ms"] == "86400000"
    noted = read_progress(clients.consumer("test", **BULK), topics.progress, range(settings.partitions))
    marks = {number: (each.emitted_to, each.owner.member if each.owner else "") for number, each in noted.items()}
    assert marks == dict.fromkeys(range(settings.partitions), (day_old, OWNER))


def test_a_dump_of_postgresql_is_restored_into_a_database_that_is_made_for_it_and_dropped(
    new_pipeline: NewPipeline, postgres: Databases, postgres_url: str, tmp_path: Path
) -> None:
    place = new_pipeline(database=postgres_url)
    settings, source, at = place.settings, Partition(place.topics.results, 0), now_ms() - 60_000
    clients, admin = KafkaClients(settings, settings.bootstrap_servers), new_admin(settings, settings.bootstrap_servers)
    ensure_topics(admin, settings)
    result = Result("anna", "shop", at, "http", 1, Status.SUCCESS, "", at, 1.0)
    with closing(open_new_store(settings)) as store:
        store.apply(SinkBatch(at, {source: 1}, [Received(source, 0, at, result)]))
    # a record to be compared
    assert place.send(place.topics.signals, "anna", b"{}")
    folder, servers = tmp_path / "monday", settings.bootstrap_servers
    manifest = BackingUp(settings, clients, admin, SystemClock(), Silent()).run(folder)
    assert damages(folder, manifest, Silent()) == []
    databases = "SELECT datname FROM pg_database ORDER BY 1"
    before = postgres.server.run(databases)
    watching = Stored(postgres.server)
    restore_into_scratch(settings, ScratchServers(servers, postgres_url), folder, manifest, SystemClock(), watching)
    assert watching.results == [1]
    assert postgres.server.run(databases) == before
    # what was verified is as it was
    assert place.reader.counts().results == 1


class Stored(Silent):
    """Counts the results of scratch databases, once one is restored."""

    def __init__(self, server: PostgresServer) -> None:
        self._server = server
        self.results: list[object] = []

    def begin(self, what: str, total: int | None = None) -> None:
        named = f"SELECT datname FROM pg_database WHERE datname LIKE '{NAME_PREFIX}%'"
        for (name,) in self._server.run(named) if what.startswith("comparing verified.") and not self.results else ():
            self.results += self._server.run("SELECT count(*) FROM results", str(name))[0]


@pytest.fixture(scope="module")
def registry() -> Iterator[StandInRegistry]:
    """A schema registry."""
    with StandInRegistry() as running:
        yield running


@pytest.fixture(scope="module")
def source(new_pipeline: NewPipeline, target: Target, registry: StandInRegistry) -> Pipeline:
    """A worker, an executor and a sink with checks, inline monitors, a paused one, and a user that is gone."""
    return populate(new_pipeline(schema_registry_url=registry.url, output_format="confluent"), target, USERS)


def test_a_record_with_a_schema_of_the_registry_is_taken_and_results_have_theirs(
    source: Pipeline, registry: StandInRegistry
) -> None:
    fields = [{"name": "monitor_id", "type": "string"}, {"name": "user_id", "type": "string"}]
    schema = {"type": "record", "name": "Signal", "namespace": "shop", "fields": fields}
    _, answer = registry.answer("POST", ["subjects", "shop", "versions"], orjson.dumps({"schema": str_of(schema)}), "")
    source.sign_up("beats", every("job", "heartbeat", "1s", period="1h", grace="1h"))
    source.send(source.topics.signals, "beats", b"\0" + answer["id"].to_bytes(4, "big") + b"\x06job\x0abeats")
    source.wait_for_states("beats", job="up")
    assert {(message.value() or b"x")[:1] for message in source.read(source.topics.results)} == {b"\0"}
    assert source.send(source.topics.commands, "beats", {"command": "deregister", "user_id": "beats"})
    wait_until("the user is gone", lambda: source.reader.user("beats") is None)


def str_of(schema: dict[str, Any]) -> str:
    return orjson.dumps(schema).decode()


@pytest.fixture(scope="module")
def folder(source: Pipeline, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A backup of it, made while everything goes on."""
    made = tmp_path_factory.mktemp("backups") / "first"
    told = says(source, "backup", str(made))
    assert told["monitors_and_users"] == 3 * len(USERS) - 1
    assert told["unowned"] == []
    assert not made.with_name("first.partial").exists()
    return made


def test_a_restored_installation_goes_on_where_the_backup_was_cut(
    source: Pipeline, folder: Path, new_pipeline: NewPipeline, registry: StandInRegistry
) -> None:
    began = min(result.scheduled_at for user in USERS for result in source.results(user))
    manifest = read_manifest(folder)
    cut = min(each.emitted_to for each in manifest.cuts)
    # the old place goes on for a while, and then is gone
    source.wait_for_results(USERS[2], "site", 1, after=cut)
    for process in source.processes.values():
        process.kill()

    restored = new_pipeline(schema_registry_url=registry.url, output_format="confluent")
    told = says(restored, "restore", str(folder))
    assert told["monitors_hash"] == manifest.monitors_hash
    # the database is there, with the offsets of the new topics
    offsets = restored.reader.offsets()
    assert {partition.topic for partition in offsets} <= set(restored.topics.stored)
    restored.ensure("worker", "executor", "sink")
    restored.wait_until_ready()
    joined = now_ms()
    for user in USERS:
        restored.wait_for_results(user, "site", 2, after=joined)
    assert {m.monitor_id: m.state for m in restored.reader.monitors(USERS[0])}["inline"] is State.PAUSED
    assert [m.monitor_id for m in restored.reader.monitors(USERS[1])] == ["site"]
    assert restored.reader.user("gone") is None

    until = now_ms() - 1_000
    wait_until("nothing is missed", lambda: not audited(restored, began, until).counts[Label.MISSED], 30, 1.0)
    account = audited(restored, began, until)
    assert account.is_clean, account
    assert account.ticks > 2 * len(USERS)

    # what was restored can be backed up again, and nothing is restored over it
    settings = restored.settings
    clients, admin = KafkaClients(settings, settings.bootstrap_servers), new_admin(settings, settings.bootstrap_servers)
    again = BackingUp(settings, clients, admin, SystemClock(), Silent()).run(folder.with_name("second"))
    assert all(cut.exact for cut in again.cuts)
    assert damages(folder.with_name("second"), again, Silent()) == []
    with pytest.raises(TopicMismatch, match="is not empty"):
        Restoring(settings, clients, admin, SystemClock(), Silent()).run(folder, manifest)

"""Restoring, in the order in which it must be done: a restore that is killed at any point leaves nothing that runs.

1. the files are compared with the manifest; nothing may be where they go: topics are empty, groups have no members, the
   databases are new;
2. ``progress`` says that the last owner was at an offset which the changelog does not reach: until the restore has
   ended, a worker ends with exit status 11 and does not go on with some of its monitors;
3. the records are written to their partitions with their timestamps, while retention is held off;
4. offsets of readers become those of the new topics: of consumer groups on the broker, of the sink and the notifier in
   their databases, which then get their names;
5. all of it is read again, and compared with the hashes; then the topics get their retention;
6. ``progress`` says how far ticks were emitted, and up to where the new changelog goes. Workers take it from there:
   what was due since then fires or is skipped by the monitors' misfire rules.
"""

from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException, TopicPartition

from everwatch.backup.backing_up import CHANGELOG, LATEST, LEFT_OUT
from everwatch.backup.database_copy import put_databases
from everwatch.backup.folder import damage_of
from everwatch.backup.manifest import Cut, Manifest, PartitionCopy, ReaderOffsets, TopicCopy
from everwatch.backup.offset_translation import Translation
from everwatch.backup.record_file import read_records
from everwatch.backup.record_hash import EARLIEST_MS, Hashed, LatestHash, RecordsHash
from everwatch.backup.restore_target import RestoreTarget, group_error
from everwatch.backup.retention import HeldRetention
from everwatch.backup.source_topics import SourceTopics, patiently
from everwatch.backup.stages import Stages
from everwatch.backup.topic_writer import TopicWriter
from everwatch.core.clock import Clock
from everwatch.core.config import Settings
from everwatch.core.errors import EverwatchError
from everwatch.kafka.admin_client import Admin
from everwatch.kafka.clients import Clients
from everwatch.kafka.consumed_record import Record
from everwatch.kafka.consumer_groups import executors_group
from everwatch.kafka.progress import OWNER_HEADER
from everwatch.kafka.topic_administration import ensure_topics, topic_id
from everwatch.kafka.topics import Topics
from everwatch.rules.changelog_marks import Mark, digest_of

OWNER, UNFINISHED_OWNER = "restore", "an-unfinished-restore"
"""Name of the owner in a record of progress: for sentences about a changelog that has lost records."""
_BEYOND_EVERY_OFFSET = 1 << 62


class RestoreReport(NamedTuple):
    """Summary of a restore. ``seconds``: from the first check to the last comparison."""

    manifest: Manifest
    records: int
    monitors_hash: str
    seconds: float


class Restoring:
    """One restore into the installation that ``settings`` name."""

    def __init__(self, settings: Settings, clients: Clients, admin: Admin, clock: Clock, stages: Stages) -> None:
        self._settings = settings
        self._clients = clients
        self._admin = admin
        self._clock = clock
        self._stages = stages
        self._topics = Topics.of(settings)
        self._target = SourceTopics(settings, clients, admin, clock)

    def run(self, folder: Path, manifest: Manifest) -> RestoreReport:
        """Restore a backup, and prove it.

        Raises Damaged; TopicMismatch, StoreError and EverwatchError where something is in the way; BrokerUnavailable,
        AccessError.
        """
        began_s = self._clock.monotonic_s()
        self._check_files(folder, manifest)
        self._stages.begin("looking at what is there")
        place = RestoreTarget(self._settings, self._admin, self._target, self._clock)
        place.check(folder, manifest)
        place.forget_groups()
        names = self._topics.by_name
        configs = {names[each.name]: config_to_create(each.config) for each in manifest.topics}
        ensure_topics(self._admin, self._settings, configs=configs)
        changelog_id = topic_id(self._admin, self._topics.monitors_changelog)
        producer = TopicWriter(self._clients)
        self._note_unfinished(producer, manifest.cuts, changelog_id)
        # after the note: what a killed restore has held off is refused by the next one, and not taken for real
        retention = HeldRetention(self._admin, self._topics.all, self._clock)
        retention.hold()
        topics = [each for each in manifest.topics if each.name not in LEFT_OUT]
        first = {each.name: self._target.bounds(each.name) for each in topics}
        translation = Translation()
        written = sum(
            self._write(producer, folder, topic, part, first[topic.name][part.partition].stop, translation)
            for topic in topics
            for part in topic.partitions
        )
        producer.flush()
        offsets = [translation.apply(each) for each in manifest.offsets]
        self._commit(offsets)
        if manifest.databases:
            self._stages.begin("restoring the database")
            put_databases(manifest, folder, self._settings, offsets, self._topics)
        last = self._prove(topics, first)
        retention.release()
        self._note_restored(producer, manifest.cuts, last, changelog_id)
        return RestoreReport(manifest, written, manifest.monitors_hash, self._clock.monotonic_s() - began_s)

    # --- before -----------------------------------------------------------------------------------------------------

    def _check_files(self, folder: Path, manifest: Manifest) -> None:
        self._stages.begin("comparing the files with the manifest", len(manifest.files))
        for file, expected in manifest.files.items():
            damage = damage_of(folder, file, expected)
            if damage is not None:
                raise damage
            self._stages.advance(1)

    # --- topics -----------------------------------------------------------------------------------------------------

    def _write(
        self, producer: TopicWriter, folder: Path, topic: TopicCopy, part: PartitionCopy, base: int, into: Translation
    ) -> int:
        """Write one partition's records; gives their number. Raises Damaged, EverwatchError."""
        name = self._topics.by_name[topic.name]
        if part.records:
            self._stages.begin(f"writing {name}, partition {part.partition}", part.records)
        place = into.of(topic.name, part.partition, base)
        number = part.partition
        written = 0
        for records in read_records(folder, part.file):
            for record in records:
                place.add(record.offset)
                timestamp = max(record.timestamp_ms, EARLIEST_MS)
                producer.write(name, number, record.key, record.value, timestamp, record.headers)
            written += len(records)
            producer.check()
            self._stages.advance(len(records))
        return written

    def _note_unfinished(self, producer: TopicWriter, cuts: Iterable[Cut], changelog_id: str) -> None:
        """Note on ``progress`` an owner at an offset that the changelog does not reach."""
        mark = Mark(changelog_id, _BEYOND_EVERY_OFFSET, 0, UNFINISHED_OWNER)
        self._note(producer, {cut.partition: (0, mark) for cut in cuts})

    def _note_restored(
        self, producer: TopicWriter, cuts: Iterable[Cut], last: Mapping[int, Record], changelog_id: str
    ) -> None:
        """Note on ``progress`` how far each partition is, and the ``last`` record of its changelog, if it has any."""
        notes = {}
        for cut in cuts:
            record = last.get(cut.partition)
            offset, digest = (-1, 0) if record is None else (record.offset, digest_of(record.key, record.value))
            notes[cut.partition] = cut.emitted_to, Mark(changelog_id, offset, digest, OWNER)
        self._note(producer, notes)

    def _note(self, producer: TopicWriter, notes: Mapping[int, tuple[int, Mark]]) -> None:
        for number, (emitted_to, mark) in notes.items():
            headers = ((OWNER_HEADER, mark.encode()),)
            producer.write(self._topics.progress, number, b"%d" % number, b"%d" % emitted_to, 0, headers)
        producer.flush()

    # --- offsets ----------------------------------------------------------------------------------------------------

    def _commit(self, offsets: Iterable[ReaderOffsets]) -> None:
        """Give the consumer groups the offsets of the new topics."""
        by_group: dict[str, list[TopicPartition]] = {}
        names = self._topics.by_name
        for each in offsets:
            for name, by_partition in each.offsets.items():
                group = self._group_of(each.reader, names[name])
                places = [TopicPartition(names[name], number, offset) for number, offset in by_partition.items()]
                by_group.setdefault(group, []).extend(places)
        for group, places in by_group.items():
            if not places:
                continue
            patiently(partial(self._commit_group, group, places), self._clock)

    def _commit_group(self, group: str, places: list[TopicPartition]) -> None:
        wanted = ConsumerGroupTopicPartitions(group, places)
        try:
            self._admin.alter_consumer_group_offsets([wanted], request_timeout=30)[group].result(31)
        except KafkaException as error:
            raise group_error(group, error.args[0]) from None

    def _group_of(self, reader: str, topic: str) -> str:
        application = self._settings.application
        match reader:
            case "worker":
                return f"{application}-worker-{topic}"
            case "executor":
                region = next((each.region for each in self._topics.regions if topic in each.names), "")
                return executors_group(self._settings, region)
            case _:
                return f"{application}-{reader}"

    # --- proof ------------------------------------------------------------------------------------------------------

    def _prove(self, topics: Iterable[TopicCopy], first: Mapping[str, Mapping[int, range]]) -> dict[int, Record]:
        """Read the topics again; gives the changelog's last record of each partition. Raises EverwatchError."""
        last: dict[int, Record] = {}
        for topic in topics:
            total = sum(part.records for part in topic.partitions)
            if total:
                self._stages.begin(f"comparing {self._topics.by_name[topic.name]}", total)
            ends = self._target.bounds(topic.name)
            for part in topic.partitions:
                number = part.partition
                wanted = range(first[topic.name][number].stop, ends[number].stop)
                found, newest = self._hash(topic.name, number, wanted)
                if found != Hashed(part.keys, part.hash):
                    raise EverwatchError(
                        f"Topic {self._topics.by_name[topic.name]}, partition {number} is not what was backed up: it"
                        f" holds {found.number} instead of {part.keys} records, hash {found.hash} instead of"
                        f" {part.hash}. Does another process write to it? Delete the topics and restore again."
                    )
                if topic.name == CHANGELOG and newest is not None:
                    last[number] = newest
        return last

    def _hash(self, name: str, number: int, wanted: range) -> tuple[Hashed, Record | None]:
        latest, every = LatestHash(), RecordsHash()
        newest = None
        for records in self._target.read(name, {number: wanted}):
            for record in records:
                if name in LATEST:
                    latest.add(record.key, record.value)
                else:
                    every.add(record.key, record.value, record.timestamp_ms, record.headers)
            newest = records[-1] if records else newest
            self._stages.advance(len(records))
        return (latest if name in LATEST else every).result(), newest


def config_to_create(config: Mapping[str, str]) -> dict[str, str]:
    """Return the configuration that a topic is made with; how many replicas must have a record is the new place's."""
    return {name: value for name, value in config.items() if name != "min.insync.replicas"}

"""Backing up, in the order in which it must be done.

1. offsets that workers and executors have committed: what a worker has acknowledged is in its table from then on;
2. the databases, with the offsets at which the sink and the notifier stand in them;
3. the changelog up to its end, then the cut of each partition (``cutting``), which lies behind what was read and behind
   what the databases hold, and the changelog up to the cut;
4. all other topics up to where they end after that, from where their first reader stands: whatever was emitted or done
   up to the cut is on them;
5. the files are read again, and what they hold is hashed;
6. the manifest.
"""

from collections.abc import Container, Mapping
from contextlib import closing
from pathlib import Path
from threading import Event
from typing import NamedTuple

from everwatch import __version__
from everwatch.backup.cutting import Reached, exact_cut, filter_of
from everwatch.backup.database_copy import copy_databases
from everwatch.backup.folder import NewBackup, new_backup
from everwatch.backup.manifest import FORMAT, Cut, FileCopy, Manifest, PartitionCopy, ReaderOffsets, TopicCopy
from everwatch.backup.record_file import RecordWriters, read_records
from everwatch.backup.record_hash import Hashed, LatestHash, RecordsHash
from everwatch.backup.source_topics import COMPACTED, WHOLE, SourceTopics, patiently
from everwatch.backup.stages import Stages
from everwatch.core.clock import Clock
from everwatch.core.config import Secret, Settings
from everwatch.core.errors import TopicMismatch
from everwatch.kafka.admin_client import Admin
from everwatch.kafka.clients import Clients
from everwatch.kafka.consumer_groups import Member, members_of
from everwatch.kafka.progress import read_progress
from everwatch.kafka.to_end import BULK
from everwatch.kafka.topic_administration import check_topics, expect_regions, problems_of, topic_id
from everwatch.kafka.topic_configs import rights_on, topic_configs
from everwatch.kafka.topics import TickTopics, Topics, of_any_region
from everwatch.store.database import shown_url

CHANGELOG = "monitors_changelog"
LATEST = COMPACTED
NOTED_WITHIN_S = 20.0
# between the clocks of this machine and of a worker's
CLOCKS_DIFFER_MS = 1_000
_LOOK_S = 0.2
# progress is in the manifest, since a restore writes a new one; outcomes of messages are in the notifier's tables, too;
# no client waits for an old trial, whose config may be in plain text
LEFT_OUT = frozenset({"progress", "trials", "trial_results", "notifications"})


class _Copied(NamedTuple):
    """Copy of a topic: its first and last offsets, and its files."""

    wanted: Mapping[int, range]
    files: dict[str, FileCopy]
    counts: dict[int, int]


class BackingUp:
    """One backup of the installation that ``settings`` name."""

    def __init__(self, settings: Settings, clients: Clients, admin: Admin, clock: Clock, stages: Stages) -> None:
        self._settings = settings
        self._clients = clients
        self._admin = admin
        self._clock = clock
        self._stages = stages
        self._topics = Topics.of(settings)
        self._source = SourceTopics(settings, clients, admin, clock)

    def run(self, folder: Path) -> Manifest:
        """Back up into ``folder``, which appears when all of it is durable.

        Raises TopicMismatch, StoreError, BrokerUnavailable, AccessError; EverwatchError when the disk does not take it.
        """
        with new_backup(folder) as backup:
            self._stages.begin("looking at the topics")
            if wrong := problems_of(check_topics(self._admin, self._settings), self._settings):
                raise TopicMismatch(" ".join(wrong))
            expect_regions(self._admin, self._settings)
            manifest = self._fill(backup)
            backup.finish(manifest)
        return manifest

    def _fill(self, backup: NewBackup) -> Manifest:
        began_at = self._clock.now_ms()
        configs = topic_configs(self._admin, self._topics.all)
        offsets = self._source.group_offsets()
        self._stages.begin("copying the database")
        databases = copy_databases(self._settings, backup.folder, self._topics)
        offsets += [each for copied in databases.values() for each in copied.offsets]
        cuts, changelog = self._copy_changelog(backup.folder, _furthest(("sink", "notifier"), offsets, CHANGELOG))
        copied = {CHANGELOG: changelog}
        by_number = {cut.partition: cut for cut in cuts}
        names = [name for name in self._source.names if name not in (CHANGELOG, *LEFT_OUT)]
        # all ends before the first topic is read: nothing that comes meanwhile belongs to the backup
        held = {name: self._source.bounds(name) for name in names}
        for name in names:
            copied[name] = self._copy_topic(backup.folder, name, unread(name, held[name], offsets), by_number)
        files = {file: each for copy in copied.values() for file, each in copy.files.items()}
        files |= {database.copy.file: database.file for database in databases.values()}
        copies = {field: database.copy for field, database in databases.items()}
        topics = [
            TopicCopy(name, configs[self._source.names[name]], self._hashed(backup.folder, name, copied[name]))
            for name in self._source.names
            if name in copied
        ]
        topics += [TopicCopy(name, configs[self._source.names[name]], []) for name in sorted(LEFT_OUT)]
        return Manifest(
            format=FORMAT,
            everwatch=__version__,
            began_at=began_at,
            finished_at=self._clock.now_ms(),
            partitions=self._settings.partitions,
            topics=topics,
            cuts=cuts,
            offsets=offsets,
            database=copies.get("database"),
            notifier_database=copies.get("notifier_database"),
            files=dict(sorted(files.items())),
            settings=_shown(self._settings),
            acls=rights_on(self._admin, self._settings.topic_prefix),
            unreadable=self._source.unreadable,
        )

    def _copy_changelog(self, folder: Path, stored: Mapping[int, int]) -> tuple[list[Cut], _Copied]:
        """Copy the table's changelog up to the cuts, and choose these."""
        # a note that is younger than the copies of databases covers all ticks that were emitted by then
        not_before = self._clock.now_ms() + CLOCKS_DIFFER_MS
        held = self._source.bounds(CHANGELOG)
        self._stages.begin("reading the table of monitors", sum(map(len, held.values())))
        with RecordWriters() as writers:
            open_ones = {number: writers.open(folder, _file(CHANGELOG, number)) for number in held}
            last = self._source.copy(CHANGELOG, held, open_ones, self._stages)
            # chosen only now: of a record that compaction took away meanwhile, the newer one is read, too
            reached = {
                number: Reached(not_before, max(last.get(number, -1) + 1, stored.get(number, 0))) for number in held
            }
            cuts = self._choose_cuts(reached)
            rest = {cut.partition: range(reached_from(last, held, cut), cut.changelog_end) for cut in cuts}
            self._source.copy(CHANGELOG, rest, open_ones, self._stages)
            counts = {}
            files = writers.close()
            for number, writer in open_ones.items():
                counts[number] = writer.records
        wanted = {cut.partition: range(held[cut.partition].start, cut.changelog_end) for cut in cuts}
        return cuts, _Copied(wanted, files, counts)

    def _choose_cuts(self, reached: Mapping[int, Reached]) -> list[Cut]:
        """Wait until each partition's owner has noted an instant behind the offset that is reached.

        Without an owner, take all.
        """
        self._stages.begin("waiting for the workers' progress", len(reached))
        # none: the last owner has stopped, and noted all that it emitted
        patience_s = NOTED_WITHIN_S if self._workers() else 0
        deadline_s = self._clock.monotonic_s() + patience_s
        changelog_id = topic_id(self._admin, self._topics.monitors_changelog)
        found: dict[int, Cut] = {}
        pause = Event()
        while True:
            with closing(self._clients.consumer(f"{self._settings.application}-backup", **BULK)) as consumer:
                noted = read_progress(consumer, self._topics.progress, sorted(reached.keys() - found.keys()))
            for number in sorted(reached.keys() - found.keys()):
                cut = exact_cut(number, noted.get(number), reached[number], changelog_id)
                if cut is not None:
                    found[number] = cut
                    self._stages.advance(1)
            if len(found) == len(reached):
                break
            if self._clock.monotonic_s() >= deadline_s:
                ends = self._source.bounds(CHANGELOG)
                for number in reached.keys() - found.keys():
                    emitted_to = noted[number].emitted_to if number in noted else 0
                    found[number] = Cut(number, emitted_to, ends[number].stop, exact=False)
                break
            pause.wait(_LOOK_S)
        return [found[number] for number in sorted(found)]

    def _workers(self) -> list[Member]:
        group = self._settings.application
        return patiently(lambda: members_of(self._admin, [group]), self._clock)[group]

    def _copy_topic(self, folder: Path, name: str, wanted: Mapping[int, range], cuts: Mapping[int, Cut]) -> _Copied:
        self._stages.begin(f"reading {self._source.names[name]}", sum(map(len, wanted.values())))
        with RecordWriters() as writers:
            open_ones = {number: writers.open(folder, _file(name, number)) for number in wanted}
            self._source.copy(name, wanted, open_ones, self._stages, filter_of(name, cuts))
            files = writers.close()
        return _Copied(wanted, files, {number: writer.records for number, writer in open_ones.items()})

    def _hashed(self, folder: Path, name: str, copied: _Copied) -> list[PartitionCopy]:
        self._stages.begin(f"hashing {self._source.names[name]}", sum(copied.counts.values()))
        found = []
        for number, offsets in sorted(copied.wanted.items()):
            file = _file(name, number)
            records = copied.counts[number]
            hashed = hash_file(folder, file, name, self._stages)
            found.append(PartitionCopy(number, file, offsets.start, offsets.stop, records, hashed.number, hashed.hash))
        return found


def hash_file(folder: Path, file: str, name: str, stages: Stages) -> Hashed:
    """Hash what a file of the topic ``name`` holds. Raises Damaged."""
    if name in LATEST:
        latest = LatestHash()
        for records in read_records(folder, file):
            for record in records:
                latest.add(record.key, record.value)
            stages.advance(len(records))
        return latest.result()
    every = RecordsHash()
    for records in read_records(folder, file):
        for record in records:
            every.add(record.key, record.value, record.timestamp_ms, record.headers)
        stages.advance(len(records))
    return every.result()


def reached_from(last: Mapping[int, int], held: Mapping[int, range], cut: Cut) -> int:
    """Return the offset of the changelog behind the last record that was read."""
    return last[cut.partition] + 1 if cut.partition in last else held[cut.partition].start


def _file(name: str, number: int) -> str:
    return f"topics/{name}/{number}.records"


def _furthest(readers: Container[str], offsets: list[ReaderOffsets], name: str) -> dict[int, int]:
    """Return the largest offset at which any of these readers stands in each partition of a topic."""
    found: dict[int, int] = {}
    for each in offsets:
        if each.reader in readers:
            for number, offset in each.offsets.get(name, {}).items():
                found[number] = max(offset, found.get(number, 0))
    return found


def unread(name: str, held: Mapping[int, range], offsets: list[ReaderOffsets]) -> dict[int, range]:
    """Return the offsets of a topic to be copied: from where the first of its readers stands."""
    if name in WHOLE:
        return dict(held)
    readers = [
        each.offsets.get(name, {})
        for each in offsets
        if name in each.offsets or of_any_region(name) in READ_BY[each.reader]
    ]
    wanted = {}
    for number, offsets_held in held.items():
        # a reader that has committed nothing begins at the first record
        first = min((of_reader.get(number, offsets_held.start) for of_reader in readers), default=offsets_held.start)
        wanted[number] = range(min(max(first, offsets_held.start), offsets_held.stop), offsets_held.stop)
    return wanted


READ_BY = {
    "worker": frozenset({"signups", "commands", "signals", "results"}),
    "executor": frozenset(TickTopics("", "", "", "").fields),
    "sink": frozenset({"results", "transitions", "dead_letters", "replies", "audit"}),
    "notifier": frozenset({"transitions", "incidents"}),
}
"""Which topics each reader reads from its offsets on, apart from those that are backed up whole."""


def _shown(settings: Settings) -> dict[str, str]:
    """Return the settings as text, without secrets."""
    shown = {}
    for name in settings.__struct_fields__:
        value = getattr(settings, name)
        if not isinstance(value, Secret):
            shown[name] = "" if value is None else ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
    return shown | {"database": shown_url(settings.database_url)}

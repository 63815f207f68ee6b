"""Reading of the topics that are backed up: where each reader stands, where partitions end, and their records."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from functools import partial
from typing import TypeVar

from confluent_kafka import Consumer

from everwatch.backup.manifest import ReaderOffsets, UnreadableOffsets
from everwatch.backup.record_file import RecordWriter, StoredRecord
from everwatch.backup.stages import Stages
from everwatch.core.clock import Clock
from everwatch.core.config import Settings
from everwatch.core.errors import BrokerUnavailable
from everwatch.core.retrying import retry_for
from everwatch.kafka.admin_client import Admin
from everwatch.kafka.clients import Clients
from everwatch.kafka.consumed_record import Record
from everwatch.kafka.consumer_groups import bounds_of, committed_of, executors_group
from everwatch.kafka.to_end import BULK, read_to_end
from everwatch.kafka.topics import Topics
from everwatch.kafka.unreadable_batches import Sieve, Unreadable

WORKER_INPUTS = ("signups", "commands", "signals", "results")
WHOLE = ("monitors_changelog", "access", "jobs", "cancellations")
"""Topics that are backed up from their first record on."""
COMPACTED = frozenset({"monitors_changelog", "access", "jobs"})
# the only place of users and monitors: what cannot be read of it fails a backup, as no worker opens the partition
_STATE = frozenset({"monitors_changelog"})

Keep = Callable[[Record], bool]
Value = TypeVar("Value")
PATIENCE_S = 60.0


def patiently(call: Callable[[], Value], clock: Clock) -> Value:
    """Call again while no broker answers: a cluster that is new takes a while to have leaders and group coordinators.

    Raises BrokerUnavailable after ``PATIENCE_S``.
    """
    return retry_for(PATIENCE_S, BrokerUnavailable, call, clock)


class SourceTopics:
    """The topics of one installation, read by a backup or by the proof of a restore."""

    def __init__(self, settings: Settings, clients: Clients, admin: Admin, clock: Clock) -> None:
        self._settings = settings
        self._clients = clients
        self._admin = admin
        self._clock = clock
        topics = Topics.of(settings)
        self.names = topics.by_name
        self._ticks = topics.ticks_without_region, *topics.regions
        self.ticks = tuple(name for each in self._ticks for name in each.fields)
        self._unreadable: dict[tuple[str, int, int], UnreadableOffsets] = {}

    @property
    def unreadable(self) -> list[UnreadableOffsets]:
        """Return the offsets passed over so far, in order: batches that cannot be read, by topics without prefix."""
        return [each for _, each in sorted(self._unreadable.items())]

    def group_offsets(self) -> list[ReaderOffsets]:
        """Return the committed offsets of workers and executors. Raises BrokerUnavailable, AccessError."""
        application = self._settings.application
        worker = {name: self._committed(f"{application}-worker-{self.names[name]}", name) for name in WORKER_INPUTS}
        executor = {
            name: self._committed(executors_group(self._settings, ticks.region), name)
            for ticks in self._ticks
            for name in ticks.fields
        }
        return [ReaderOffsets("worker", worker), ReaderOffsets("executor", executor)]

    def bounds(self, name: str) -> dict[int, range]:
        """Return the offsets that each partition holds now, without transactions under way.

        Waits for partitions that have no leader yet, as those of a topic that was just made. Raises BrokerUnavailable.
        """
        topic = self.names[name]
        wanted = [(topic, number) for number in range(self._settings.partitions)]

        def look() -> dict[int, range]:
            found = bounds_of(self._admin, wanted)
            if missing := [number for _, number in wanted if (topic, number) not in found]:
                raise BrokerUnavailable(f"Kafka does not report where topic {topic}, partitions {missing}, end.")
            return {number: found[topic, number] for _, number in wanted}

        return patiently(look, self._clock)

    def copy(
        self,
        name: str,
        wanted: Mapping[int, range],
        writers: Mapping[int, RecordWriter],
        stages: Stages,
        keep: Keep = lambda _: True,
    ) -> dict[int, int]:
        """Write the records at these offsets that are to be kept; gives the offset of each partition's last one.

        Raises BrokerUnavailable, RecordsUnreadable, AccessError.
        """
        last: dict[int, int] = {}
        for records in self.read(name, wanted):
            for record in records:
                last[record.partition] = record.offset
                if keep(record):
                    stored = StoredRecord(record.offset, record.timestamp_ms, record.key, record.value, record.headers)
                    writers[record.partition].add(stored)
            stages.advance(len(records))
        return last

    def read(self, name: str, wanted: Mapping[int, range]) -> Iterator[list[Record]]:
        """Yield the records at these offsets, with headers, as processes read them: without unreadable batches.

        Raises RecordsUnreadable for the changelog, BrokerUnavailable, AccessError.
        """
        if not any(wanted.values()):
            return
        topic = self.names[name]
        with closing(self._consumer(**BULK)) as consumer:
            sieve = None if name in _STATE else Sieve(consumer, self._consumer, self._clock)
            note = partial(self._note, name)
            for messages in read_to_end(consumer, topic, wanted, sieve, on_unreadable=note):
                records = [Record.of(message, with_headers=True) for message in messages]
                yield [record for record in records if record.offset < wanted[record.partition].stop]

    def _note(self, name: str, found: Unreadable) -> None:
        # topics may be read twice
        place = name, found.partition, found.first
        self._unreadable[place] = UnreadableOffsets(*place, found.end, found.reason)

    def _committed(self, group: str, name: str) -> dict[int, int]:
        topic = self.names[name]
        found = patiently(lambda: committed_of(self._admin, group), self._clock)
        return {number: offset for (of, number), offset in found.items() if of == topic}

    def _consumer(self, **more: object) -> Consumer:
        return self._clients.consumer(f"{self._settings.application}-backup-{self._settings.instance}", **more)

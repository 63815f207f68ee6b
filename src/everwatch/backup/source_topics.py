"""Reading of the topics that are backed up: where each reader stands, where partitions end, and their records."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from threading import Event

from confluent_kafka import Consumer

from everwatch.backup.manifest import ReaderOffsets
from everwatch.backup.record_file import RecordWriter, StoredRecord
from everwatch.backup.stages import Stages
from everwatch.core.clock import Clock
from everwatch.core.config import Settings
from everwatch.core.errors import BrokerUnavailable
from everwatch.kafka.admin_client import Admin
from everwatch.kafka.clients import Clients
from everwatch.kafka.consumed_record import Record
from everwatch.kafka.consumer_groups import bounds_of, committed_of, executors_group
from everwatch.kafka.to_end import BULK, read_to_end
from everwatch.kafka.topics import Topics
from everwatch.kafka.unreadable_batches import PROBING, Sieve

WORKER_INPUTS = ("signups", "commands", "signals", "results")
TICKS = ("ticks_high", "ticks", "ticks_low")
WHOLE = ("monitors_changelog", "access", "jobs", "cancellations")
"""Topics that are backed up from their first record on."""
COMPACTED = frozenset({"monitors_changelog", "access", "jobs"})
# written by Everwatch alone: what cannot be read of them fails a backup
_OWN = frozenset(WHOLE)

LEADERS_WITHIN_S = 30.0
_LOOK_S = 0.2

Keep = Callable[[Record], bool]


class SourceTopics:
    """The topics of one installation, read by a backup or by the proof of a restore."""

    def __init__(self, settings: Settings, clients: Clients, admin: Admin, clock: Clock) -> None:
        self._settings = settings
        self._clients = clients
        self._admin = admin
        self._clock = clock
        self.names = Topics.of(settings).by_name

    def group_offsets(self) -> list[ReaderOffsets]:
        """Return the committed offsets of workers and executors. Raises BrokerUnavailable, AccessError."""
        application = self._settings.application
        worker = {name: self._committed(f"{application}-worker-{self.names[name]}", name) for name in WORKER_INPUTS}
        executor = {name: self._committed(executors_group(self._settings), name) for name in TICKS}
        return [ReaderOffsets("worker", worker), ReaderOffsets("executor", executor)]

    def bounds(self, name: str) -> dict[int, range]:
        """Return the offsets that each partition holds now, without transactions under way.

        Raises BrokerUnavailable, also where a partition has no leader, as one that was just made may have none yet.
        """
        positions = [(self.names[name], number) for number in range(self._settings.partitions)]
        deadline_s, pause = self._clock.monotonic_s() + LEADERS_WITHIN_S, Event()
        while True:
            found = bounds_of(self._admin, positions)
            missing = [number for topic, number in positions if (topic, number) not in found]
            if not missing:
                return {number: found[topic, number] for topic, number in positions}
            if self._clock.monotonic_s() >= deadline_s:
                raise BrokerUnavailable(f"Topic {self.names[name]}, partitions {missing} have no leader.")
            pause.wait(_LOOK_S)

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
        """Yield the records at these offsets, with headers."""
        if not any(wanted.values()):
            return
        topic = self.names[name]
        with closing(self._consumer(**BULK)) as consumer:
            sieve = None if name in _OWN else Sieve(consumer, lambda: self._consumer(**PROBING), self._clock)
            for messages in read_to_end(consumer, topic, wanted, sieve):
                records = [Record.of(message, with_headers=True) for message in messages]
                yield [record for record in records if record.offset < wanted[record.partition].stop]

    def _committed(self, group: str, name: str) -> dict[int, int]:
        topic = self.names[name]
        return {number: offset for (of, number), offset in committed_of(self._admin, group).items() if of == topic}

    def _consumer(self, **more: object) -> Consumer:
        return self._clients.consumer(f"{self._settings.application}-backup-{self._settings.instance}", **more)

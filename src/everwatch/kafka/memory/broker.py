"""The broker in memory: topics, committed offsets, consumer groups, and the owner of each transactional id."""

import threading
import uuid
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable
from typing import NamedTuple, Protocol
from weakref import WeakSet

from everwatch.core.clock import Clock, SystemClock
from everwatch.kafka.memory.log import Headers, Log, LogEntry, LogTransaction, TransactionState

Position = tuple[str, int]
Member = Hashable
"""A consumer that has joined a group."""


class SentRecord(NamedTuple):
    """A record on its way to the broker."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    timestamp_ms: int
    headers: Headers


class Queue(Protocol):
    """A producer, as far as the broker looks at it."""

    def queued(self, topic: str) -> int:
        """Return the number of records of a topic that the producer holds."""
        ...


class MemoryKafka:
    """Topics with ``partitions`` partitions each, made when they are first named.

    Switches, each of which may be changed at any time: ``held``: topics whose records the broker does not acknowledge
    for now; ``loses``: says of a record if it is lost; ``damaged``: offsets of a partition in one batch that no client
    can read; ``denied``: topics that may not be read; ``is_away``: no broker answers. All methods are thread-safe.
    """

    def __init__(self, partitions: int = 1, clock: Clock | None = None) -> None:
        self.clock = clock or SystemClock()
        self.partitions = partitions
        self.lock = threading.RLock()
        self.changed = threading.Condition(self.lock)
        self.held: set[str] = set()
        self.loses: Callable[[SentRecord], bool] = lambda _: False
        self.damaged: dict[Position, range] = {}
        self.denied: set[str] = set()
        self.is_away = False
        self.committed: defaultdict[str, dict[Position, int]] = defaultdict(dict)
        self.groups: defaultdict[str, ConsumerGroup] = defaultdict(ConsumerGroup)
        self.epochs: defaultdict[str, int] = defaultdict(int)
        self.open: dict[str, tuple[LogTransaction, set[Position]]] = {}
        self.max_bytes: dict[str, int] = {}
        self.producers: WeakSet[Queue] = WeakSet()
        self._topics: dict[str, list[Log]] = {}
        self._ids: dict[str, str] = {}

    # --- topics -----------------------------------------------------------------------------------------------------

    def create(self, topic: str, partitions: int | None = None) -> None:
        """Make a topic, unless it is there."""
        with self.lock:
            if topic not in self._topics:
                self._topics[topic] = [Log() for _ in range(partitions or self.partitions)]
                self._ids[topic] = uuid.uuid4().hex

    def delete(self, topic: str) -> None:
        """Delete a topic with all that it holds; made again, it has another id."""
        with self.lock:
            self._topics.pop(topic, None)
            self._ids.pop(topic, None)

    def topic_names(self) -> list[str]:
        """The topics there are."""
        with self.lock:
            return list(self._topics)

    def topic_id(self, topic: str) -> str:
        """The id that the topic got when it was made."""
        self.create(topic)
        return self._ids[topic]

    def logs(self, topic: str) -> list[Log]:
        """The partitions of a topic."""
        self.create(topic)
        return self._topics[topic]

    def log(self, topic: str, partition: int) -> Log | None:
        """One partition; None if the topic has none of this number."""
        logs = self.logs(topic)
        return logs[partition] if 0 <= partition < len(logs) else None

    def records(self, topic: str) -> list[LogEntry]:
        """Return the records of a topic, partition by partition, as a read_committed consumer is given them."""
        with self.lock:
            return [entry for log in self.logs(topic) for entry in log.records()]

    def queued(self, topic: str) -> int:
        """Return the number of records of a topic that producers hold, as they are not acknowledged."""
        with self.lock:
            return sum(producer.queued(topic) for producer in self.producers)

    def append(self, sent: SentRecord, transaction: LogTransaction | None = None) -> int:
        """Write a record; gives its offset."""
        with self.changed:
            log = self.logs(sent.topic)[sent.partition]
            at = sent.timestamp_ms or self.clock.now_ms()
            offset = log.append(LogEntry(sent.key, sent.value, at, list(sent.headers), transaction))
            self.changed.notify_all()
            return offset

    # --- transactions -----------------------------------------------------------------------------------------------

    def fence(self, transactional_id: str) -> int:
        """Abort what an earlier producer of this id has open; gives the epoch of the new one."""
        with self.lock:
            self.end(transactional_id, TransactionState.ABORTED)
            self.epochs[transactional_id] += 1
            return self.epochs[transactional_id]

    def begin(self, transactional_id: str) -> LogTransaction:
        """Open a transaction."""
        with self.lock:
            transaction = LogTransaction()
            self.open[transactional_id] = transaction, set()
            return transaction

    def end(self, transactional_id: str, state: TransactionState) -> None:
        """Commit or abort the open transaction, if there is one: a marker in each partition that it wrote to."""
        with self.changed:
            transaction, touched = self.open.pop(transactional_id, (None, set()))
            if transaction is None:
                return
            transaction.state = state
            for topic, partition in touched:
                self.logs(topic)[partition].append(LogEntry(None, None, self.clock.now_ms(), is_marker=True))
            self.changed.notify_all()


class ConsumerGroup:
    """A consumer group: its members, what each holds, and what each is to hold.

    A partition goes to its new member when the old one has let go of it, in a call of ``consume`` or ``poll``, as with
    a real broker.
    """

    def __init__(self) -> None:
        self.members: dict[Member, frozenset[str]] = {}
        self.holds: dict[Member, set[Position]] = {}
        self.targets: dict[Member, set[Position]] = {}
        # members whose callback of an assignment is due, even if it is an empty one
        self.unheard: set[Member] = set()

    def join(self, member: Member, topics: Iterable[str], partitions: Callable[[str], int]) -> None:
        """Add a member, and share the partitions anew."""
        self.members[member] = frozenset(topics)
        self.holds[member] = set()
        self._share(partitions)

    def leave(self, member: Member, partitions: Callable[[str], int]) -> None:
        """Remove a member, and share the partitions anew."""
        for known in (self.members, self.holds, self.targets):
            known.pop(member, None)
        self.unheard.discard(member)
        self._share(partitions)

    def free_for(self, member: Member) -> set[Position]:
        """Return the partitions that the member is to hold, and that no member holds."""
        taken = {position for other, held in self.holds.items() if other is not member for position in held}
        return self.targets[member] - self.holds[member] - taken

    def _share(self, partitions: Callable[[str], int]) -> None:
        self.targets = {member: set() for member in self.members}
        for topic in sorted({topic for topics in self.members.values() for topic in topics}):
            members = [member for member, topics in self.members.items() if topic in topics]
            for number in range(partitions(topic)):
                self.targets[members[number * len(members) // partitions(topic)]].add((topic, number))
        self.unheard |= set(self.members)

"""The database seam: what the sink writes, what people and audits read, and the two protocols in between.

Every instant is whole milliseconds since the epoch (UTC).
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Generic, NamedTuple, Protocol, TypeVar

import msgspec

from everwatch.errors import StoreError
from everwatch.model import Monitor, Policy, Result, Schedule, State, Transition, User

Value = TypeVar("Value")


class StoreBusy(StoreError):
    """Another process holds the database's write lock; the same call may succeed a moment later."""


class Partition(NamedTuple):
    """One partition of one topic."""

    topic: str
    number: int


class Received(msgspec.Struct, Generic[Value], frozen=True, gc=False):
    """A decoded record and where it stood: its partition, its offset, its timestamp (ms)."""

    source: Partition
    offset: int
    timestamp: int
    value: Value


class Entry(msgspec.Struct, frozen=True, gc=False):
    """What a record of the monitors changelog says of one key; ``value`` None means deleted.

    ``monitor_id`` "" is the user itself: its deletion deletes all of the user's monitors too.
    """

    user_id: str
    monitor_id: str
    value: User | Monitor | None


class SinkBatch(msgspec.Struct, frozen=True):
    """What is stored in one transaction: records in the order of their topics, and where reading goes on.

    ``offsets`` gives the next offset to read of every partition that the batch holds records of.
    ``stored_at`` is the instant that new results are stamped with.
    """

    stored_at: int
    offsets: Mapping[Partition, int]
    results: list[Received[Result]] = []
    transitions: list[Received[Transition]] = []
    entries: list[Received[Entry]] = []


class StoredResult(msgspec.Struct, frozen=True):
    """A result as stored. ``deliveries``: how many distinct records delivered it (1: none was a repetition)."""

    result: Result
    stored_at: int
    deliveries: int


class Stretch(msgspec.Struct, frozen=True):
    """A stretch of time in which a monitor was active under one spec.

    Ticks are due strictly after ``since``, up to and with ``until`` (None: the stretch lasts).
    """

    user_id: str
    monitor_id: str
    version: int
    since: int
    until: int | None
    kind: str
    schedule: Schedule
    policy: Policy


class Identity(NamedTuple):
    """Which tick a result stands for; with ``skipped_count`` > 0 for all skipped up to ``skipped_until`` too."""

    user_id: str
    monitor_id: str
    scheduled_at: int
    attempt: int
    deliveries: int
    skipped_until: int
    skipped_count: int


class Counts(msgspec.Struct, frozen=True):
    """How much the database holds; ``by_state`` names only states that some monitor is in."""

    users: int
    monitors: int
    by_state: dict[State, int]
    results: int


class Store(Protocol):
    """What the sink writes to."""

    def offsets(self) -> dict[Partition, int]:
        """The next offset to read of every partition that was ever stored. Raises StoreError, StoreBusy."""
        ...

    def apply(self, batch: SinkBatch) -> None:
        """Store a batch and its offsets, all or nothing.

        Records below their partition's stored offset were stored before and change nothing. A result is held once
        for each identity: the first one stays and the others count as deliveries, but a result that ran replaces a
        skipped one; the larger ``skipped_until`` and ``skipped_count`` are kept in any case. Raises StoreError,
        StoreBusy.
        """
        ...

    def forget_offsets(self, partitions: Iterable[Partition]) -> None:
        """Forget where reading of these partitions stood, so that they are read again. Raises StoreError, StoreBusy."""
        ...

    def close(self) -> None:
        """Release the database."""
        ...


class Reader(Protocol):
    """What people and audits read. Every method raises StoreError when the database cannot be read."""

    def results(self, user_id: str = "", monitor_id: str = "", *, limit: int = 100) -> list[StoredResult]:
        """The newest results (of one user, of one monitor), the latest ``scheduled_at`` first."""
        ...

    def transitions(self, *, limit: int = 100) -> list[Transition]:
        """The newest changes of state, the latest first."""
        ...

    def monitors(self, user_id: str) -> list[Monitor]:
        """A user's monitors, by ``monitor_id``."""
        ...

    def counts(self) -> Counts:
        """How many users, monitors and results there are."""
        ...

    def history(self) -> Iterator[Stretch]:
        """Every stretch in which a monitor was active, ordered by user, monitor and ``since``; streamed."""
        ...

    def identities(self, from_ms: int, until_ms: int) -> Iterator[Identity]:
        """The results that stand for ticks due at ``from_ms`` <= t < ``until_ms``; streamed.

        Ordered by user, then ``scheduled_at``, monitor and attempt. A skipped result that began before ``from_ms``
        is among them when it reaches into the interval.
        """
        ...

    def close(self) -> None:
        """Release the database."""
        ...

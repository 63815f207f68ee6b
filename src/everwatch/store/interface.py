"""The database seam: what the sink writes, what people and audits read, and the two protocols in between.

Every instant is whole milliseconds since the epoch (UTC).
"""

from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from typing import Generic, NamedTuple, Protocol, TypeVar

import msgspec

from everwatch.core.errors import EverwatchError, StoreError
from everwatch.model import AuditEntry, Monitor, Policy, Reply, Result, Schedule, State, Transition, User
from everwatch.store.audit_log import EVERY_ENTRY, AuditSelection
from everwatch.store.availability import Availability
from everwatch.store.letters import LetterCount, LetterSelection, Redrive, StoredLetter
from everwatch.store.paging import Sort, StoredPage
from everwatch.store.partition import Partition
from everwatch.store.plan_keeping import NO_PLANS, PlanKeeping
from everwatch.store.purged_users import Purge
from everwatch.store.rollup_counts import Rollup, RollupStep

Value = TypeVar("Value")


class StoreBusy(StoreError):
    """The database is locked by another process, or its server is away; the same call may succeed a moment later."""


class Unstorable(EverwatchError):
    """A record holds what the database refuses; the same call fails again."""


class Received(msgspec.Struct, Generic[Value], frozen=True, gc=False):
    """A decoded record and where it stood: its partition, its offset, its timestamp (ms)."""

    source: Partition
    offset: int
    timestamp: int
    value: Value


class CatalogueEntry(msgspec.Struct, frozen=True, gc=False):
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
    entries: list[Received[CatalogueEntry]] = []
    letters: list[Received[StoredLetter | Redrive]] = []
    replies: list[Received[Reply]] = []
    audit: list[Received[AuditEntry]] = []


class StoredResult(msgspec.Struct, frozen=True):
    """A result as stored. ``deliveries``: how many distinct records delivered it (1: none was a repetition)."""

    result: Result
    stored_at: int
    deliveries: int


class Stretch(msgspec.Struct, frozen=True):
    """A stretch of time in which a monitor was active under one spec.

    Ticks are due strictly after ``since``, up to and with ``until`` (None: the stretch lasts), within the bounds that
    the spec sets: ``start_at``, ``end_at``, ``max_runs`` (of which ``runs`` were used up before ``since``), and with
    them ``ends_at``, the last instant at which the monitor is due; 0 for none.
    """

    user_id: str
    monitor_id: str
    version: int
    since: int
    until: int | None
    kind: str
    schedule: Schedule
    policy: Policy
    start_at: int = 0
    end_at: int = 0
    max_runs: int = 0
    runs: int = 0
    ends_at: int = 0


class TaskStatus(StrEnum):
    """What has become of a delayed task. ``running``: it is due and not over, so it waits for its run or is run."""

    PENDING = "pending"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


class StoredTask(msgspec.Struct, frozen=True):
    """A delayed task, pending or over: the last one of its name, which is kept when the worker has forgotten it.

    ``reason``: why it failed, what its run said, or why it is paused. ``created_at``: when it was first put.
    ``ended_at``: the instant of the run that ended it, or when it was cancelled; 0 while it is pending.
    ``attempt``: the retry that it waits for, 0 for none.
    """

    user_id: str
    monitor_id: str
    kind: str
    due_at: int
    status: TaskStatus
    paused: bool
    reason: str
    created_at: int
    ended_at: int
    attempt: int
    version: int
    partition: int


class Identity(NamedTuple):
    """Which tick a result stands for; with ``skipped_count`` > 0 for all skipped up to ``skipped_until`` too.

    ``status`` is the text of a ``model.Status``; ``manual``: asked for by a command, beside the schedule.
    """

    user_id: str
    monitor_id: str
    scheduled_at: int
    attempt: int
    deliveries: int
    skipped_until: int
    skipped_count: int
    manual: bool
    status: str
    started_at: int


class Selection(NamedTuple):
    """A filter of users or monitors; an empty field matches all.

    ``plan`` is the user's; ``state``, ``kind``, ``labels`` (key and value, None for any value) and ``target`` (the
    host) are those of monitors, and all of them count. A user is shown if all of these apply to one of its monitors.
    ``contains`` and ``prefix``, whatever their case: a part and the beginning of the id, of a monitor's name or target
    too; of a list of users, of their ids.
    """

    user_id: str = ""
    state: str = ""
    kind: str = ""
    plan: str = ""
    labels: tuple[tuple[str, str | None], ...] = ()
    target: str = ""
    contains: str = ""
    prefix: str = ""

    @property
    def names_monitors(self) -> bool:
        """Tell whether a user is chosen by its monitors."""
        return bool(self.state or self.kind or self.labels or self.target)


class ListedUser(msgspec.Struct, frozen=True):
    """A user in a list, with the number of monitors in each state that some of them are in."""

    user: User
    by_state: dict[State, int]


class When(NamedTuple):
    """The interval that results or transitions are shown of, ms: ``since`` <= t < ``until``; 0: without end."""

    since: int = 0
    until: int = 0


ALWAYS = When()
EVERY_LETTER = LetterSelection()


class MonitorCount(NamedTuple):
    """How many monitors there are of a state, kind and plan (of the user)."""

    state: str
    kind: str
    plan: str
    monitors: int


class CatalogueCounts(msgspec.Struct, frozen=True):
    """How many monitors there are of each state, kind and plan, and users of each plan; none that is 0."""

    monitors: tuple[MonitorCount, ...]
    users: dict[str, int]


class Counts(msgspec.Struct, frozen=True):
    """How much the database holds; ``by_state`` names only states that some monitor is in."""

    users: int
    monitors: int
    by_state: dict[State, int]
    results: int


class DatabaseVolume(NamedTuple):
    """Size of the database, bytes on disk, and figures of its age.

    ``oldest_results``: when the oldest day of results begins (PostgreSQL), or the oldest result was due (SQLite), ms;
    0: there are none. ``backed_up_at``: when the newest backup ended, ms; 0: there was none.
    """

    size: int
    oldest_results: int
    backed_up_at: int


class ResultStore(Protocol):
    """What the sink writes to."""

    def offsets(self) -> dict[Partition, int]:
        """The next offset to read of every partition that was ever stored. Raises StoreError, StoreBusy."""
        ...

    def apply(self, batch: SinkBatch) -> None:
        """Store a batch and its offsets, all or nothing.

        A put of a monitor that is due at one instant is a put of a task; the task stays when the monitor goes, as
        cancelled if it was pending, and until something else is put under its name.

        Records below their partition's stored offset were stored before and change nothing. A result is held once
        for each identity: the first one stays and the others count as deliveries, but a result that ran replaces a
        skipped one; the larger ``skipped_until`` and ``skipped_count`` are kept in any case. Roll-ups count what is
        held, so a repetition changes none. Dead letters are told apart by where they stand on their topic, replies
        by what they say, and entries of the audit log by their ids. Raises StoreError, StoreBusy.
        """
        ...

    def begin_purge(self, purge: Purge) -> None:
        """From now on store nothing that is the user's from up to ``purge.ended_at``. Raises StoreError, StoreBusy."""
        ...

    def purge_some(self, purge: Purge, most: int) -> dict[str, int]:
        """Delete at most ``most`` rows of each table that are the user's from up to ``purge.ended_at``.

        Gives how many rows of which table were deleted, none of them when nothing is left. What a user who signed up
        again has since then stays. Raises StoreError, StoreBusy.
        """
        ...

    def drop_old_pages(self) -> None:
        """Write out what a log of the database or its index of texts still holds of deleted rows, as far as others
        let it. Raises StoreError, StoreBusy."""
        ...

    def forget_offsets(self, partitions: Iterable[Partition]) -> None:
        """Forget where reading of these partitions stood, so that they are read again. Raises StoreError, StoreBusy."""
        ...

    def trim(self, now: int, most: int, plans: PlanKeeping = NO_PLANS) -> int:
        """Delete some of what is older at ``now`` (ms) than it is kept: up to ``most`` rows of each kind.

        Users of some plans keep for another time: ``plans``.

        On PostgreSQL results go a whole day at a time. Hours of roll-ups become days, and older days of results keep
        changes and failures only, if the settings say so. Returns about how many rows were looked at or went, 0 when
        nothing is too old. Raises StoreError, StoreBusy.
        """
        ...

    def volume(self) -> DatabaseVolume:
        """How large and how old the database is; costs little however much there is. Raises StoreError, StoreBusy."""
        ...

    def rebuild_rollups(self, from_ms: int, after: str = "", most: int = 50_000) -> str | None:
        """Build the roll-ups of some users anew from their results, from the begin of the day of ``from_ms`` on.

        They are the users behind ``after``, so many that they have about ``most`` results. Days of which results were
        deleted stay as they are. Returns the last user, to go on behind it, and None when all are done. May be called
        beside a sink. Raises StoreError, StoreBusy.
        """
        ...

    def close(self) -> None:
        """Release the database."""
        ...


class Reader(Protocol):
    """What people and audits read. Every method raises StoreError when the database cannot be read."""

    def offsets(self) -> dict[Partition, int]:
        """The next offset to read of every partition that was ever stored: what lies before it is in the database."""
        ...

    def results(
        self,
        user_id: str = "",
        monitor_id: str = "",
        *,
        status: str = "",
        kind: str = "",
        when: When = ALWAYS,
        after: str = "",
        limit: int = 100,
    ) -> StoredPage[StoredResult]:
        """The newest results (of one user, monitor, status, kind) due within ``when``, the latest first.

        ``after``: the cursor of the page before, here and below. Raises InvalidCursor.
        """
        ...

    def transitions(
        self,
        user_id: str = "",
        monitor_id: str = "",
        *,
        state: str = "",
        kind: str = "",
        plan: str = "",
        target: str = "",
        alerts: bool = False,
        when: When = ALWAYS,
        after: str = "",
        limit: int = 100,
    ) -> StoredPage[Transition]:
        """The newest changes of state and reminders (of one user, monitor, into one state, …) within ``when``.

        ``alerts``: only those that a person is to be told of.
        """
        ...

    def dead_letters(
        self, which: LetterSelection = EVERY_LETTER, *, when: When = ALWAYS, after: str = "", limit: int = 100
    ) -> StoredPage[StoredLetter]:
        """The newest dead letters that were refused within ``when``, the latest first."""
        ...

    def dead_letter(self, partition: int, offset: int) -> StoredLetter | None:
        """The dead letter at a place of its topic, if it is kept; the newest where the topic was made anew."""
        ...

    def count_letters(self, which: LetterSelection = EVERY_LETTER, *, when: When = ALWAYS) -> list[LetterCount]:
        """Count the dead letters of each source, code and kind of reason, the most frequent first.

        Reads those of ``when`` by an index.
        """
        ...

    def replies(
        self, user_id: str, asked_id: str = "", *, when: When = ALWAYS, after: str = "", limit: int = 100
    ) -> StoredPage[Reply]:
        """The newest answers to a user's commands, signups and signals (to that with one id), the latest first."""
        ...

    def audit(
        self, which: AuditSelection = EVERY_ENTRY, *, when: When = ALWAYS, after: str = "", limit: int = 100
    ) -> StoredPage[AuditEntry]:
        """The newest changes that were asked for over HTTP (of one user, monitor, by one token), the latest first."""
        ...

    def list_monitors(
        self, which: Selection, after: str = "", *, sort: Sort = Sort.ID, reverse: bool = False, limit: int = 1_000
    ) -> StoredPage[Monitor]:
        """A page of monitors; those of one instant, and all by id, by user and monitor."""
        ...

    def list_users(
        self, which: Selection, after: str = "", *, sort: Sort = Sort.ID, reverse: bool = False, limit: int = 1_000
    ) -> StoredPage[ListedUser]:
        """A page of users. Raises StoreError for ``Sort.STATE_SINCE``: users have no state."""
        ...

    def user(self, user_id: str) -> User | None:
        """A user, if there is one of that name."""
        ...

    def partition_of(self, user_id: str) -> int | None:
        """The number of the partition that a user is on; None if there is no such user."""
        ...

    def monitor(self, user_id: str, monitor_id: str) -> Monitor | None:
        """One monitor, if there is one of that name."""
        ...

    def monitors(self, user_id: str) -> list[Monitor]:
        """A user's monitors, by ``monitor_id``."""
        ...

    def catalogue(self, user_id: str = "") -> Iterator[tuple[User, list[Monitor]]]:
        """Every user (or one) by ``user_id``, each with all monitors by ``monitor_id``; streamed, as of one instant."""
        ...

    def count_users(self) -> int:
        """How many users there are."""
        ...

    def catalogue_counts(self) -> CatalogueCounts:
        """How many monitors and users there are of each kind of them; it costs the same however many there are."""
        ...

    def counts(self) -> Counts:
        """How many users, monitors and results there are; it goes through all results."""
        ...

    def task(self, user_id: str, task_id: str, now: int) -> StoredTask | None:
        """A delayed task as it stands at ``now``, ms; ``task_id`` is the ``monitor_id`` it was put under."""
        ...

    def tasks(
        self,
        user_id: str = "",
        status: str = "",
        from_ms: int = 0,
        until_ms: int = 0,
        *,
        now: int,
        after: str = "",
        limit: int = 100,
    ) -> StoredPage[StoredTask]:
        """Delayed tasks (of one user, of one ``TaskStatus``) due at ``from_ms`` <= t < ``until_ms``, as of ``now``.

        Ordered by ``due_at``, user and name. ``until_ms`` 0: without end.
        """
        ...

    def count_tasks(self, user_id: str = "", from_ms: int = 0, until_ms: int = 0, *, now: int) -> dict[str, int]:
        """How many delayed tasks there are of each ``TaskStatus``, 0 too; the arguments are those of ``tasks``."""
        ...

    def history(self, user_id: str = "") -> Iterator[Stretch]:
        """Every stretch in which a monitor (of one user) was active, by user, monitor and ``since``; streamed."""
        ...

    def known_since(self) -> int:
        """The instant (ms) from which on the database knows results; 0 if it is not known when it was begun.

        It is when the first batch was stored, or the earliest result if the topic still held older ones; or where
        the results begin that are kept, if others were deleted.
        """
        ...

    def rollups(self, user_id: str, monitor_id: str, step: RollupStep, when: When = ALWAYS) -> list[Rollup]:
        """The roll-ups of a monitor that begin within ``when``, the earliest first; none where it had no results.

        Hours are there for as long as they are kept. A day holds what is known of its hours.
        """
        ...

    def availability(self, user_id: str, monitor_id: str, begin: int, end: int, bars: int = 0) -> Availability:
        """For how long a monitor was in which state between ``begin`` and ``end`` (ms), and in ``bars`` parts of it.

        From its transitions, and from the maintenance windows that its policy and its user have today.
        """
        ...

    def rollups_from(self) -> int:
        """The instant (ms) from which on results count in roll-ups; 0: from the first one on."""
        ...

    def identities(self, from_ms: int, until_ms: int, user_id: str = "") -> Iterator[Identity]:
        """The results (of one user) that stand for ticks due at ``from_ms`` <= t < ``until_ms``; streamed.

        Ordered by user, then ``scheduled_at``, monitor and attempt. A skipped result that began before ``from_ms``
        is among them when it reaches into the interval.
        """
        ...

    def close(self) -> None:
        """Release the database."""
        ...

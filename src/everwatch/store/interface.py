"""The database seam: the protocols of what the sink writes to, and of what people and audits read.

Every instant is whole milliseconds since the epoch (UTC).
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

from everwatch.core.errors import EverwatchError, StoreError
from everwatch.model import AuditEntry, Monitor, Reply, Transition, User
from everwatch.store.audit_log import EVERY_ENTRY, AuditSelection
from everwatch.store.availability import Availability
from everwatch.store.letters import EVERY_LETTER, LetterCount, LetterSelection, StoredLetter
from everwatch.store.paging import Sort, StoredPage
from everwatch.store.partition import Partition
from everwatch.store.plan_keeping import NO_PLANS, PlanKeeping
from everwatch.store.purged_users import AskedPurge, Purge, PurgeOutcome, StoredPurge
from everwatch.store.rollup_counts import Rollup, RollupStep
from everwatch.store.selections import (
    ALWAYS,
    EVERY_RESULT,
    EVERY_TRANSITION,
    ResultSelection,
    Selection,
    TransitionSelection,
    When,
)
from everwatch.store.sink_batch import SinkBatch
from everwatch.store.stored_values import (
    CatalogueCounts,
    Counts,
    DatabaseVolume,
    FormerSpec,
    Identity,
    ListedUser,
    StoredResult,
    StoredTask,
    Stretch,
)


class StoreBusy(StoreError):
    """Another process has locked the database, or its server is unavailable; the call may succeed a moment later."""


class Unstorable(EverwatchError):
    """A record holds what the database refuses; the same call fails again."""


class ResultStore(Protocol):
    """The database for writing, as the sink uses it."""

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
        held, so a repetition changes none. The identity of a dead letter is its place on the topic, that of a reply
        its content, that of an entry of the audit log its id, that of a purge its key. A purge of the same key whose
        user ended later is to be carried out anew. Raises StoreError, StoreBusy.
        """
        ...

    def begin_purge(self, *begun: Purge) -> None:
        """Store no more records of each user from up to its purge's ``ended_at``; none is taken back.

        Raises StoreError, StoreBusy.
        """
        ...

    def purge_some(self, purge: Purge, most: int) -> dict[str, int]:
        """Delete at most ``most`` rows of each table that are the user's from up to ``purge.ended_at``.

        Returns the number of deleted rows by table, empty when nothing is left. Later rows of a user who signed up
        again stay. A stored purge of ``purge.key`` counts them. Raises StoreError, StoreBusy.
        """
        ...

    def purges_to_do(self, after: AskedPurge | None = None) -> list[AskedPurge]:
        """Return some stored purges that are not over, the oldest first, those behind ``after``.

        Raises StoreError, StoreBusy.
        """
        ...

    def partition_of_watched(self, user_id: str, until: int) -> int | None:
        """Return the partition of a user that registered up to ``until`` (ms). Raises StoreError, StoreBusy."""
        ...

    def finish_purge(self, asked: AskedPurge, outcome: PurgeOutcome, now: int) -> None:
        """Note that a purge is over, and forget whose it was; not if it was asked for again since.

        Raises StoreError, StoreBusy.
        """
        ...

    def drop_old_pages(self) -> None:
        """Write out what a log of the database or its index of texts still holds of deleted rows, as far as others
        let it. Raises StoreError, StoreBusy.
        """
        ...

    def forget_offsets(self, partitions: Iterable[Partition]) -> None:
        """Forget where reading of these partitions stood, so that they are read again. Raises StoreError, StoreBusy."""
        ...

    def trim(self, now: int, most: int, plans: PlanKeeping = NO_PLANS) -> int:
        """Delete some rows that are older at ``now`` (ms) than they are kept: up to ``most`` rows of each kind.

        Users of some plans keep for another time: ``plans``.

        On PostgreSQL results go a whole day at a time. Hours of roll-ups become days, and older days of results keep
        changes and failures only, if the settings say so. Returns about how many rows were looked at or went, 0 when
        nothing is too old. Raises StoreError, StoreBusy.
        """
        ...

    def volume(self) -> DatabaseVolume:
        """Size and age of the database; the cost does not depend on the size. Raises StoreError, StoreBusy."""
        ...

    def rebuild_rollups(self, from_ms: int, after: str = "", most: int = 50_000) -> str | None:
        """Build the roll-ups of some users anew from their results, from the begin of the day of ``from_ms`` on.

        They are the users behind ``after`` that together have about ``most`` results. Days of which results were
        deleted stay as they are. Returns the last user, to go on behind it, and None when all are done. May be called
        beside a sink. Raises StoreError, StoreBusy.
        """
        ...

    def close(self) -> None:
        """Release the database."""
        ...


class Reader(Protocol):
    """The database for reading. Every method raises StoreError when the database cannot be read."""

    def offsets(self) -> dict[Partition, int]:
        """The next offset to read of every partition that was ever stored: records before it are in the database."""
        ...

    def results(
        self, which: ResultSelection = EVERY_RESULT, *, when: When = ALWAYS, after: str = "", limit: int = 100
    ) -> StoredPage[StoredResult]:
        """The newest results that were due within ``when``, the latest first.

        ``after``: the cursor of the page before, here and below. Raises InvalidCursor.
        """
        ...

    def transitions(
        self, which: TransitionSelection = EVERY_TRANSITION, *, when: When = ALWAYS, after: str = "", limit: int = 100
    ) -> StoredPage[Transition]:
        """The newest changes of state and reminders within ``when``, the latest first."""
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

    def purge(self, user_id: str, command_id: str) -> StoredPurge | None:
        """The purge of a user by a command, if the sink knows of it; it is kept for a week after it was over."""
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

    def list_monitor_ids(self, which: Selection, after: str = "", *, limit: int = 1_000) -> StoredPage[tuple[str, str]]:
        """A page of the users and names of monitors, in the order of these; cursors are those of ``list_monitors``."""
        ...

    def list_users(
        self, which: Selection, after: str = "", *, sort: Sort = Sort.ID, reverse: bool = False, limit: int = 1_000
    ) -> StoredPage[ListedUser]:
        """A page of users. Raises StoreError for ``Sort.STATE_SINCE``: users have no state."""
        ...

    def user(self, user_id: str) -> User | None:
        """A user, if there is one of that name."""
        ...

    def monitor_versions(self, user_id: str, monitor_ids: Sequence[str]) -> dict[str, int]:
        """The versions of some of a user's monitors, by their ids; those that do not exist are left out."""
        ...

    def partition_of(self, user_id: str) -> int | None:
        """The number of the partition that a user is on; None if there is no such user."""
        ...

    def monitor(self, user_id: str, monitor_id: str) -> Monitor | None:
        """One monitor, if there is one of that name."""
        ...

    def former_specs(self, user_id: str, monitor_id: str, *, limit: int = 50) -> list[FormerSpec]:
        """The earlier versions of a monitor's spec, the latest first; those that no sink saw are missing."""
        ...

    def monitors(self, user_id: str) -> list[Monitor]:
        """A user's monitors, by ``monitor_id``."""
        ...

    def catalogue(self, user_id: str = "") -> Iterator[tuple[User, list[Monitor]]]:
        """Every user (or one) by ``user_id``, each with all monitors by ``monitor_id``; streamed, as of one instant."""
        ...

    def count_users(self) -> int:
        """Number of users."""
        ...

    def catalogue_counts(self) -> CatalogueCounts:
        """Numbers of monitors and users by kind, from counters: the cost does not depend on how many there are."""
        ...

    def counts(self) -> Counts:
        """Numbers of users, monitors and results; counts all results one by one."""
        ...

    def task(self, user_id: str, task_id: str, now: int) -> StoredTask | None:
        """A delayed task as it stands at ``now``, ms; ``task_id`` is the ``monitor_id`` it was put under."""
        ...

    def tasks(
        self, user_id: str = "", status: str = "", *, when: When = ALWAYS, now: int, after: str = "", limit: int = 100
    ) -> StoredPage[StoredTask]:
        """Delayed tasks (of one user, of one ``TaskStatus``) that are due within ``when``, as they stand at ``now``.

        ``now``: ms. Ordered by ``due_at``, user and name.
        """
        ...

    def count_tasks(self, user_id: str = "", *, when: When = ALWAYS, now: int) -> dict[str, int]:
        """Number of delayed tasks of each ``TaskStatus``, 0 included; arguments as of ``tasks``."""
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

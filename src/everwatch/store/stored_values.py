"""Values and counts that readers of the database return. Every instant is whole milliseconds since the epoch."""

from enum import StrEnum
from typing import NamedTuple

import msgspec

from everwatch.model import MonitorSpec, Origin, Policy, Result, Schedule, State, Status, User


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


class FormerSpec(msgspec.Struct, frozen=True):
    """An earlier version of a monitor's spec, and when the next version was stored (ms)."""

    version: int
    spec: MonitorSpec
    origin: Origin
    replaced_at: int


class TaskStatus(StrEnum):
    """Status of a delayed task. ``running``: it is due and not over, so it waits for its run or is run."""

    PENDING = "pending"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


class StoredTask(msgspec.Struct, frozen=True):
    """A delayed task, pending or over: the last one of its name, which is kept when the worker has forgotten it.

    ``reason``: why it failed, what its run said, or why it is paused. ``created_at``: when it was first put.
    ``ended_at``: the instant of the run that ended it, or when it was cancelled; 0 while it is pending.
    ``attempt``: the retry that it waits for, 0 for none. ``outcome``: how the run ended that ended it; None if none
    did, and in rows of older versions.
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
    outcome: Status | None = None


class Identity(NamedTuple):
    """Identity of the tick of a result; with ``skipped_count`` > 0 for all skipped up to ``skipped_until`` too.

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
    region: str = ""


class ListedUser(msgspec.Struct, frozen=True):
    """A user in a list, with the number of monitors in each state that some of them are in."""

    user: User
    by_state: dict[State, int]


class MonitorCount(NamedTuple):
    """Number of monitors of a state, kind and plan (of the user)."""

    state: str
    kind: str
    plan: str
    monitors: int


class CatalogueCounts(msgspec.Struct, frozen=True):
    """Numbers of monitors by state, kind and plan, and of users by plan; none that is 0."""

    monitors: tuple[MonitorCount, ...]
    users: dict[str, int]


class Counts(msgspec.Struct, frozen=True):
    """Numbers of rows; ``by_state`` names only states that some monitor is in."""

    users: int
    monitors: int
    by_state: dict[State, int]
    results: int


class DatabaseVolume(NamedTuple):
    """Size of the database, bytes on disk, and how far back it goes.

    ``oldest_results``: when the oldest day of results begins (PostgreSQL), or the oldest result was due (SQLite), ms;
    0: there are none.
    """

    size: int
    oldest_results: int

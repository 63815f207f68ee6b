"""Answers of the API, as types; OpenAPI is made of them. Every instant is ms since 1970 (UTC)."""

from typing import Annotated, Any, Generic, TypeVar

import msgspec
from msgspec import Meta

from everwatch.encoding.input_models import MaintenanceInput, MonitorInput
from everwatch.model import NOTHING, Agenda, CommandOutcome, Origin, Scalar, State, Status
from everwatch.store.stored_values import TaskStatus

Item = TypeVar("Item")
Instant = Annotated[int, Meta(description="Milliseconds since 1970 (UTC); 0: never.")]


class Page(msgspec.Struct, Generic[Item], frozen=True):
    """One page of a list. ``next``: the cursor of the page behind it, null if this is the last one.

    ``total``: how many items there are on all pages, null unless it is asked for; ``total_at_least``: there are more,
    which were not counted.
    """

    items: list[Item]
    next: str | None
    total: int | None = None
    total_at_least: bool = False


class UserView(msgspec.Struct, frozen=True):
    """A user. ``monitors``: how many of its monitors are in which state.

    ``monitor_ids``: those that its last signup named.
    """

    user_id: str
    plan: str
    attributes: dict[str, Scalar]
    maintenance: list[MaintenanceInput]
    registered_at: Instant
    updated_at: Instant
    monitors: dict[State, int]
    monitor_ids: list[str] = []


class MonitorView(msgspec.Struct, frozen=True):
    """A monitor and its state. ``spec`` is what PUT takes; secrets in it are redacted without the scope ``secrets``.

    ``agenda``: what else is to happen to it; what is left out is 0, for nothing. ``outcome``: of one that is done, how
    its last run ended. ``last_body``: what its job printed last, and ``last_body_at``, when; "" and 0 if it never
    printed anything. ``flapping``: it goes down and up too often; ``state`` is that of the last result.
    """

    user_id: str
    monitor_id: str
    version: int
    origin: Origin
    since: Instant
    state: State
    state_since: Instant
    reason: str
    next_run: int | None
    last_signal: Instant
    spec: MonitorInput
    agenda: Agenda = NOTHING
    outcome: Status | None = None
    last_body: str = ""
    last_body_at: Instant = 0
    flapping: bool = False


class ResultView(msgspec.Struct, frozen=True):
    """The outcome of one attempt at one tick. ``deliveries``: how many records delivered it (1: none was repeated)."""

    user_id: str
    monitor_id: str
    scheduled_at: Instant
    attempt: int
    kind: str
    version: int
    status: Status
    reason: str
    started_at: Instant
    duration_ms: float
    timings: dict[str, float]
    executor: str
    skipped_until: Instant
    skipped_count: int
    manual: bool
    detail: str
    stored_at: Instant
    deliveries: int
    region: str = ""


class TaskView(msgspec.Struct, frozen=True):
    """A delayed task: the last one of its name, which is kept when it is over.

    ``outcome``: how the run ended that ended it; null if none did, and for tasks that ended under an older version.
    """

    user_id: str
    task_id: str
    kind: str
    due_at: Instant
    status: TaskStatus
    paused: bool
    reason: str
    created_at: Instant
    ended_at: Instant
    attempt: int
    version: int
    partition: int = -1
    outcome: Status | None = None


class TaskCountsView(msgspec.Struct, frozen=True):
    """Number of tasks of each status, 0 included."""

    tasks: dict[TaskStatus, int]


class RunView(msgspec.Struct, frozen=True):
    """The next instants at which a monitor is due."""

    user_id: str
    monitor_id: str
    next_runs: list[int]


class FieldChange(msgspec.Struct, frozen=True, omit_defaults=True):
    """A field of a specification that changed. Without ``before`` it is new, without ``after`` it has gone."""

    path: str
    before: Any = msgspec.UNSET
    after: Any = msgspec.UNSET


class SpecChangeView(msgspec.Struct, frozen=True):
    """A change that made this version of a monitor's specification; ``origin``: a signup or a command asked for it."""

    version: int
    at: Instant
    origin: Origin
    fields: list[FieldChange]


class SpecChangesView(msgspec.Struct, frozen=True):
    """The changes of a monitor's specification that are kept, the latest first, fifty at most."""

    items: list[SpecChangeView]


class OutcomeView(msgspec.Struct, frozen=True):
    """Outcome of a command. ``answer`` is null while no worker has answered it; then ask for it again later.

    ``position``: send it as ``Everwatch-After`` with a read that must see what was written; "" if that does not matter.
    """

    command_id: str
    command: str
    user_id: str
    monitor_id: str
    answer: CommandOutcome | None
    version: int = 0
    at: Instant = 0
    code: str = ""
    reason: str = ""
    path: str = ""
    position: str = ""


class Accepted(msgspec.Struct, frozen=True):
    """Number of signals that are durable on Kafka."""

    accepted: int


class PingKeyView(msgspec.Struct, frozen=True):
    """The key of a user's pings, and the path of a ping; MONITOR stands for a monitor's id."""

    user_id: str
    key: str
    path: str


class LineOutcome(msgspec.Struct, frozen=True, omit_defaults=True):
    """Outcome of one line, counted from 1, with the status that a request of its own would have had."""

    line: int
    status: int
    outcome: OutcomeView | None = None
    code: str = ""
    reason: str = ""
    path: str = ""

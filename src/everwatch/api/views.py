"""What the API answers, as types; OpenAPI is made of them. Every instant is ms since 1970 (UTC)."""

from typing import Annotated, Any, Generic, TypeVar, cast

import msgspec
import orjson
from msgspec import Meta

from everwatch.encoding.input_models import MaintenanceInput, MonitorInput
from everwatch.encoding.input_rendering import monitor_form, window_form
from everwatch.kinds.execution.config_secrets import ConfigSecrets, redacted_spec
from everwatch.model import CommandOutcome, Monitor, MonitorSpec, Origin, Reply, Result, Scalar, State, Status, User
from everwatch.schedule.due import upcoming
from everwatch.store.interface import ListedUser, StoredResult, StoredTask, TaskStatus

Item = TypeVar("Item")
Instant = Annotated[int, Meta(description="Milliseconds since 1970 (UTC); 0: never.")]


class Page(msgspec.Struct, Generic[Item], frozen=True):
    """One page of a list. ``next``: the cursor of the page behind it, null if this is the last one."""

    items: list[Item]
    next: str | None


class UserView(msgspec.Struct, frozen=True):
    """A user. ``monitors``: how many of its monitors are in which state."""

    user_id: str
    plan: str
    attributes: dict[str, Scalar]
    maintenance: list[MaintenanceInput]
    registered_at: Instant
    updated_at: Instant
    monitors: dict[State, int]


class MonitorView(msgspec.Struct, frozen=True):
    """A monitor and its state. ``spec`` is what PUT takes; secrets in it are redacted without the scope ``secrets``."""

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


class TaskView(msgspec.Struct, frozen=True):
    """A delayed task: the last one of its name, which is kept when it is over."""

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


class RunView(msgspec.Struct, frozen=True):
    """The next instants at which a monitor is due."""

    user_id: str
    monitor_id: str
    next_runs: list[int]


class Outcome(msgspec.Struct, frozen=True):
    """What became of a command. ``answer`` is null while no worker has answered it; then ask for it again later.

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


def user_view(listed: ListedUser) -> UserView:
    """Return a user as it is answered."""
    user: User = listed.user
    windows = [msgspec.convert(window_form(window), MaintenanceInput) for window in user.maintenance]
    return UserView(
        user.user_id,
        user.plan,
        user.attributes,
        windows,
        user.registered_at,
        user.updated_at,
        listed.by_state,
    )


def monitor_view(monitor: Monitor, now: int, secrets: ConfigSecrets | None = None) -> MonitorView:
    """Return a monitor as it is answered; ``secrets``: to show them, else they are redacted. Raises InvalidInput."""
    spec = redacted_spec(monitor.spec) if secrets is None else secrets.decrypted_spec(monitor.spec)
    coming = upcoming(monitor, now, 1)
    return MonitorView(
        monitor.user_id,
        monitor.monitor_id,
        monitor.version,
        monitor.origin,
        monitor.since,
        monitor.state,
        monitor.state_since,
        monitor.reason,
        coming[0] if coming else None,
        monitor.last_signal,
        # it is encoded as it stands, and read back by clients as what it says
        cast(MonitorInput, msgspec.Raw(spec_json(spec))),
    )


def spec_json(spec: MonitorSpec) -> bytes:
    """Return a monitor as PUT takes it, as JSON."""
    said: dict[str, Any] = monitor_form(spec)
    del said["monitor_id"]
    return orjson.dumps(said)


def result_view(stored: StoredResult) -> ResultView:
    """Return a result as it is answered."""
    result: Result = stored.result
    return ResultView(
        result.user_id,
        result.monitor_id,
        result.scheduled_at,
        result.attempt,
        result.kind,
        result.version,
        result.status,
        result.reason,
        result.started_at,
        result.duration_ms,
        result.timings,
        result.executor,
        result.skipped_until,
        result.skipped_count,
        result.manual,
        result.detail,
        stored.stored_at,
        stored.deliveries,
    )


def task_view(task: StoredTask) -> TaskView:
    """Return a task as it is answered."""
    return TaskView(
        task.user_id,
        task.monitor_id,
        task.kind,
        task.due_at,
        task.status,
        task.paused,
        task.reason,
        task.created_at,
        task.ended_at,
        task.attempt,
        task.version,
    )


def outcome(reply: Reply) -> Outcome:
    """Return the answer to a command as it is answered here."""
    return Outcome(
        reply.command_id or reply.signup_id or reply.signal_id,
        reply.command,
        reply.user_id,
        reply.monitor_id,
        reply.answer,
        reply.version,
        reply.at,
        reply.code,
        reply.reason,
        reply.path,
        position_text(reply),
    )


def position_text(reply: Reply) -> str:
    """Return where the changelog holds what a reply says; "" where that does not matter."""
    return f"{reply.partition}@{reply.offset}" if reply.offset >= 0 else ""

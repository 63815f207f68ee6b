"""Tasks by the records of their monitors. Pure; the statements in ``batch_statements`` say the same in SQL."""

from msgspec.structs import replace

from everwatch.model import At, Monitor, State, Status
from everwatch.schedule.at import due_instant
from everwatch.store.stored_values import StoredTask, TaskStatus

HELD = (TaskStatus.PENDING, TaskStatus.DONE, TaskStatus.FAILED, TaskStatus.CANCELLED)
"""Stored statuses of a task; ``running`` is worked out from the instant of the query."""

_NOT_DONE = frozenset({Status.FAILURE, Status.LATE, Status.SKIPPED})


def task_of(monitor: Monitor, partition: int) -> StoredTask | None:
    """The task that a monitor is, created when its state began; None if it is due more than once."""
    schedule = monitor.spec.schedule
    if not isinstance(schedule, At):
        return None
    status, ended_at = TaskStatus.PENDING, 0
    if monitor.state is State.DONE:
        ended_at = monitor.state_since
        status = TaskStatus.FAILED if monitor.outcome in _NOT_DONE else TaskStatus.DONE
    return StoredTask(
        monitor.user_id,
        monitor.monitor_id,
        monitor.spec.kind,
        due_instant(schedule, monitor.since),
        status,
        monitor.state is State.PAUSED,
        monitor.reason,
        monitor.state_since,
        ended_at,
        monitor.agenda.retry_attempt,
        monitor.version,
        partition,
        monitor.outcome,
    )


def is_first(monitor: Monitor) -> bool:
    """Tell whether this is still the task that was put first, so that its state began when it was created."""
    return monitor.version == 1 and monitor.state is State.NEW and not monitor.reason


def following(before: StoredTask, after: StoredTask) -> StoredTask:
    """A task's newer record with the older one's ``created_at``.

    Unless it is another task, of which an earlier record is lost (the changelog is compacted): it has no later version,
    and its state began when the one before was over.
    """
    another = 0 < before.ended_at < after.created_at and after.version <= before.version
    return after if another else replace(after, created_at=before.created_at)


def cancelled(task: StoredTask, at: int) -> StoredTask:
    """The task when its monitor has gone: one that is over stays as it is."""
    if task.status is not TaskStatus.PENDING:
        return task
    return replace(task, status=TaskStatus.CANCELLED, ended_at=at)


def as_of(task: StoredTask, now: int) -> StoredTask:
    """The task as it stands at ``now``: a pending one that is due is running."""
    if task.status is TaskStatus.PENDING and task.due_at <= now and not task.paused:
        return replace(task, status=TaskStatus.RUNNING)
    return task

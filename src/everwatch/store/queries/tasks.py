"""Pages of delayed tasks, and how many there are of each status."""

from typing import Any

from sqlalchemy import ColumnElement, Select, and_, case, func, literal_column, not_, select, tuple_, union_all

from everwatch.store.interface import StoredTask, TaskStatus
from everwatch.store.sql_schema import tasks
from everwatch.store.task_records import HELD

Place = tuple[int, str, str]
"""When it is due, user and task."""


def tasks_page(
    user_id: str, status: str, from_ms: int, until_ms: int, now: int, after: Place | None, limit: int
) -> Select[*tuple[Any, ...]]:
    """The tasks behind a place, by when they are due, with the columns of ``tasks``."""
    c = tasks.c
    within = _within(user_id, from_ms, until_ms)
    if status == TaskStatus.RUNNING:
        within.append(is_running(now))
    elif status == TaskStatus.PENDING:
        within.append(not_(is_running(now)))
    held = {"": HELD, TaskStatus.RUNNING: (TaskStatus.PENDING,)}.get(status, (status,))
    order = [c.due_at, c.monitor_id] if user_id else [c.due_at, c.user_id, c.monitor_id]
    if after is not None:
        place = (after[0], after[2]) if user_id else after
        within += [c.due_at >= after[0], tuple_(*order) > tuple_(*place)]
    # status by status, each of which an index gives in order: never all of them sorted
    of_each = [select(tasks).where(c.status == one, *within).order_by(*order).limit(limit) for one in held]
    if len(of_each) == 1:
        return of_each[0]
    found = union_all(*(select(some.subquery()) for some in of_each)).subquery()
    return select(found).order_by(found.c.due_at, found.c.user_id, found.c.monitor_id).limit(limit)


def counted_tasks(user_id: str, from_ms: int, until_ms: int, now: int) -> Select[*tuple[Any, ...]]:
    """Each held status, how many tasks have it, and how many of these are running."""
    # for one user an expression, so that SQLite goes through the user's tasks and not the status's
    status = tasks.c.status + literal_column("''") if user_id else tasks.c.status
    return (
        select(status, func.count(), func.sum(case((is_running(now), 1), else_=0)))
        .where(status.in_(HELD), *_within(user_id, from_ms, until_ms))
        .group_by(status)
    )


def place_of_task(task: StoredTask) -> Place:
    """Return where a task stands in a list."""
    return task.due_at, task.user_id, task.monitor_id


def is_running(now: int) -> ColumnElement[bool]:
    """Of what is held as pending: due at ``now``."""
    return and_(tasks.c.due_at <= now, not_(tasks.c.paused))


def _within(user_id: str, from_ms: int, until_ms: int) -> list[ColumnElement[bool]]:
    c = tasks.c
    within = [c.due_at >= from_ms]
    if until_ms:
        within.append(c.due_at < until_ms)
    if user_id:
        within.append(c.user_id == user_id)
    return within

"""Pages of delayed tasks, and how many there are of each status."""

from typing import Any

from sqlalchemy import ColumnElement, Select, and_, case, func, literal_column, not_, select, tuple_, union_all

from everwatch.store.queries.events import equal, within
from everwatch.store.selections import When
from everwatch.store.sql_schema import tasks
from everwatch.store.stored_values import StoredTask, TaskStatus
from everwatch.store.task_records import HELD

Place = tuple[int, str, str]
"""When it is due, user and task."""


def tasks_page(
    user_id: str, status: str, when: When, now: int, after: Place | None, limit: int
) -> Select[*tuple[Any, ...]]:
    """The tasks behind a place, by when they are due, with the columns of ``tasks``."""
    c = tasks.c
    wanted = _wanted(user_id, when)
    if status == TaskStatus.RUNNING:
        wanted.append(is_running(now))
    elif status == TaskStatus.PENDING:
        wanted.append(not_(is_running(now)))
    held = {"": HELD, TaskStatus.RUNNING: (TaskStatus.PENDING,)}.get(status, (status,))
    order = [c.due_at, c.monitor_id] if user_id else [c.due_at, c.user_id, c.monitor_id]
    if after is not None:
        place = (after[0], after[2]) if user_id else after
        wanted += [c.due_at >= after[0], tuple_(*order) > tuple_(*place)]
    # status by status, each of which an index gives in order: never all of them sorted
    of_each = [select(tasks).where(c.status == one, *wanted).order_by(*order).limit(limit) for one in held]
    if len(of_each) == 1:
        return of_each[0]
    found = union_all(*(select(some.subquery()) for some in of_each)).subquery()
    return select(found).order_by(found.c.due_at, found.c.user_id, found.c.monitor_id).limit(limit)


def counted_tasks(user_id: str, when: When, now: int) -> Select[*tuple[Any, ...]]:
    """Each held status, how many tasks have it, and how many of these are running."""
    # for one user an expression, so that SQLite goes through the user's tasks and not the status's
    status = tasks.c.status + literal_column("''") if user_id else tasks.c.status
    return (
        select(status, func.count(), func.sum(case((is_running(now), 1), else_=0)))
        .where(status.in_(HELD), *_wanted(user_id, when))
        .group_by(status)
    )


def place_of_task(task: StoredTask) -> Place:
    """Return where a task stands in a list."""
    return task.due_at, task.user_id, task.monitor_id


def is_running(now: int) -> ColumnElement[bool]:
    """Of tasks that are held as pending: due at ``now``."""
    return and_(tasks.c.due_at <= now, not_(tasks.c.paused))


def _wanted(user_id: str, when: When) -> list[ColumnElement[bool]]:
    c = tasks.c
    return [*within(c.due_at, when), *equal([(c.user_id, user_id)])]

"""Delayed tasks: create, cancel, list."""

from hashlib import blake2b

import msgspec

from everwatch.api import paging
from everwatch.api.bodies import TaskBody
from everwatch.api.commanding import Commands
from everwatch.api.database import Database
from everwatch.api.problems import InvalidField, Problem, not_found
from everwatch.api.queries import AllTasksQuery, TaskCountsQuery, TasksQuery, narrowed, when_of
from everwatch.api.rendering import task_view
from everwatch.api.routing import Answer, Call
from everwatch.api.sending import carry_out, command_id_of, done, quoted
from everwatch.api.views import TaskCountsView
from everwatch.core.clock import Clock
from everwatch.store.stored_values import TaskStatus


class Tasks:
    """Handlers of ``/v1/tasks`` and ``/v1/users/{user_id}/tasks``."""

    def __init__(self, database: Database, commands: Commands, clock: Clock) -> None:
        self._database = database
        self._commands = commands
        self._clock = clock

    async def list(self, call: Call, query: AllTasksQuery) -> Answer:
        """List delayed tasks of all users."""
        return await self._page(call, query, narrowed(call.principal, query.user))

    async def list_of_user(self, call: Call, query: TasksQuery) -> Answer:
        """List a user's delayed tasks."""
        return await self._page(call, query, call.path["user_id"])

    async def counts(self, call: Call, query: TaskCountsQuery) -> Answer:
        """Count delayed tasks by status."""
        user_id, when, now = narrowed(call.principal, query.user), when_of(query), self._clock.now_ms()
        counted = await self._database.ask(lambda reader: reader.count_tasks(user_id, when=when, now=now))
        return Answer(TaskCountsView({TaskStatus(status): number for status, number in counted.items()}))

    async def get(self, call: Call) -> Answer:
        """Show a delayed task; it is kept when it is over."""
        user_id, task_id, now = call.path["user_id"], call.path["task_id"], self._clock.now_ms()
        found = await self._database.ask(lambda reader: reader.task(user_id, task_id, now))
        if found is None:
            raise not_found(f"task {task_id!r} of user {user_id!r}")
        return Answer(task_view(found))

    async def create(self, call: Call, body: TaskBody) -> Answer:
        """Create a delayed task."""
        if (body.at is None) == (body.in_ is None):
            reason = "a task takes either at or in"
            raise Problem(422, "invalid", reason, errors=[InvalidField("$.at", reason)])
        given = msgspec.to_builtins(body)
        task_id = given.pop("task_id") or _new_task_id(call)
        given["schedule"] = {"at": given.pop("at"), "in": given.pop("in")}
        named = {"user_id": call.path["user_id"], "monitor_id": task_id}
        # only create: a task of this name that is there already stays as it is
        wanted = {"command": "put", **named, "monitor": given, "if_version": 0}
        reply = await carry_out(self._commands, call, wanted, body_at="$.monitor")
        if isinstance(reply, Answer):
            return reply
        return done(reply, 201, location=f"/v1/users/{quoted(call.path['user_id'])}/tasks/{quoted(task_id)}")

    async def cancel(self, call: Call) -> Answer:
        """Cancel a pending task."""
        named = {"user_id": call.path["user_id"], "monitor_id": call.path["task_id"]}
        reply = await carry_out(self._commands, call, {"command": "cancel", **named})
        return reply if isinstance(reply, Answer) else done(reply, 204, body=False)

    async def _page(self, call: Call, query: TasksQuery, user_id: str) -> Answer:
        when, now = when_of(query), self._clock.now_ms()
        status = "" if query.status is None else query.status.value
        return await paging.page(
            self._database,
            call,
            query,
            lambda reader, after, limit: reader.tasks(user_id, status, when=when, now=now, after=after, limit=limit),
            task_view,
        )


def _new_task_id(call: Call) -> str:
    """An id for a task that was given none: the same one when the request is sent again with its Idempotency-Key."""
    return blake2b(command_id_of(call).encode(), digest_size=16).hexdigest()

"""Users and delayed tasks, as the client asks for them."""

from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple
from uuid import uuid4

from everwatch.api.bodies import (
    MaintenanceBody,
    PauseBody,
    TaskBody,
    UserBody,
    UserChange,
)
from everwatch.api.purge_views import PurgeView
from everwatch.api.queries import (
    AllTasksQuery,
    TaskCountsQuery,
    UsersQuery,
)
from everwatch.api.views import (
    OutcomeView,
    TaskCountsView,
    TaskView,
    UserView,
)
from everwatch.client.api_calls import ApiCalls, CommandAbout, decoded
from everwatch.client.requests import command, if_registration, place, read
from everwatch.encoding.input_models import MaintenanceInput

EVERY_USER = UsersQuery()
PLAIN_USER = UserBody()
EVERY_TASK = AllTasksQuery()
EVERY_COUNT = TaskCountsQuery()


class TaggedUser(NamedTuple):
    """A user and the tag of its registration."""

    user: UserView
    tag: str


class UserCalls(ApiCalls):
    """Users and their delayed tasks."""

    def users(self, query: UsersQuery = EVERY_USER) -> AsyncIterator[UserView]:
        """Iterate users."""
        return self._iterate("/v1/users", query, UserView)

    async def user(self, user_id: str) -> UserView:
        """Return a user."""
        return await self.get(place("users", user_id), UserView, user_id=user_id)

    async def tagged_user(self, user_id: str) -> TaggedUser:
        """Return a user with the tag of its registration, so that a change can name what was seen."""
        answer = await self._transport.send(read(place("users", user_id), user_id=user_id))
        return TaggedUser(decoded(answer, UserView), answer.headers.get("ETag", ""))

    async def put_user(
        self,
        user_id: str,
        body: UserBody = PLAIN_USER,
        *,
        if_tag: str | None = None,
        command_id: str = "",
        wait_s: float | None = None,
    ) -> OutcomeView:
        """Sign a user up, or state its registration anew.

        ``if_tag``: only while the registration is the one of this tag (``tagged_user``), else ApiError 412; "": only if
        there is no such user, ``*``: only if there is one.
        """
        return await self._command(
            "PUT",
            place("users", user_id),
            CommandAbout("signup", user_id),
            body=body,
            command_id=command_id,
            wait_s=wait_s,
            precondition=if_registration(if_tag),
        )

    async def change_user(
        self,
        user_id: str,
        change: UserChange,
        *,
        if_tag: str | None = None,
        command_id: str = "",
        wait_s: float | None = None,
    ) -> OutcomeView:
        """Change a user's plan or attributes; all else stays.

        ``if_tag``: only while the registration is the one of this tag (``tagged_user``), else ApiError 412.
        """
        return await self._command(
            "PATCH",
            place("users", user_id),
            CommandAbout("set_user", user_id),
            body=change,
            command_id=command_id,
            wait_s=wait_s,
            precondition=if_registration(if_tag),
        )

    async def delete_user(self, user_id: str, *, command_id: str = "", wait_s: float | None = None) -> OutcomeView:
        """End a user with all monitors and pending tasks; results stay."""
        path = place("users", user_id)
        return await self._command(
            "DELETE", path, CommandAbout("deregister", user_id), command_id=command_id, wait_s=wait_s
        )

    async def purge_user(self, user_id: str, *, command_id: str = "", wait_s: float | None = None) -> PurgeView:
        """End a user and delete all that the database holds of it, in the background; ``purge`` says how far it is."""
        sent = command(
            "POST",
            place("users", user_id, "purges"),
            command_id or uuid4().hex,
            user_id=user_id,
            wait_s=self._wait_s if wait_s is None else wait_s,
        )
        return decoded(await self._transport.send(sent), PurgeView)

    async def purge(self, user_id: str, purge_id: str) -> PurgeView:
        """Return a purge, and how far it has come."""
        return await self.get(place("users", user_id, "purges", purge_id), PurgeView, user_id=user_id)

    async def pause_user(
        self, user_id: str, until: int | str | None = None, *, command_id: str = "", wait_s: float | None = None
    ) -> OutcomeView:
        """Pause all monitors of a user; ``until``: ms or ISO 8601."""
        path, body = place("users", user_id, "pause"), PauseBody(until)
        return await self._command(
            "POST", path, CommandAbout("pause_user", user_id), body=body, command_id=command_id, wait_s=wait_s
        )

    async def resume_user(self, user_id: str, *, command_id: str = "", wait_s: float | None = None) -> OutcomeView:
        """Resume what a pause of the user paused."""
        path = place("users", user_id, "resume")
        return await self._command(
            "POST", path, CommandAbout("resume_user", user_id), command_id=command_id, wait_s=wait_s
        )

    async def maintain_user(
        self,
        user_id: str,
        windows: Sequence[MaintenanceInput],
        *,
        command_id: str = "",
        wait_s: float | None = None,
    ) -> OutcomeView:
        """Set a user's maintenance windows, in place of those there were."""
        path, body = place("users", user_id, "maintenance"), MaintenanceBody(list(windows))
        return await self._command(
            "PUT", path, CommandAbout("maintain", user_id), body=body, command_id=command_id, wait_s=wait_s
        )

    def tasks(self, query: AllTasksQuery = EVERY_TASK) -> AsyncIterator[TaskView]:
        """Iterate delayed tasks, those due first, of all users or of ``query.user``."""
        return self._iterate("/v1/tasks", query, TaskView, query.user)

    async def count_tasks(self, query: TaskCountsQuery = EVERY_COUNT) -> TaskCountsView:
        """Return how many delayed tasks there are of each status."""
        return decoded(await self._transport.send(read("/v1/tasks/counts", query, user_id=query.user)), TaskCountsView)

    async def task(self, user_id: str, task_id: str) -> TaskView:
        """Return a delayed task."""
        return await self.get(place("users", user_id, "tasks", task_id), TaskView, user_id=user_id)

    async def create_task(
        self, user_id: str, body: TaskBody, *, command_id: str = "", wait_s: float | None = None
    ) -> OutcomeView:
        """Create a delayed task; one without an id gets one (``monitor_id`` of the outcome)."""
        path = place("users", user_id, "tasks")
        return await self._command(
            "POST", path, CommandAbout("put", user_id, body.task_id), body=body, command_id=command_id, wait_s=wait_s
        )

    async def cancel_task(
        self, user_id: str, task_id: str, *, command_id: str = "", wait_s: float | None = None
    ) -> OutcomeView:
        """Cancel a pending task."""
        path = place("users", user_id, "tasks", task_id)
        return await self._command(
            "DELETE", path, CommandAbout("cancel", user_id, task_id), command_id=command_id, wait_s=wait_s
        )

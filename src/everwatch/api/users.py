"""Users: register, change, pause, end, list."""

from collections.abc import Mapping

import msgspec

from everwatch.api import paging
from everwatch.api.bodies import MaintenanceBody, PauseBody, UserBody, UserChange
from everwatch.api.commanding import Commands
from everwatch.api.database import Database
from everwatch.api.problems import Problem, not_found
from everwatch.api.queries import UsersQuery, selection_of
from everwatch.api.rendering import user_view
from everwatch.api.routing import Answer, Call
from everwatch.api.sending import carry_out, done, member, quoted, sign_up
from everwatch.model import CommandOutcome as Outcomes
from everwatch.store.paging import Sort
from everwatch.store.selections import Selection


class Users:
    """Handlers of ``/v1/users``."""

    def __init__(self, database: Database, commands: Commands) -> None:
        self._database = database
        self._commands = commands

    async def list(self, call: Call, query: UsersQuery) -> Answer:
        which = selection_of(query, call.principal.user_id)
        return await paging.page(
            self._database,
            call,
            query,
            lambda reader, after, limit: reader.list_users(
                which, after, sort=Sort(query.sort), reverse=query.reverse, limit=limit
            ),
            user_view,
        )

    async def get(self, call: Call) -> Answer:
        user_id = call.path["user_id"]
        found = await self._database.ask(lambda reader: reader.list_users(Selection(user_id), limit=1))
        if not found:
            raise not_found(f"user {user_id!r}")
        return Answer(user_view(found[0]))

    async def put(self, call: Call, body: UserBody) -> Answer:
        user_id = call.path["user_id"]
        reply = await sign_up(self._commands, call, member(body, user_id))
        if isinstance(reply, Answer):
            return reply
        created = reply.answer is Outcomes.REGISTERED
        return done(reply, 201 if created else 200, location=f"/v1/users/{quoted(user_id)}" if created else "")

    async def patch(self, call: Call, body: UserChange) -> Answer:
        if body.plan is not None and (objection := call.principal.plan_objection):
            raise Problem(403, "forbidden", f"The token may not do this: {objection}.")
        wanted = {"command": "set_user", "user_id": call.path["user_id"], **msgspec.to_builtins(body)}
        return await self._carried_out(call, wanted)

    async def delete(self, call: Call) -> Answer:
        wanted = {"command": "deregister", "user_id": call.path["user_id"]}
        reply = await carry_out(self._commands, call, wanted)
        return reply if isinstance(reply, Answer) else done(reply, 204, body=False)

    async def pause(self, call: Call, body: PauseBody) -> Answer:
        wanted = {"command": "pause_user", "user_id": call.path["user_id"], "until": body.until}
        return await self._carried_out(call, wanted)

    async def resume(self, call: Call) -> Answer:
        return await self._carried_out(call, {"command": "resume_user", "user_id": call.path["user_id"]})

    async def maintain(self, call: Call, body: MaintenanceBody) -> Answer:
        wanted = {"command": "maintain", "user_id": call.path["user_id"], **msgspec.to_builtins(body)}
        return await self._carried_out(call, wanted)

    async def _carried_out(self, call: Call, wanted: Mapping[str, object]) -> Answer:
        reply = await carry_out(self._commands, call, wanted)
        return reply if isinstance(reply, Answer) else done(reply)

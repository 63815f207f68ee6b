"""Users: register, change, pause, end, list."""

from collections.abc import Mapping
from hashlib import blake2b

import msgspec

from everwatch.api import paging
from everwatch.api.bodies import MaintenanceBody, PauseBody, UserBody, UserChange
from everwatch.api.commanding import Commands
from everwatch.api.database import Database
from everwatch.api.problems import Problem, not_found
from everwatch.api.queries import UsersQuery, selection_of
from everwatch.api.rendering import user_view
from everwatch.api.routing import Answer, Call
from everwatch.api.sending import carry_out, done, member, quoted, registration_of, sign_up
from everwatch.api.totals import total_of_users
from everwatch.kafka.command_client import with_member
from everwatch.model import CommandOutcome as Outcomes
from everwatch.rules.registration_tag import registration_tag
from everwatch.store import Reader
from everwatch.store.paging import Sort
from everwatch.store.selections import Selection
from everwatch.store.stored_values import ListedUser


class Users:
    """Handlers of ``/v1/users``."""

    def __init__(self, database: Database, commands: Commands) -> None:
        self._database = database
        self._commands = commands

    async def list(self, call: Call, query: UsersQuery) -> Answer:
        """List users."""
        which = selection_of(query, call.principal.user_id)
        return await paging.page(
            self._database,
            call,
            query,
            lambda reader, after, limit: reader.list_users(
                which, after, sort=Sort(query.sort), reverse=query.reverse, limit=limit
            ),
            user_view,
            lambda reader: total_of_users(reader, which),
        )

    async def get(self, call: Call) -> Answer:
        """Show a user."""
        user_id = call.path["user_id"]

        def asked(reader: Reader) -> tuple[ListedUser, str] | None:
            found = reader.list_users(Selection(user_id), limit=1)
            if not found:
                return None
            user = found[0].user
            return found[0], registration_tag(user, reader.monitor_versions(user_id, user.monitor_ids))

        found = await self._database.ask(asked)
        if found is None:
            raise not_found(f"user {user_id!r}")
        listed, tag = found
        view = msgspec.json.encode(user_view(listed))
        # of the registration, so that it may be sent as If-Match, and of what else there is of it
        return Answer(view, headers={"ETag": f'"{tag}.{blake2b(view, digest_size=8).hexdigest()}"'})

    async def put(self, call: Call, body: UserBody) -> Answer:
        """Sign a user up, or state its registration anew; with If-Match only the one that was seen."""
        user_id = call.path["user_id"]
        value = member(body, user_id)
        if expected := registration_of(call):
            value = with_member(value, "if_registration", expected)
        reply = await sign_up(self._commands, call, value)
        if isinstance(reply, Answer):
            return reply
        created = reply.answer is Outcomes.REGISTERED
        return done(reply, 201 if created else 200, location=f"/v1/users/{quoted(user_id)}" if created else "")

    async def patch(self, call: Call, body: UserChange) -> Answer:
        """Change a user's plan or attributes."""
        if body.plan is not None and (objection := call.principal.plan_objection):
            raise Problem(403, "forbidden", f"The token may not do this: {objection}.")
        if "If-None-Match" in call.headers:
            raise Problem(400, "invalid_header", "This takes no If-None-Match: it changes a user that there is.")
        wanted = {"command": "set_user", "user_id": call.path["user_id"], **msgspec.to_builtins(body)}
        if expected := registration_of(call):
            wanted["if_registration"] = expected
        return await self._carried_out(call, wanted)

    async def delete(self, call: Call) -> Answer:
        """End a user with all monitors and pending tasks; results stay."""
        wanted = {"command": "deregister", "user_id": call.path["user_id"]}
        reply = await carry_out(self._commands, call, wanted)
        return reply if isinstance(reply, Answer) else done(reply, 204, body=False)

    async def pause(self, call: Call, body: PauseBody) -> Answer:
        """Pause all monitors of a user."""
        wanted = {"command": "pause_user", "user_id": call.path["user_id"], "until": body.until}
        return await self._carried_out(call, wanted)

    async def resume(self, call: Call) -> Answer:
        """Resume what a pause of the user paused."""
        return await self._carried_out(call, {"command": "resume_user", "user_id": call.path["user_id"]})

    async def maintain(self, call: Call, body: MaintenanceBody) -> Answer:
        """Set a user's maintenance windows."""
        wanted = {"command": "maintain", "user_id": call.path["user_id"], **msgspec.to_builtins(body)}
        return await self._carried_out(call, wanted)

    async def _carried_out(self, call: Call, wanted: Mapping[str, object]) -> Answer:
        reply = await carry_out(self._commands, call, wanted)
        return reply if isinstance(reply, Answer) else done(reply)

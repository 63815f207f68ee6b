"""Purges of users: asked for here, carried out by a worker and the sink."""

from everwatch.api.commanding import Commands
from everwatch.api.database import Database
from everwatch.api.problems import not_found
from everwatch.api.purge_views import PurgeState, PurgeView
from everwatch.api.rendering import position_text
from everwatch.api.routing import Answer, Call
from everwatch.api.sending import carry_out, command_id_of, quoted
from everwatch.model import CommandOutcome, CommandType, Reply
from everwatch.store.purged_users import StoredPurge


class Purges:
    """Handlers of ``/v1/users/{user_id}/purges``."""

    def __init__(self, database: Database, commands: Commands) -> None:
        self._database = database
        self._commands = commands

    async def post(self, call: Call) -> Answer:
        user_id = call.path["user_id"]
        purge_id = command_id_of(call)
        wanted = {"command": CommandType.PURGE, "user_id": user_id}
        reply = await carry_out(self._commands, call._replace(new_id=purge_id), wanted)
        headers = {"Location": f"/v1/users/{quoted(user_id)}/purges/{quoted(purge_id)}", "Retry-After": "1"}
        if isinstance(reply, Answer):
            return Answer(PurgeView(purge_id, user_id, PurgeState.ASKED), 202, headers)
        if position := position_text(reply):
            headers["Everwatch-Position"] = position
        return Answer(_answered(reply), 202, headers)

    async def get(self, call: Call) -> Answer:
        user_id, purge_id = call.path["user_id"], call.path["purge_id"]
        stored = await self._database.ask(lambda reader: reader.purge(user_id, purge_id))
        if stored is not None:
            return Answer(_stored(stored, user_id, purge_id))
        # the sink may not have read the answer yet
        reply = self._commands.reply(user_id, purge_id)
        if reply is None or reply.command != CommandType.PURGE:
            raise not_found("answer to such a purge: none came yet, or it is no longer kept")
        return Answer(_answered(reply))


def _answered(reply: Reply) -> PurgeView:
    """A purge of which the worker's answer is known, and no more."""
    if reply.answer not in (CommandOutcome.DONE, CommandOutcome.UNCHANGED):
        # an older worker does not refuse an id that was that of another command
        reason = reply.reason or "this Idempotency-Key was that of another request"
        return PurgeView(reply.command_id, reply.user_id, PurgeState.REFUSED, over_at=reply.at, reason=reason)
    was_watched = reply.answer is not CommandOutcome.UNCHANGED
    return PurgeView(reply.command_id, reply.user_id, PurgeState.ENDED, reply.at, was_watched)


def _stored(stored: StoredPurge, user_id: str, purge_id: str) -> PurgeView:
    outcome = stored.outcome
    over = PurgeState.REFUSED if outcome.refused else PurgeState.DONE
    return PurgeView(
        purge_id,
        user_id,
        over if stored.over_at else PurgeState.ENDED,
        stored.ended_at,
        stored.was_watched,
        stored.deleted,
        stored.over_at,
        outcome.guarded_until,
        outcome.remains,
        outcome.refused,
    )

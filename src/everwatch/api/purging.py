"""Purges of users: asked for here, carried out by a worker and the sink."""

from collections import OrderedDict

from everwatch.api.commanding import Commands
from everwatch.api.database import Database
from everwatch.api.problems import not_found
from everwatch.api.purge_views import PurgeState, PurgeView
from everwatch.api.rendering import position_text
from everwatch.api.routing import Answer, Call
from everwatch.api.sending import carry_out, command_id_of, quoted
from everwatch.core.errors import EverwatchError
from everwatch.model import CommandOutcome, CommandType, Reply
from everwatch.store import Reader
from everwatch.store.purged_users import StoredPurge

MOST_ASKED = 10_000
"""Purges that this process remembers to have been asked for."""


class Purges:
    """Handlers of ``/v1/users/{user_id}/purges``."""

    def __init__(self, database: Database, commands: Commands) -> None:
        self._database = database
        self._commands = commands
        # purges that were asked for here, and the instant of the newest answer that was known then
        self._asked: OrderedDict[tuple[str, str], int] = OrderedDict()

    async def post(self, call: Call) -> Answer:
        """End a user, and delete all that the database holds of it, in the background."""
        user_id = call.path["user_id"]
        purge_id = command_id_of(call)
        wanted = {"command": CommandType.PURGE, "user_id": user_id}

        def known(reader: Reader) -> tuple[int | None, StoredPurge | None]:
            return reader.partition_of(user_id), reader.purge(user_id, purge_id)

        # whatever partitioner the user's signups were produced with
        partition, earlier = await self._database.ask(known)
        self._note(user_id, purge_id, earlier)
        try:
            reply = await carry_out(self._commands, call._replace(new_id=purge_id), wanted, partition=partition)
        except EverwatchError:
            self._asked.pop((user_id, purge_id), None)
            raise
        headers = {"Location": f"/v1/users/{quoted(user_id)}/purges/{quoted(purge_id)}", "Retry-After": "1"}
        if isinstance(reply, Answer):
            return Answer(PurgeView(purge_id, user_id, PurgeState.ASKED), 202, headers)
        if position := position_text(reply):
            headers["Everwatch-Position"] = position
        return Answer(_answered(reply), 202, headers)

    async def get(self, call: Call) -> Answer:
        """Show how far a purge has come, what it deleted, and what remains on topics until when."""
        user_id, purge_id = call.path["user_id"], call.path["purge_id"]
        stored = await self._database.ask(lambda reader: reader.purge(user_id, purge_id))
        reply = self._reply(user_id, purge_id)
        known_at = _newest(stored, reply)
        earlier_at = self._asked.get((user_id, purge_id))
        if earlier_at is not None and known_at <= earlier_at:
            # what is known is of before it was asked for
            return Answer(PurgeView(purge_id, user_id, PurgeState.ASKED))
        if reply is not None and (stored is None or reply.at > stored.ended_at):
            # the sink may not have read the answer yet
            return Answer(_answered(reply))
        if stored is None:
            raise not_found("answer to such a purge: none came yet, or it is no longer kept")
        return Answer(_stored(stored, user_id, purge_id))

    def _note(self, user_id: str, purge_id: str, earlier: StoredPurge | None) -> None:
        """Note that a purge is asked for here; ``earlier``: the stored one of the same id."""
        self._asked[user_id, purge_id] = _newest(earlier, self._reply(user_id, purge_id))
        if len(self._asked) > MOST_ASKED:
            self._asked.popitem(last=False)

    def _reply(self, user_id: str, purge_id: str) -> Reply | None:
        reply = self._commands.reply(user_id, purge_id)
        return reply if reply is not None and reply.command == CommandType.PURGE else None


def _newest(stored: StoredPurge | None, reply: Reply | None) -> int:
    """Return the instant of the newest answer to a purge of this id, ms; -1 if none is known."""
    return max(stored.ended_at if stored is not None else -1, reply.at if reply is not None else -1)


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

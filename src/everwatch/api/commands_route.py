"""Outcome of a command whose answer was not waited for."""

from everwatch.api.commanding import Commands
from everwatch.api.database import Database
from everwatch.api.problems import Problem, not_found
from everwatch.api.queries import CommandQuery, narrowed
from everwatch.api.rendering import outcome
from everwatch.api.routing import Answer, Call


class CommandOutcomes:
    """Handlers of ``/v1/commands/{command_id}`` and ``/v1/users/{user_id}/commands/{command_id}``."""

    def __init__(self, commands: Commands, database: Database) -> None:
        self._commands = commands
        self._database = database

    async def find(self, call: Call, query: CommandQuery) -> Answer:
        """Show what became of a command: the Location of a 202 leads here."""
        user_id = narrowed(call.principal, query.user)
        if not user_id:
            raise Problem(400, "invalid_parameter", "Name the user of the command: two users may have one of this id.")
        return await self._outcome(user_id, call.path["command_id"])

    async def get(self, call: Call) -> Answer:
        """Show what became of a command of a user."""
        return await self._outcome(call.path["user_id"], call.path["command_id"])

    async def _outcome(self, user_id: str, command_id: str) -> Answer:
        reply = self._commands.reply(user_id, command_id)
        if reply is None:
            # from before this process started, or too many others came since
            stored = await self._database.ask(lambda reader: reader.replies(user_id, command_id, limit=1))
            if not stored:
                raise not_found("answer to such a command: none came yet, or it is no longer kept")
            reply = stored[0]
        return Answer(outcome(reply))

"""Outcome of a command whose answer was not waited for."""

from everwatch.api.commanding import Commands
from everwatch.api.database import Database
from everwatch.api.problems import not_found
from everwatch.api.rendering import outcome
from everwatch.api.routing import Answer, Call


class CommandOutcomes:
    """Handler of ``/v1/users/{user_id}/commands/{command_id}``."""

    def __init__(self, commands: Commands, database: Database) -> None:
        self._commands = commands
        self._database = database

    async def get(self, call: Call) -> Answer:
        user_id, command_id = call.path["user_id"], call.path["command_id"]
        reply = self._commands.reply(user_id, command_id)
        if reply is None:
            # of before this process started, or too many others came since
            stored = await self._database.ask(lambda reader: reader.replies(user_id, command_id, limit=1))
            if not stored:
                raise not_found("answer to such a command: none came yet, or it is no longer kept")
            reply = stored[0]
        return Answer(outcome(reply))

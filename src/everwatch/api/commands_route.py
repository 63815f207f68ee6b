"""What became of a command whose answer was not waited for."""

from everwatch.api.commanding import Commands
from everwatch.api.problems import not_found
from everwatch.api.routing import Answer, Call
from everwatch.api.views import outcome


class CommandOutcomes:
    """Handler of ``/v1/users/{user_id}/commands/{command_id}``."""

    def __init__(self, commands: Commands) -> None:
        self._commands = commands

    async def get(self, call: Call) -> Answer:
        reply = self._commands.reply(call.path["user_id"], call.path["command_id"])
        if reply is None:
            raise not_found("answer to such a command: none came yet, or too many others came since")
        return Answer(outcome(reply))

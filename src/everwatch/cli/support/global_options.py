"""Options that stand before every command. Imports nothing, as ``everwatch --help`` does."""

from contextvars import ContextVar
from enum import Enum


class CommandReach(Enum):
    """Reach of a command: the HTTP API if one is named, else Kafka and the database; those two alone; or neither.

    A command of the last kind is a process of the system, or works on what is here.
    """

    API = "api"
    DIRECT = "direct"
    LOCAL = "local"


TIMEZONE: ContextVar[str | None] = ContextVar("timezone", default=None)
"""What ``everwatch --timezone`` says, for the command that follows it."""
API: ContextVar[str | None] = ContextVar("api", default=None)
"""What ``everwatch --api`` says."""
TOKEN: ContextVar[str | None] = ContextVar("token", default=None)
"""What ``everwatch --token`` says."""
COMMAND: ContextVar[tuple[str, CommandReach]] = ContextVar("command", default=("", CommandReach.API))
"""The command that follows, and what it works on."""

"""Options that stand before every command. Imports nothing, as ``everwatch --help`` does."""

from contextvars import ContextVar

TIMEZONE: ContextVar[str | None] = ContextVar("timezone", default=None)
"""What ``everwatch --timezone`` says, for the command that follows it."""

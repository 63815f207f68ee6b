"""Every error that Everwatch raises on purpose, and the one judge of what may be retried.

An error message is one clear sentence: what is wrong, where, and what to do.
The CLI prints it without a traceback and exits with the error's ``exit_code``.
"""

from enum import StrEnum


class EverwatchError(Exception):
    """Base of all errors raised on purpose. ``exit_code`` is what the CLI exits with."""

    exit_code = 1


class SettingsError(EverwatchError):
    """A setting or a command-line argument is wrong."""

    exit_code = 2


class RefusalCode(StrEnum):
    """Why an input was refused, for programs. Codes may be added; a program treats an unknown one as ``invalid``."""

    INVALID = "invalid"
    WRONG_KEY = "wrong_key"
    NOT_FOUND = "not_found"
    WRONG_KIND = "wrong_kind"
    NOT_PENDING = "not_pending"
    VERSION_MISMATCH = "version_mismatch"
    UNKNOWN_PLAN = "unknown_plan"
    MISSING_ATTRIBUTE = "missing_attribute"
    QUOTA = "quota"


class InvalidInput(EverwatchError):
    """An input from outside was refused.

    ``reason`` is a sentence for a person, ``path`` names the field (``$.monitors[0].kind``; empty if the
    whole input is meant), ``code`` is the reason for a program.
    """

    def __init__(self, reason: str, path: str = "", code: str = RefusalCode.INVALID) -> None:
        super().__init__(f"{reason} (at {path})" if path else reason)
        self.reason = reason
        self.path = path
        self.code = code


class BrokerUnavailable(EverwatchError):
    """No Kafka broker answers at the configured address."""

    exit_code = 3


class TopicMismatch(EverwatchError):
    """A topic exists, but not as Everwatch needs it."""

    exit_code = 4


class EmbeddedKafkaError(EverwatchError):
    """The embedded Kafka cannot be fetched, started or stopped."""

    exit_code = 5


class StoreError(EverwatchError):
    """The database cannot be opened, or holds a schema of another version."""

    exit_code = 6


class FolderInUse(EverwatchError):
    """Another Everwatch process holds the data folder."""

    exit_code = 7


class TargetForbidden(EverwatchError, OSError):
    """A check wanted to connect to an address that the SSRF guard does not allow.

    It is an ``OSError`` too, so that network libraries treat it as a failed connection.
    """


class WrongPlans(EverwatchError):
    """A file of plans is wrong: ``plan`` and ``field`` say where (each empty if the whole is meant)."""

    def __init__(self, file: str, plan: str, field: str, reason: str) -> None:
        where = [file, f"plan {plan!r}" if plan else "", field]
        super().__init__(f"{', '.join(part for part in where if part)}: {reason}")
        self.plan = plan
        self.field = field
        self.reason = reason

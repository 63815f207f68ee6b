"""Every error that Everwatch raises on purpose, and the one judge of retryable errors.

An error message is one clear sentence: what is wrong, where, and what to do.
The CLI prints it without a traceback and exits with the error's ``exit_code``.
"""

from collections.abc import Mapping
from enum import StrEnum

LONGEST_REASON = 1_000
"""Characters of the reason and of the path of a refusal."""


class EverwatchError(Exception):
    """Base of all errors raised on purpose. ``exit_code`` is what the CLI exits with."""

    exit_code = 1


class Transient(EverwatchError):
    """The cause lies around the records, not in them: the same work may succeed later, here or in another process."""


class SettingsError(EverwatchError):
    """A setting or a command-line argument is wrong."""

    exit_code = 2


class RefusalCode(StrEnum):
    """Code of a refusal, for programs. Codes may be added; a program treats an unknown one as ``invalid``."""

    INVALID = "invalid"
    WRONG_KEY = "wrong_key"
    NOT_FOUND = "not_found"
    WRONG_KIND = "wrong_kind"
    NOT_PENDING = "not_pending"
    VERSION_MISMATCH = "version_mismatch"
    UNKNOWN_PLAN = "unknown_plan"
    MISSING_ATTRIBUTE = "missing_attribute"
    QUOTA = "quota"
    REUSED_KEY = "reused_key"
    UNHANDLED = "unhandled"
    UNREADABLE = "unreadable"
    UNDECODABLE = "undecodable"


class InvalidInput(EverwatchError):
    """An input from outside was refused.

    ``reason`` is a sentence for a person, ``path`` names the field (``$.monitors[0].kind``; empty if the
    whole input is meant), ``code`` is the reason for a program.
    """

    def __init__(self, reason: str, path: str = "", code: str = RefusalCode.INVALID) -> None:
        # both may quote what was sent, and go into headers, answers and logs
        reason, path = _shortened(reason), _shortened(path)
        super().__init__(f"{reason} (at {path})" if path else reason)
        self.reason = reason
        self.path = path
        self.code = code


class UndecodableEntry(InvalidInput):
    """The bytes under a key of the table are no user or monitor that this version knows."""

    def __init__(self, key: bytes, error: Exception) -> None:
        name = key.decode(errors="backslashreplace")
        super().__init__(f"the table entry {name!r} cannot be decoded: {error}", code=RefusalCode.UNDECODABLE)


def _shortened(text: str) -> str:
    return text if len(text) <= LONGEST_REASON else f"{text[:LONGEST_REASON]}…"


class BrokerUnavailable(Transient):
    """No Kafka broker answers at the configured address."""

    exit_code = 3


class RecordsUnreadable(BrokerUnavailable):
    """Records of some partitions cannot be read: ``offsets`` has the first such offset, and the reason.

    Another replica may have it whole, so it may be tried again.
    """

    def __init__(self, topic: str, offsets: Mapping[int, tuple[int, str]], remedy: str = "") -> None:
        number, (offset, reason) = min(offsets.items())
        others = f" (partitions {sorted(offsets)} have such offsets)" if len(offsets) > 1 else ""
        said = f"Topic {topic}, partition {number} cannot be read from offset {offset} on: {reason}{others}."
        super().__init__(f"{said} {remedy}".rstrip())
        self.topic = topic
        self.offsets = dict(offsets)


class RegistryUnavailable(Transient):
    """The schema registry does not answer, or refuses a request."""

    exit_code = 12


class RecordRefused(EverwatchError):
    """Kafka will never take a record: it is too large for its topic, or malformed."""

    exit_code = 3


class AccessError(Transient):
    """Kafka refuses access. Waiting does not help, and no record is to blame."""


class TransportRefused(AccessError):
    """No connection: TLS where there is none, none where there is TLS, or a certificate that is not trusted."""

    exit_code = 8


class AuthenticationRefused(AccessError):
    """The broker does not accept who this client says it is."""

    exit_code = 9


class PermissionMissing(AccessError):
    """An ACL is missing."""

    exit_code = 10


class TopicMismatch(EverwatchError):
    """A topic exists, but not as Everwatch needs it."""

    exit_code = 4


class EmbeddedKafkaError(EverwatchError):
    """The embedded Kafka cannot be fetched, started or stopped."""

    exit_code = 5


class StoreError(Transient):
    """The database cannot be opened, or holds a schema of another version."""

    exit_code = 6


class FolderInUse(EverwatchError):
    """Another Everwatch process holds the data folder."""

    exit_code = 7


class ChangelogLost(EverwatchError):
    """The broker has lost records of the table's changelog, and nothing proves which copy is whole."""

    exit_code = 11


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


class Unhandled(InvalidInput):
    """A record whose handling failed each time, although nothing is known to be wrong with it: ``cause`` says how."""

    def __init__(self, cause: BaseException) -> None:
        super().__init__(f"it could not be handled: {type(cause).__name__}: {cause}", code=RefusalCode.UNHANDLED)


# Kafka's codes for what is wrong with a record itself: sent again, it is refused again. MSG_SIZE_TOO_LARGE (librdkafka
# raises it before it sends), RECORD_LIST_TOO_LARGE, INVALID_TIMESTAMP, INVALID_RECORD, _INVALID_ARG.
_RECORD_REFUSED = frozenset({10, 18, 32, 87, -186})

# of RocksDB: the disk is full, damaged or locked, or the database is being closed
_DISK_STATUSES = ("IO error", "Corruption", "Resource busy", "Operation aborted", "Operation timed out", "Shutdown")


def is_retryable(error: BaseException) -> bool:
    """Return whether work on records that failed with ``error`` may succeed unchanged. Everything else is poison.

    The one judge: batches are bisected for poison, and retried as they are for the rest.
    """
    if isinstance(error, Transient):
        return True
    # files, sockets and time-outs: no record owns one of these
    if isinstance(error, OSError):
        return True
    # inputs are bounded, so it is the process that is short of memory
    if isinstance(error, MemoryError):
        return True
    # RocksDB's bindings raise the plain class with the status as text, and a class of theirs for a closed database
    if type(error) is Exception and str(error).startswith(_DISK_STATUSES):
        return True
    if type(error).__module__.startswith("rocksdict"):
        return True
    # librdkafka's exceptions carry a KafkaError with the broker's code; all but a few mean the broker or the connection
    code = getattr(error.args[0] if error.args else None, "code", None)
    return callable(code) and code() not in _RECORD_REFUSED

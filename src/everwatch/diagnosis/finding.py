"""One line of a diagnosis, and what to do about an error."""

from typing import NamedTuple

from everwatch.core.errors import (
    AuthenticationRefused,
    ChangelogLost,
    EverwatchError,
    PermissionMissing,
    RecordsUnreadable,
    RegistryUnavailable,
    SettingsError,
    StoreError,
    TopicMismatch,
    Transient,
    TransportRefused,
)
from everwatch.rules.changelog_marks import UNREADABLE_REMEDY

_REMEDIES: tuple[tuple[type[EverwatchError], str], ...] = (
    (PermissionMissing, "Add the ACL (docs/secured-kafka.md, ACLs), then run 'everwatch doctor' again."),
    (AuthenticationRefused, "Set EVERWATCH_SASL_USERNAME and EVERWATCH_SASL_PASSWORD to a user that the broker knows."),
    (
        TransportRefused,
        "Set EVERWATCH_SECURITY_PROTOCOL and EVERWATCH_SSL_CA_FILE as the broker's listener needs them.",
    ),
    (RecordsUnreadable, UNREADABLE_REMEDY),
    (RegistryUnavailable, "See EVERWATCH_SCHEMA_REGISTRY_URL, and whether the registry runs."),
    (StoreError, "See EVERWATCH_DATABASE and its server or file; 'everwatch sink' makes the database and its schema."),
    (TopicMismatch, "Run 'everwatch topics check' for each topic's count; docs/topics.md says how to change it."),
    (ChangelogLost, "See docs/changelog-loss.md."),
    (SettingsError, "Correct the setting that is named (docs/settings.md)."),
    # BrokerUnavailable, and other errors that may pass by themselves
    (
        Transient,
        "See whether the broker runs and EVERWATCH_BOOTSTRAP_SERVERS names it; then run 'everwatch doctor' again.",
    ),
)
_ELSE = "See the logs of the process that it names, and docs/troubleshooting.md."


def remedy_of(error: EverwatchError) -> str:
    """Return what to do about an error that a check met; never empty."""
    return next((remedy for kind, remedy in _REMEDIES if isinstance(error, kind)), _ELSE)


class Finding(NamedTuple):
    """The outcome of a check: its subject, its finding, and the remedy if that is a fault."""

    name: str
    ok: bool
    says: str
    remedy: str = ""


def well(name: str, says: str) -> Finding:
    """A finding without fault."""
    return Finding(name, True, says)


def fault(name: str, says: str, remedy: str) -> Finding:
    """A fault. ``says``: what happens, to which thing; ``remedy``: what to do."""
    return Finding(name, False, says, remedy)

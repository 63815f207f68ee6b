"""Entries of the audit log as the database holds them."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from everwatch.model import AuditEntry

AuditPlace = tuple[int, str]
"""Instant of the answer (ms), and the entry's id."""


class AuditSelection(NamedTuple):
    """A filter of entries; an empty field matches all. ``monitor_id`` needs ``user_id``."""

    user_id: str = ""
    monitor_id: str = ""
    token_id: str = ""


EVERY_ENTRY = AuditSelection()


def is_entry_selected(which: AuditSelection, entry: AuditEntry) -> bool:
    """Tell whether a selection has an entry."""
    return (
        which.user_id in ("", entry.user_id)
        and which.monitor_id in ("", entry.monitor_id)
        and which.token_id in ("", entry.token_id)
    )


def place_of_entry(entry: AuditEntry) -> AuditPlace:
    """Return where an entry stands in a list."""
    return entry.at, entry.entry_id


def entry_row(entry: AuditEntry) -> tuple[Any, ...]:
    """A row of ``audit_log``."""
    return msgspec.structs.astuple(entry)


def entry_of(row: Sequence[Any]) -> AuditEntry:
    """The entry of a row of ``audit_log``."""
    return AuditEntry(*row)

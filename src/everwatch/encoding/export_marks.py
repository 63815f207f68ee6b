"""Marks between the rows of an export that comes as one stream: how far it is, and how it ended."""

import msgspec

MARK = b'{"export":'
"""Begin of each line that is a mark; an import passes them over."""


class ExportMark(msgspec.Struct, frozen=True):
    """A mark behind some users' rows.

    ``cursor``: with it an export goes on behind these rows; null behind the last ones. ``paused``: monitors of the rows
    since the mark before that are paused, which rows do not say; ``redacted``: those that have redacted secrets.
    ``code`` and ``reason``: why the export ends here, before its end; "" if it does not.
    """

    cursor: str | None
    paused: int = 0
    redacted: int = 0
    code: str = ""
    reason: str = ""


class ExportLine(msgspec.Struct, frozen=True):
    """A line that is a mark."""

    export: ExportMark

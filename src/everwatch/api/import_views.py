"""Requests and answers of imports, as types."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

ColumnName = Annotated[str, Meta(min_length=1, max_length=256)]


class ImportQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Parameters of an import. ``map``: COLUMN=FIELD each; ``line``: of the file at which its first row stands.

    ``plan``: of users whose row names none. ``dry_run``: rows are judged, and nothing is sent.
    """

    format: Literal["csv", "jsonl", ""] = ""
    map: list[ColumnName] = []
    ignore: list[ColumnName] = []
    plan: Annotated[str, Meta(max_length=64)] = ""
    delimiter: Annotated[str, Meta(min_length=1, max_length=1)] = ","
    line: Annotated[int, Meta(ge=1, le=10**9)] = 1
    dry_run: bool = False


class RefusedImportRow(msgspec.Struct, frozen=True):
    """A row that was refused: its line, and why; ``path`` names the wrong field."""

    line: int
    user_id: str
    reason: str
    path: str
    code: str


class ImportView(msgspec.Struct, frozen=True):
    """Number of rows by outcome. ``kept``: sent, and not answered yet. ``refused``: the first of the refused ones."""

    dry_run: bool
    rows: int
    accepted: int
    kept: int
    refused_rows: int
    refused: list[RefusedImportRow]


class ImportSummary(msgspec.Struct, frozen=True):
    """Last line of an import that read its whole file: number of rows by outcome. ``kept``: sent, not answered yet."""

    dry_run: bool
    rows: int
    accepted: int
    kept: int
    refused_rows: int


class ImportStopped(msgspec.Struct, frozen=True):
    """Last line of an import that did not read its whole file: rows before ``stopped_at`` (a line) are dealt with."""

    stopped_at: int
    code: str
    reason: str

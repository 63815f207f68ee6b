"""A part of a file as rows, judged or carried out: what ``everwatch import`` does with files, by the same code."""

import asyncio
import io
from collections.abc import Callable, Iterator
from itertools import islice
from typing import BinaryIO, cast

from everwatch.api.batch import MOST_LINES, LineIds, carry_out_lines, line_asked, line_ids_of, read_lines
from everwatch.api.commanding import Commands
from everwatch.api.import_views import ImportQuery, ImportView, RefusedImportRow
from everwatch.api.problems import Problem
from everwatch.api.routing import Answer, Call
from everwatch.api.views import LineOutcome
from everwatch.core.errors import InvalidInput, SettingsError
from everwatch.kafka.command_client import Asked, with_member
from everwatch.plans.plan import Plans
from everwatch.rules.admission import admit_signup
from everwatch.transfer.import_rows import Row, RowReading
from everwatch.transfer.row_files import STDIN, FileSource, Format

OCTETS = "application/octet-stream"
NO_ROWS = "The file has no rows."
MOST_REFUSED = 1_000
"""Refused rows of one request that are listed; all are counted."""
# rows between two turns of the event loop
_AT_ONCE = 100
_KEPT = 202


class Importing:
    """Judges rows, or carries them out."""

    def __init__(self, commands: Commands, plans: Callable[[], Plans | None]) -> None:
        self._commands = commands
        self._plans = plans

    async def carry_out(self, call: Call, rows: list[Row], ids: LineIds, *, dry_run: bool) -> dict[int, LineOutcome]:
        """Return the outcomes of rows, by their lines; of a dry run those that are refused."""
        numbered = [(row.line, row) for row in rows]

        def read(_: int, row: Row) -> Asked:
            return self._asked(row, call, ids, dry_run)

        if not dry_run:
            return await carry_out_lines(self._commands, call, numbered, read)
        outcomes: dict[int, LineOutcome] = {}
        for begin in range(0, len(numbered), _AT_ONCE):
            read_lines(numbered[begin : begin + _AT_ONCE], read, outcomes)
            await asyncio.sleep(0)
        return outcomes

    def _asked(self, row: Row, call: Call, ids: LineIds, dry_run: bool) -> Asked:
        """The input that a row is. Raises InvalidInput, and Problem where the token does not permit it."""
        if row.problem:
            raise InvalidInput(row.problem)
        if row.monitor_id:
            return line_asked(row.value, row.line, call.principal, ids)
        if dry_run and (plans := self._plans()) is not None:
            admit_signup(row.value, plans=plans)
        return line_asked(with_member(row.value, "command", "signup"), row.line, call.principal, ids)


class ImportRoutes:
    """Handler of ``/v1/import``."""

    def __init__(self, importing: Importing) -> None:
        self._importing = importing

    async def post(self, call: Call, query: ImportQuery, data: bytes) -> Answer:
        """Judge or import up to 10,000 rows of a file, CSV or JSON lines, as 'everwatch import' reads it."""
        rows = await asyncio.to_thread(_rows, data, query)
        outcomes = await self._importing.carry_out(call, rows, line_ids_of(call), dry_run=query.dry_run)
        return Answer(_view(rows, outcomes, query.dry_run), changes=[])


def row_source(stream: BinaryIO, query: ImportQuery) -> FileSource:
    """Return a file as a source of rows. Raises Problem."""
    renamed: dict[str, str] = {}
    for each in query.map:
        column, _, field = each.rpartition("=")
        if not (column and field):
            raise Problem(400, "invalid_parameter", "A map is COLUMN=FIELD.")
        renamed[column] = field
    reading = RowReading(renamed, frozenset(query.ignore), query.plan)
    form = Format(query.format) if query.format else None
    return FileSource(STDIN, form, reading, delimiter=query.delimiter, stdin=stream, title="The file")


def numbered_rows(source: FileSource, query: ImportQuery) -> Iterator[Row]:
    """Return the rows of a source with their lines in the file that it is a part of. Raises SettingsError."""
    for row in source.rows():
        yield row._replace(line=row.line + query.line - 1)


def _rows(data: bytes, query: ImportQuery) -> list[Row]:
    """Read all rows. Raises Problem."""
    source = row_source(cast(BinaryIO, io.BufferedReader(io.BytesIO(data))), query)
    try:
        found = list(islice(numbered_rows(source, query), MOST_LINES + 1))
    except SettingsError as error:
        raise Problem(422, "invalid", str(error)) from None
    if len(found) > MOST_LINES:
        raise Problem(413, "too_many", f"Send at most {MOST_LINES} rows at once.")
    if not found:
        raise Problem(400, "empty", NO_ROWS)
    return found


def kept_of(outcomes: dict[int, LineOutcome]) -> int:
    """Return how many rows were sent and are not answered yet."""
    return sum(each.status == _KEPT for each in outcomes.values())


def refused_rows(rows: list[Row], outcomes: dict[int, LineOutcome]) -> list[RefusedImportRow]:
    """Return the rows that were refused."""
    return [
        RefusedImportRow(row.line, row.user_id, became.reason, became.path, became.code)
        for row in rows
        if (became := outcomes.get(row.line)) is not None and became.status >= 300
    ]


def _view(rows: list[Row], outcomes: dict[int, LineOutcome], dry_run: bool) -> ImportView:
    refused = refused_rows(rows, outcomes)
    kept = kept_of(outcomes)
    accepted = len(rows) - len(refused) - kept
    return ImportView(dry_run, len(rows), accepted, kept, len(refused), refused[:MOST_REFUSED])

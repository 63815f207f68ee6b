"""Imports of any length over HTTP: rows are carried out while the body still comes, in bounded memory.

The answer is a stream of JSON lines: one for each refused row, in order, and at the end one with the numbers, or with
why the import stopped and at which line.
"""

import asyncio
import io
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from itertools import islice
from typing import NamedTuple

import msgspec
from aiohttp import ClientError, web

from everwatch.api.batch import NDJSON, line_ids_of
from everwatch.api.import_views import ImportQuery, ImportStopped, ImportSummary
from everwatch.api.importing import NO_ROWS, Importing, kept_of, numbered_rows, refused_rows, row_source
from everwatch.api.permissions import Principal
from everwatch.api.problems import Problem
from everwatch.api.request_ids import request_id_of
from everwatch.api.responses import SECURITY_HEADERS
from everwatch.api.routing import Call
from everwatch.api.stream_places import MOST, StreamPlaces
from everwatch.core.clock import Clock
from everwatch.core.errors import SettingsError
from everwatch.transfer.import_rows import Row

AT_ONCE = 4_000
"""Rows that are read and carried out together: what an import holds in memory, and the next ones."""
MOST_BYTES_AT_ONCE = 8 * 1024 * 1024
"""Bytes of such rows, about."""
MOST_BYTES_OF_ROW = 16 * 1024 * 1024
"""Maximum number of bytes without a row, as of an open quote of CSV or of empty lines; then the import stops."""
PART_WITHIN_S = 10.0
"""Rows that came within this time are carried out: clients and proxies give up an answer that is silent for long."""
CHUNK_WITHIN_S = 30.0
"""A body of which nothing comes for so long is given up, and an answer of which nothing is read."""
_AWAY = 503
_HEADERS = {**SECURITY_HEADERS, "Content-Type": NDJSON, "X-Accel-Buffering": "no"}


class BodyReader(io.RawIOBase):
    """The body of a request as a file for a thread, which waits while nothing has come."""

    def __init__(self, request: web.Request) -> None:
        self._request = request
        self._loop = asyncio.get_running_loop()
        self._waiting: Future[bytes] | None = None
        self._left = b""
        self._since_row = 0
        self._is_given_up = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "memoryview[int]") -> int:  # type: ignore[override]
        if not self._left:
            if self._is_given_up:
                raise OSError("the request is over")
            self._waiting = asyncio.run_coroutine_threadsafe(self._chunk(), self._loop)
            try:
                self._left = self._waiting.result()
            except (TimeoutError, ClientError, web.RequestPayloadError, web.PayloadAccessError) as error:
                raise OSError(str(error) or f"nothing came for {CHUNK_WITHIN_S:.0f} s") from None
        taken = min(len(buffer), len(self._left))
        buffer[:taken] = self._left[:taken]
        self._left = self._left[taken:]
        self._since_row += taken
        if self._since_row > MOST_BYTES_OF_ROW:
            raise OSError(f"a row has more than {MOST_BYTES_OF_ROW} bytes")
        return taken

    def begin_row(self) -> None:
        """Count bytes anew, for the next row. In the reading thread."""
        self._since_row = 0

    def give_up(self) -> None:
        """Let the thread that waits go. On the event loop."""
        self._is_given_up = True
        if self._waiting is not None:
            self._waiting.cancel()

    async def _chunk(self) -> bytes:
        async with asyncio.timeout(CHUNK_WITHIN_S):
            return await self._request.content.readany()


class _Part(NamedTuple):
    """Rows that were read together, and why no more can be read; "" if more may come."""

    rows: list[Row]
    failure: str = ""


class ImportStream:
    """Handler of ``POST /v1/imports``."""

    def __init__(self, importing: Importing, is_valid: Callable[[Principal], bool], clock: Clock) -> None:
        """``is_valid``: tells whether a token is valid still; an import may last for hours."""
        self._importing = importing
        self._is_valid = is_valid
        self._clock = clock
        # threads of its own: those that wait for a body must keep nothing else waiting
        self._threads = ThreadPoolExecutor(MOST, thread_name_prefix="import")
        self._places = StreamPlaces("imports")

    async def post(self, call: Call, query: ImportQuery, request: web.Request) -> web.StreamResponse:
        """Carry rows out while they come. Raises Problem for a fault before the first of them."""
        with self._places.taken(call.principal.user_id):
            body = BodyReader(request)
            try:
                rows = _bounded(numbered_rows(row_source(io.BufferedReader(body), query), query), body)
                first = await self._part(rows)
                if not first.rows:
                    raise Problem(422, "invalid", first.failure) if first.failure else Problem(400, "empty", NO_ROWS)
                response = web.StreamResponse(headers=_HEADERS | {"X-Request-Id": request_id_of(request)})
                await response.prepare(request)
                with suppress(ConnectionError, TimeoutError):  # the client left, or reads nothing
                    await self._carry_out(call, query, first, rows, response)
                return response
            finally:
                body.give_up()

    async def _carry_out(
        self, call: Call, query: ImportQuery, part: _Part, rows: Iterator[Row], response: web.StreamResponse
    ) -> None:
        """Carry out one part after the other, so that a user's rows stay in order, and write their outcomes."""
        ids, numbers, read_upto = line_ids_of(call), Counter[str](), 0
        while part.rows:
            if not self._is_valid(call.principal):
                why = "The token was revoked, or has expired."
                await _write(response, [ImportStopped(part.rows[0].line, "invalid_token", why)])
                return
            outcomes = await self._importing.carry_out(call, part.rows, ids, dry_run=query.dry_run)
            away = [row.line for row in part.rows if row.line in outcomes and outcomes[row.line].status == _AWAY]
            if away:
                # some of the part may be carried out: it is sent once more with the same key
                await _write(response, [ImportStopped(away[0], "kafka_unavailable", "Send the rest again.")])
                return
            refused = refused_rows(part.rows, outcomes)
            numbers["rows"] += len(part.rows)
            numbers["refused"] += len(refused)
            numbers["kept"] += kept_of(outcomes)
            await _write(response, refused)
            read_upto = part.rows[-1].line
            part = _Part([], part.failure) if part.failure else await self._part(rows)
        if part.failure:
            await _write(response, [ImportStopped(read_upto + 1, "malformed", part.failure)])
            return
        accepted = numbers["rows"] - numbers["refused"] - numbers["kept"]
        summary = ImportSummary(query.dry_run, numbers["rows"], accepted, numbers["kept"], numbers["refused"])
        await _write(response, [summary])

    async def _part(self, rows: Iterator[Row]) -> _Part:
        return await asyncio.get_running_loop().run_in_executor(self._threads, _read, rows, self._clock)


def _bounded(rows: Iterator[Row], body: BodyReader) -> Iterator[Row]:
    """Yield the rows; the body bounds the bytes of each."""
    for row in rows:
        body.begin_row()
        yield row


def _read(rows: Iterator[Row], clock: Clock) -> _Part:
    """Read the next rows; in a thread."""
    found: list[Row] = []
    size, until_s = 0, clock.monotonic_s() + PART_WITHIN_S
    try:
        for row in islice(rows, AT_ONCE):
            found.append(row)  # those before a failure are kept
            size += len(row.value)
            if size >= MOST_BYTES_AT_ONCE or clock.monotonic_s() >= until_s:
                break
    except SettingsError as error:
        return _Part(found, str(error))
    return _Part(found)


async def _write(response: web.StreamResponse, lines: Sequence[msgspec.Struct]) -> None:
    """Write lines; a client that reads none of them is given up."""
    # an empty line says that it goes on: clients and proxies give up what is silent
    data = b"".join(msgspec.json.encode(each) + b"\n" for each in lines) or b"\n"
    async with asyncio.timeout(CHUNK_WITHIN_S):
        await response.write(data)

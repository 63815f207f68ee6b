"""Users and monitors as rows, in pages or as one stream: what ``everwatch export`` writes, and an import takes."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

import msgspec
import orjson
from aiohttp import web

from everwatch.api.database import Database
from everwatch.api.export_views import PAUSED, REDACTED, ExportQuery
from everwatch.api.paging import next_link
from everwatch.api.permissions import Principal, Scope
from everwatch.api.problems import Problem
from everwatch.api.queries import narrowed
from everwatch.api.request_ids import request_id_of
from everwatch.api.responses import SECURITY_HEADERS
from everwatch.api.routing import Answer, Call
from everwatch.api.stream_places import StreamPlaces
from everwatch.core.clock import Clock
from everwatch.core.errors import EverwatchError, StoreError
from everwatch.encoding.export_marks import ExportLine, ExportMark
from everwatch.kinds.execution.config_secrets import ConfigSecrets
from everwatch.store import Reader
from everwatch.store.paging import InvalidCursor
from everwatch.store.selections import Selection
from everwatch.transfer.exported_rows import Exported, export_rows

NDJSON = "application/x-ndjson"
READ_WITHIN_S = 10.0
"""Time for a page to be read in a stream."""
TAKEN_WITHIN_S = 30.0
"""A client that takes nothing of a stream for so long is given up."""
_HEADERS = {**SECURITY_HEADERS, "Content-Type": NDJSON, "X-Accel-Buffering": "no"}


class _Page(NamedTuple):
    """Rows of some users, the cursor of those behind them ("" behind the last ones), and what rows do not say."""

    rows: bytes
    next: str
    exported: Exported

    @property
    def with_mark(self) -> bytes:
        return self.rows + _line(ExportMark(self.next or None, self.exported.paused, self.exported.redacted))


class Exporting:
    """Handler of ``/v1/export``. ``is_valid``: tells whether a token is valid still; a stream may last for hours."""

    def __init__(
        self, database: Database, secrets: ConfigSecrets, is_valid: Callable[[Principal, int], bool], clock: Clock
    ) -> None:
        self._database = database
        self._secrets = secrets
        self._is_valid = is_valid
        self._clock = clock
        self._places = StreamPlaces("exports")

    async def get(self, call: Call, query: ExportQuery, request: web.Request) -> Answer | web.StreamResponse:
        """Answer the rows of one page of users, or those of all."""
        if query.stream and request.method == "GET":
            with self._places.taken(call.principal.user_id):
                return await self._stream(call, query, request)
        async with asyncio.timeout_at(call.deadline_s):
            page = await self._read(call, query)
        counts = {PAUSED: str(page.exported.paused), REDACTED: str(page.exported.redacted)}
        return Answer(page.rows, headers={**next_link(call, page.next), **counts}, media_type=NDJSON)

    async def _stream(self, call: Call, query: ExportQuery, request: web.Request) -> web.StreamResponse:
        """Write one page after the other, each read when the client has taken the one before."""
        async with asyncio.timeout_at(call.deadline_s):
            page = await self._read(call, query)
        response = web.StreamResponse(headers=_HEADERS | {"X-Request-Id": request_id_of(request)})
        await response.prepare(request)
        with suppress(ConnectionError, TimeoutError):  # the client left, or takes nothing
            await _write(response, page.with_mark)
            while page.next:
                cursor = page.next
                try:
                    if not self._is_valid(call.principal, self._clock.now_ms()):
                        raise Problem(401, "invalid_token", "The token was revoked, or has expired.")
                    page = await self._next(call, msgspec.structs.replace(query, cursor=cursor))
                except Problem as problem:
                    await _write(response, _line(ExportMark(cursor, code=problem.code, reason=problem.detail)))
                    return response
                await _write(response, page.with_mark)
        return response

    async def _next(self, call: Call, query: ExportQuery) -> _Page:
        """Read a page behind the first. Raises Problem."""
        try:
            async with asyncio.timeout(READ_WITHIN_S):
                return await self._read(call, query)
        except TimeoutError:
            raise Problem(503, "deadline", f"A page took longer than {READ_WITHIN_S:g} s.") from None
        except StoreError:
            raise Problem(503, "database_unavailable", "The database cannot be read at the moment.") from None
        except EverwatchError as error:
            raise Problem(422, "secrets", str(error)) from None

    async def _read(self, call: Call, query: ExportQuery) -> _Page:
        which = Selection(narrowed(call.principal, query.user))
        keys = self._secrets if call.principal.has(Scope.SECRETS) else None
        exported = Exported()

        def read(reader: Reader) -> tuple[bytes, str]:
            users = reader.list_users(which, query.cursor, limit=query.limit)
            catalogue = (entry for each in users for entry in reader.catalogue(each.user.user_id))
            rows = export_rows(catalogue, exported, keys, users_only=query.users_only, everything=query.everything)
            return b"".join(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in rows), users.next

        try:
            data, cursor = await self._database.ask(read)
        except InvalidCursor as error:
            raise Problem(400, "invalid_cursor", str(error)) from None
        return _Page(data, cursor, exported)


def _line(mark: ExportMark) -> bytes:
    return msgspec.json.encode(ExportLine(mark)) + b"\n"


async def _write(response: web.StreamResponse, data: bytes) -> None:
    """Write; a client that takes nothing is given up."""
    async with asyncio.timeout(TAKEN_WITHIN_S):
        await response.write(data)

"""Bulk jobs, audits and exports, as the client asks for them."""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator
from typing import Any, BinaryIO, NamedTuple
from uuid import uuid4

import msgspec

from everwatch.api.audit_run_views import AuditRunBody, AuditRunList, AuditRunView
from everwatch.api.export_views import ExportQuery
from everwatch.api.import_views import ImportQuery, ImportStopped, ImportSummary, RefusedImportRow
from everwatch.api.job_views import JobBody, JobErrorsView, JobItem, JobPreview, JobPreviewBody, JobView
from everwatch.api.queries import FacetsQuery, Paged
from everwatch.client.api_calls import PAGE, ApiCalls, decoded, read_as
from everwatch.client.errors import UNREACHABLE, ApiError
from everwatch.client.requests import ApiRequest, command, place, read
from everwatch.client.retrying import pause_s
from everwatch.encoding.export_marks import MARK, ExportLine

EVERYTHING = ExportQuery()


IMPORT = ImportQuery()
IMPORT_SILENT_FOR_S = 120.0
"""A part of an import may be waited for so long."""
ImportData = bytes | BinaryIO | AsyncIterable[bytes]


class ExportedPage(NamedTuple):
    """Rows of some users, how many monitors of them are paused, and how many have redacted secrets."""

    rows: list[dict[str, Any]]
    paused: int
    redacted: int


class JobCalls(ApiCalls):
    """Work of the API in the background, and exports."""

    async def preview_job(self, filter_: FacetsQuery) -> JobPreview:
        """Return how many monitors a bulk job with this filter would be about, and some of them."""
        body = msgspec.json.encode(JobPreviewBody(filter_))
        sent = ApiRequest(method="POST", path="/v1/jobs/preview", body=body, is_repeatable=True, takes_s=35.0)
        return decoded(await self._transport.send(sent), JobPreview)

    async def create_job(self, body: JobBody, *, command_id: str = "") -> JobView:
        """Make a bulk job: pause, resume, run or delete monitors by a filter or by name, in the background."""
        sent = command("POST", "/v1/jobs", command_id or uuid4().hex, user_id=body.filter.user, body=body)
        return decoded(await self._transport.send(msgspec.structs.replace(sent, takes_s=35.0)), JobView)

    async def start_audit(self, body: AuditRunBody, *, command_id: str = "") -> AuditRunView:
        """Look in the background whether every tick that was due ran, once each; ``audit_run`` tells how far it is."""
        sent = command("POST", "/v1/audit/runs", command_id or uuid4().hex, user_id="", body=body)
        return decoded(await self._transport.send(sent), AuditRunView)

    async def audit_run(self, run_id: str) -> AuditRunView:
        """Return a run of the tick audit, with its report once it is done."""
        return await self.get(place("audit", "runs", run_id), AuditRunView)

    async def audit_runs(self) -> list[AuditRunView]:
        """Return runs of the tick audit, the latest first."""
        return (await self.get("/v1/audit/runs", AuditRunList)).items

    async def import_rows(
        self, data: ImportData, query: ImportQuery = IMPORT, *, command_id: str = ""
    ) -> AsyncIterator[RefusedImportRow | ImportSummary | ImportStopped]:
        """Import rows of a file of any length while it is sent; gives each refused row, and in the end the numbers.

        With the same ``command_id`` each row is carried out once, however often the file is sent.
        """
        sent = msgspec.structs.replace(
            read("/v1/imports", query), method="POST", command_id=command_id or uuid4().hex, is_repeatable=False
        )
        last: ImportSummary | ImportStopped | None = None
        async with self._transport.stream(sent, data=data, silent_for_s=IMPORT_SILENT_FOR_S) as lines:
            async for line in lines:
                if not line.strip():
                    continue  # it goes on
                found = _import_line(line)
                yield found
                last = None if isinstance(found, RefusedImportRow) else found
        if last is None:
            raise ApiError(0, UNREACHABLE, "The answer to the import broke off: send the file again.")

    async def jobs(self) -> list[JobView]:
        """Return bulk jobs, the latest first."""
        return [each async for each in self._iterate("/v1/jobs", Paged(), JobView)]

    async def job(self, job_id: str) -> JobView:
        """Return a bulk job and how far it has come."""
        return await self.get(place("jobs", job_id), JobView)

    async def job_errors(self, job_id: str) -> list[JobItem]:
        """Return the monitors that refused a bulk job's command."""
        return (await self.get(place("jobs", job_id, "errors"), JobErrorsView)).items

    async def cancel_job(self, job_id: str) -> None:
        """Stop a bulk job; what it has done stays."""
        await self._transport.send(ApiRequest(method="DELETE", path=place("jobs", job_id)))

    # --- exports --------------------------------------------------------------------------------------------------

    async def export(self, query: ExportQuery = EVERYTHING) -> AsyncIterator[ExportedPage]:
        """Iterate users and their monitors as rows that an import takes, some users at a time.

        It is one answer of the API, which goes on behind the last page where it breaks, for up to ``patience_s``.
        """
        query = msgspec.structs.replace(
            query, stream=True, limit=PAGE if query.limit == EVERYTHING.limit else query.limit
        )
        loop = asyncio.get_running_loop()
        came_s, attempt = loop.time(), 0
        while True:
            request = read("/v1/export", query, user_id=query.user)
            try:
                async for page, cursor in self._exported(request):
                    came_s, attempt = loop.time(), 0
                    yield page
                    if not cursor:
                        return
                    query = msgspec.structs.replace(query, cursor=cursor)
                raise ApiError(0, UNREACHABLE, "The export broke off.")
            except ApiError as error:
                pause = pause_s(error, request, attempt)
                if pause is None or loop.time() + pause > came_s + self._patience_s:
                    raise
                await self._sleep(pause)
                attempt += 1

    async def _exported(self, request: ApiRequest) -> AsyncIterator[tuple[ExportedPage, str]]:
        """Iterate whole pages of one answer, each with the cursor behind it. Raises ApiError."""
        rows: list[dict[str, Any]] = []
        async with self._transport.stream(request, sees_writes=True) as content:
            async for line in _lines(content.iter_any()):
                if not line.startswith(MARK):
                    rows.append(read_as(dict[str, Any], line, 200))
                    continue
                mark = read_as(ExportLine, line, 200).export
                if mark.code:
                    status = _NO_TOKEN if mark.code == "invalid_token" else _LATER if mark.code != "secrets" else _NEVER
                    raise ApiError(status, mark.code, mark.reason)
                yield ExportedPage(rows, mark.paused, mark.redacted), mark.cursor or ""
                rows = []


_NO_TOKEN, _NEVER, _LATER = 401, 409, 503


async def _lines(chunks: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    """Iterate lines of any length; what stands behind the last end of a line is part of one that broke off."""
    parts: list[bytes] = []
    async for chunk in chunks:
        first, *others = chunk.split(b"\n")
        parts.append(first)
        for each in others:
            yield b"".join(parts)
            parts = [each]


def _import_line(line: bytes) -> RefusedImportRow | ImportSummary | ImportStopped:
    """Return a line of the answer to an import; its first field tells which of the three it is."""
    if line.startswith(b'{"stopped_at"'):
        return read_as(ImportStopped, line, 200)
    if line.startswith(b'{"dry_run"'):
        return read_as(ImportSummary, line, 200)
    return read_as(RefusedImportRow, line, 200)

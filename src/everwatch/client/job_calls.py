"""Bulk jobs, audits and exports, as the client asks for them."""

import re
from collections.abc import AsyncIterator
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import msgspec

from everwatch.api.audit_run_views import AuditRunBody, AuditRunList, AuditRunView
from everwatch.api.export_views import PAUSED, REDACTED, ExportQuery
from everwatch.api.job_views import JobBody, JobErrorsView, JobItem, JobPreview, JobPreviewBody, JobView
from everwatch.api.queries import FacetsQuery, Paged
from everwatch.client.api_calls import PAGE, ApiCalls, decoded, read_as
from everwatch.client.requests import ApiRequest, command, place, read

EVERYTHING = ExportQuery()


class ExportedPage(NamedTuple):
    """One page of an export: its rows, how many monitors are paused, and how many have redacted secrets."""

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
        """Iterate pages of users and their monitors as rows that an import takes."""
        if query.limit == ExportQuery().limit:
            query = msgspec.structs.replace(query, limit=PAGE)
        while True:
            answer = await self._transport.send(read("/v1/export", query, user_id=query.user))
            rows = [read_as(dict[str, Any], line, answer.status) for line in answer.body.splitlines()]
            counts = (int(answer.headers.get(name, "0")) for name in (PAUSED, REDACTED))
            yield ExportedPage(rows, *counts)
            cursor = _cursor_in(answer.headers.get("Link", ""))
            if not cursor:
                return
            query = msgspec.structs.replace(query, cursor=cursor)


def _cursor_in(link: str) -> str:
    """The cursor of the page that a Link header names; "" for none."""
    found = re.match(r'<([^>]*)>; rel="next"', link)
    return parse_qs(urlsplit(found[1]).query).get("cursor", [""])[0] if found else ""

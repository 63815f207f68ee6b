"""Bulk jobs as a resource: previewed, made, listed, cancelled."""

from msgspec.structs import replace

from everwatch.api.database import Database
from everwatch.api.job_records import BulkJob, Jobs, NamedJob, job_id_of
from everwatch.api.job_views import (
    JobAction,
    JobBody,
    JobErrorsView,
    JobList,
    JobPreview,
    JobPreviewBody,
    JobSample,
    JobState,
    JobView,
)
from everwatch.api.job_writing import JobWriter
from everwatch.api.paging import held_page, next_link, total_fields
from everwatch.api.permissions import Principal
from everwatch.api.problems import Problem, not_found
from everwatch.api.queries import FacetsQuery, ShortList, narrowed, selection_of
from everwatch.api.routing import Answer, AuditedChange, Call
from everwatch.api.sending import command_id_of
from everwatch.api.totals import monitors_by_counters
from everwatch.core.clock import Clock
from everwatch.core.errors import RefusalCode
from everwatch.store import Reader
from everwatch.store.selections import Selection

MOST_MOVED = 0.01
"""Share by which the count may differ from what was expected."""
MOST_SHOWN = 10
MOST_RUNNING, MOST_OF_USER = 20, 2
_PAGE = 1_000


class JobRoutes:
    """Handlers of ``/v1/jobs``."""

    def __init__(self, jobs: Jobs, database: Database, writer: JobWriter, clock: Clock) -> None:
        self._jobs = jobs
        self._database = database
        self._writer = writer
        self._clock = clock

    async def preview(self, call: Call, body: JobPreviewBody) -> Answer:
        """Count the monitors that a bulk job would be about."""
        return Answer(await self._counted(_selected(body.filter, call.principal)))

    async def create(self, call: Call, body: JobBody) -> Answer:
        """Pause, resume, run or delete in the background all monitors that a filter has, or some by name."""
        if body.until is not None and body.action is not JobAction.PAUSE:
            raise Problem(422, "invalid", "Only a pause has an end: omit until.")
        ids = _named(body, call.principal)
        job_id = job_id_of(command_id_of(call), call.principal.user_id)
        if (known := self._jobs.get(job_id)) is not None:
            if (known.action, known.filter, known.until, _ids_of(known)) != (body.action, body.filter, body.until, ids):
                raise Problem(422, RefusalCode.REUSED_KEY, "This Idempotency-Key was that of another job.")
            return Answer(_view(known), 202, {"Location": f"/v1/jobs/{job_id}"}, changes=[])
        self._refuse_too_many(call.principal.user_id)
        count = len(ids) or (await self._counted(_selected(body.filter, call.principal))).count
        if abs(count - body.expect_count) > MOST_MOVED * body.expect_count:
            raise Problem(
                409, "count_moved", f"{count} monitors fit, not {body.expect_count}: look at the preview again."
            )
        who = call.principal
        common = (
            job_id,
            body.action,
            body.filter,
            self._clock.now_ms(),
            who.token_id,
            who.name,
            who.role,
            call.address,
            who.user_id or None,
            count,
            body.until,
        )
        job = NamedJob(*common, ids=ids) if ids else BulkJob(*common)
        await self._writer.write(job)
        change = AuditedChange("job", who.user_id, command_id=job.job_id, status=202, outcome=body.action.value)
        return Answer(_view(job), 202, {"Location": f"/v1/jobs/{job.job_id}"}, changes=[change])

    async def list(self, call: Call, query: ShortList) -> Answer:
        """List bulk jobs."""
        jobs = [job for job in self._jobs.all() if _is_of(job, call.principal)]
        question = ("jobs", call.principal.user_id)
        found, total = held_page(query, jobs, _place, tuple[int, str], question, descending=True)
        view = JobList([_view(job) for job in found], found.next or None, **total_fields(total))
        return Answer(view, headers=next_link(call, found.next))

    async def get(self, call: Call) -> Answer:
        """Show a bulk job and how far it has come."""
        return Answer(_view(self._found(call)))

    async def errors(self, call: Call) -> Answer:
        """List the monitors that refused a bulk job's command."""
        return Answer(JobErrorsView(self._jobs.errors(self._found(call).job_id)))

    async def cancel(self, call: Call) -> Answer:
        """Stop a bulk job; what it has done stays."""
        job = self._found(call)
        if job.state is not JobState.RUNNING:
            raise Problem(409, "not_pending", "The job is over.")
        now = self._clock.now_ms()
        await self._writer.write(replace(job, state=JobState.CANCELLED, written_at=now, ended_at=now))
        change = AuditedChange("cancel_job", job.user_id or "", command_id=job.job_id, status=204, outcome="done")
        return Answer(None, 204, changes=[change])

    def _found(self, call: Call) -> BulkJob:
        job = self._jobs.get(call.path["job_id"])
        if job is None or not _is_of(job, call.principal):
            raise not_found("such job")
        return job

    def _refuse_too_many(self, user_id: str) -> None:
        """Raise a Problem if as many jobs run as may. Tokens limited to a user take no place from the others."""
        owners = [job.user_id for job in self._jobs.all() if job.state is JobState.RUNNING]
        counted = owners if user_id else [owner for owner in owners if not owner]
        if len(counted) >= MOST_RUNNING:
            raise Problem(409, "too_many_jobs", f"There are {MOST_RUNNING} jobs that are not over: wait for one.")
        if user_id and owners.count(user_id) >= MOST_OF_USER:
            raise Problem(409, "too_many_jobs", f"This user has {MOST_OF_USER} jobs that are not over: wait for one.")

    async def _counted(self, which: Selection) -> JobPreview:
        return await self._database.ask(lambda reader: counted(reader, which))


def counted(reader: Reader, which: Selection) -> JobPreview:
    """Count the monitors of a selection: by the sink's counters if they can tell, else by reading monitors."""
    first = reader.list_monitors(which, limit=MOST_SHOWN)
    sample = [JobSample(each.user_id, each.monitor_id) for each in first]
    if (known := monitors_by_counters(reader, which)) is not None:
        return JobPreview(known, sample)
    count, after = len(first), first.next
    while after:
        page = reader.list_monitors(which, after, limit=_PAGE)
        count, after = count + len(page), page.next
    return JobPreview(count, sample)


def _selected(given: FacetsQuery, principal: Principal) -> Selection:
    return selection_of(given, narrowed(principal, given.user))


def _named(body: JobBody, principal: Principal) -> tuple[tuple[str, str], ...]:
    """Return the monitors that a job names, each once; nothing for one with a filter. Raises Problem."""
    if body.ids and body.filter != FacetsQuery():
        raise Problem(422, "invalid", "A job has a filter or ids, not both.")
    return tuple(dict.fromkeys((narrowed(principal, each.user_id), each.monitor_id) for each in body.ids))


def _ids_of(job: BulkJob) -> tuple[tuple[str, str], ...]:
    return job.ids if isinstance(job, NamedJob) else ()


def _place(job: BulkJob) -> tuple[int, str]:
    return job.created_at, job.job_id


def _is_of(job: BulkJob, principal: Principal) -> bool:
    """Tell whether a token may see a job: one that is limited to a user sees those of that user."""
    return not principal.user_id or job.user_id == principal.user_id


def _view(job: BulkJob) -> JobView:
    return JobView(
        job.job_id,
        job.action,
        job.filter,
        job.state,
        job.total,
        job.done,
        job.refused,
        job.until,
        job.created_at,
        job.token_name,
        job.ended_at,
        isinstance(job, NamedJob),
    )

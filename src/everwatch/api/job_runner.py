"""Carries out bulk jobs: page by page, each monitor by a command with an id of its own.

A page whose process was killed is sent once more by the process that takes the job over; the ids make that harmless,
as workers carry a command out once. (They remember the last 64 of a user: of a user with more monitors in one page a
pause or a resume is repeated, which changes nothing, a run may happen twice, and a deletion is refused the second
time.)
"""

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from everwatch.api.auditing import Asking, AuditLog
from everwatch.api.commanding import Commands
from everwatch.api.database import Database
from everwatch.api.job_records import (
    KEPT_MS,
    LEASE_MS,
    MOST_ENDED,
    MOST_ERRORS,
    BulkJob,
    JobErrors,
    Jobs,
    command_id_of,
    page_name,
)
from everwatch.api.job_views import JobItem, JobState
from everwatch.api.job_writing import JobWriter
from everwatch.api.permissions import Principal
from everwatch.api.problems import Problem, refused
from everwatch.api.queries import selection_of
from everwatch.api.routing import AuditedChange
from everwatch.core.clock import Clock
from everwatch.core.errors import EverwatchError, RefusalCode
from everwatch.kafka.command_client import Asked, asked_of
from everwatch.model import CommandOutcome, Monitor, Reply
from everwatch.observability.log_throttle import LogThrottle
from everwatch.store.paging import StoredPage

logger = logging.getLogger(__name__)
PAGE = 500
LOOK_EVERY_S = 1.0
AGAIN_S = 1.0
WAIT_S = 20.0
"""Seconds that a page's answers are waited for before the page is sent once more: less than a lease."""
ROUTE = "POST /v1/jobs"


class JobRunner:
    """Carries out jobs that no process has, one after the other. ``name``: of this process."""

    def __init__(
        self,
        name: str,
        jobs: Jobs,
        database: Database,
        commands: Commands,
        writer: JobWriter,
        audit: AuditLog,
        clock: Clock,
    ) -> None:
        self._name = name
        self._jobs = jobs
        self._database = database
        self._commands = commands
        self._writer = writer
        self._audit = audit
        self._clock = clock
        self._log_throttle = LogThrottle(clock)

    async def run(self) -> None:
        """Go on until cancelled."""
        while True:
            try:
                await self.run_once()
            except (EverwatchError, Problem) as error:
                if self._log_throttle.may_log("failed"):
                    logger.warning("jobs wait: %s", error)
            await asyncio.sleep(LOOK_EVERY_S)

    async def run_once(self) -> None:
        """Carry out all jobs that no process has, and forget old ones. Raises StoreError, BrokerUnavailable."""
        now = self._clock.now_ms()
        jobs = self._jobs.all()
        ended = [job for job in jobs if job.state is not JobState.RUNNING]
        for place, job in enumerate(ended):
            if place >= MOST_ENDED or job.ended_at + KEPT_MS < now:
                await self._writer.forget(job)
        for job in reversed(jobs):
            is_free = job.owner == self._name or job.lease_until <= now
            if job.state is JobState.RUNNING and is_free and (taken := await self._claimed(job)):
                await self._carry_out(taken)

    async def _carry_out(self, job: BulkJob) -> None:
        while True:
            page = await self._page(job)
            items = await self._outcomes(job, page) if page else []
            if items is None:
                # the broker is away, or no worker answers: the same page is sent again
                await self._renew(job)
                await asyncio.sleep(AGAIN_S)
            else:
                job = await self._noted(job, page, items)
            held = self._jobs.get(job.job_id)
            if held is None or held.state is not JobState.RUNNING or held.owner != self._name:
                return  # it is over, was cancelled, or another process has it

    async def _page(self, job: BulkJob) -> StoredPage[Monitor]:
        which = selection_of(job.filter, job.user_id or job.filter.user)
        return await self._database.ask(lambda reader: reader.list_monitors(which, job.cursor, limit=PAGE))

    async def _outcomes(self, job: BulkJob, page: Sequence[Monitor]) -> list[JobItem] | None:
        """Send a page's commands; gives those that were refused, None if some are not answered."""
        asked = [_asked(job, each) for each in page]
        replies = await self._commands.ask(asked, WAIT_S)
        if any(reply is None or isinstance(reply, EverwatchError) for reply in replies):
            return None
        answered = [reply for reply in replies if isinstance(reply, Reply)]
        await self._audit.note(ROUTE, _asking(job), [_change(each) for each in answered])
        return [_item(each) for each in answered if _is_refused(each)]

    async def _noted(self, job: BulkJob, page: StoredPage[Monitor], items: list[JobItem]) -> BulkJob:
        """Write how far a job has come."""
        if items and job.refused < MOST_ERRORS:
            errors = JobErrors(job.job_id, page_name(job.cursor), items)
            await self._writer.send(errors)
        now = self._clock.now_ms()
        is_over = not page.next
        job = replace(
            job,
            cursor=page.next or job.cursor,
            done=job.done + len(page) - len(items),
            refused=job.refused + len(items),
            state=JobState.DONE if is_over else JobState.RUNNING,
            ended_at=now if is_over else 0,
            lease_until=now + LEASE_MS,
            written_at=now,
        )
        await self._writer.write(job)
        return job

    async def _claimed(self, job: BulkJob) -> BulkJob | None:
        """Take a job; None if another process was quicker."""
        now = self._clock.now_ms()
        mine = replace(job, owner=self._name, lease_until=now + LEASE_MS, written_at=now)
        await self._writer.write(mine)
        return mine if self._jobs.get(job.job_id) == mine else None

    async def _renew(self, job: BulkJob) -> None:
        now = self._clock.now_ms()
        await self._writer.write(replace(job, lease_until=now + LEASE_MS, written_at=now))


def _asked(job: BulkJob, monitor: Monitor) -> Asked:
    wanted: dict[str, Any] = {
        "command": job.action.value,
        "user_id": monitor.user_id,
        "monitor_id": monitor.monitor_id,
        "command_id": command_id_of(job.job_id, monitor.user_id, monitor.monitor_id),
    }
    return asked_of(wanted if job.until is None else wanted | {"until": job.until})


def _is_refused(reply: Reply) -> bool:
    return reply.answer is CommandOutcome.REFUSED


def _item(reply: Reply) -> JobItem:
    return JobItem(reply.user_id, reply.monitor_id, reply.code or RefusalCode.INVALID, reply.reason, reply.command_id)


def _change(reply: Reply) -> AuditedChange:
    """The audit entry of a monitor of a job."""
    said = (reply.code or RefusalCode.INVALID) if _is_refused(reply) else reply.answer.value
    status = refused(reply).status if _is_refused(reply) else 200
    return AuditedChange(reply.command, reply.user_id, reply.monitor_id, reply.command_id, status, said)


def _asking(job: BulkJob) -> Asking:
    """The principal that made a job."""
    principal = Principal(job.token_id, frozenset(), job.user_id or "", job.token_name, job.role)
    return Asking(principal, job.address, "", f"job-{job.job_id}")

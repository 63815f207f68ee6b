"""Carries out bulk jobs: page by page, several pages under way, each monitor by a command with an id of its own.

The pages that were under way when their process was killed are sent once more by the process that takes the job over;
the ids make that harmless, as workers carry a command out once. (They remember the last 64 of a user: of a user with
more monitors in these pages a pause or a resume is repeated, which changes nothing, and a run may happen twice.)
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple

from everwatch.api.auditing import Asking, AuditLog
from everwatch.api.commanding import Commands
from everwatch.api.database import Database
from everwatch.api.job_records import (
    MOST_ERRORS,
    BulkJob,
    JobErrors,
    NamedJob,
    command_id_of,
    page_name,
)
from everwatch.api.job_views import JobAction, JobItem, JobState
from everwatch.api.leased_work import Leases
from everwatch.api.permissions import Principal
from everwatch.api.problems import refused
from everwatch.api.queries import selection_of
from everwatch.api.routing import AuditedChange
from everwatch.core.clock import Clock
from everwatch.core.errors import EverwatchError, RefusalCode
from everwatch.kafka.command_client import Asked, asked_of
from everwatch.model import CommandOutcome, Reply
from everwatch.store.paging import StoredPage

WAIT_S = 20.0
"""Seconds that a page's answers are waited for before the page is sent once more: less than a lease."""
ROUTE = "POST /v1/jobs"
MonitorId = tuple[str, str]
"""User and name of a monitor."""


class JobPace(NamedTuple):
    """Limits of the commands of a job that wait for answers: ``pages`` at most, each of ``monitors``.

    One page more is sent ahead when one was answered within ``quick_s``, one less when it was not. ``again_s``: pause
    before pages without an answer are sent again. ``most_errors``: refusals of a job that are kept.
    """

    monitors: int = 2_000
    pages: int = 4
    quick_s: float = 4.0
    again_s: float = 1.0
    most_errors: int = MOST_ERRORS


USUAL_PACE = JobPace()


class _SentPage(NamedTuple):
    """A page whose commands are under way, and the cursor that it began at."""

    cursor: str
    monitors: StoredPage[MonitorId]
    outcomes: "asyncio.Task[list[JobItem] | None]"
    sent_s: float


class BulkJobWork:
    """Bulk jobs as leased work."""

    def __init__(
        self,
        leases: Leases,
        database: Database,
        commands: Commands,
        audit: AuditLog,
        clock: Clock,
        pace: JobPace = USUAL_PACE,
    ) -> None:
        self._jobs = leases.jobs
        self._leases = leases
        self._database = database
        self._commands = commands
        self._audit = audit
        self._clock = clock
        self._pace = pace

    def all(self) -> list[BulkJob]:
        """Return all jobs, the latest first."""
        return self._jobs.all()

    async def carry_out(self, taken: BulkJob) -> None:
        """Carry a job out. A page is noted as done once all pages before it are.

        Raises StoreError, BrokerUnavailable.
        """
        job, sent, at_once = taken, deque[_SentPage](), 1
        # None behind the last page
        cursor: str | None = job.cursor
        try:
            while self._leases.holds(job):
                while cursor is not None and len(sent) < at_once:
                    sent.append(await self._sent(job, cursor))
                    cursor = sent[-1].monitors.next or None
                first = sent.popleft()
                items = await first.outcomes
                if items is not None:
                    is_quick = self._clock.monotonic_s() - first.sent_s < self._pace.quick_s
                    at_once = min(self._pace.pages, at_once + 1) if is_quick else max(1, at_once - 1)
                    job = await self._noted(job, first, items)
                    continue
                # the broker is unavailable, or no worker answers: the same pages are sent again
                await _ended(sent)
                cursor, at_once = job.cursor, 1
                job = self._leases.renewed(job)
                await self._leases.writer.write(job)
                await asyncio.sleep(self._pace.again_s)
        finally:
            await _ended(sent)

    async def _sent(self, job: BulkJob, cursor: str) -> _SentPage:
        """Read a page and begin to send its commands."""
        page = await self._page(job, cursor)
        outcomes = asyncio.create_task(self._outcomes(job, page), name="page of a bulk job")
        # pages are sent in the order in which their tasks begin
        await asyncio.sleep(0)
        return _SentPage(cursor, page, outcomes, self._clock.monotonic_s())

    async def _page(self, job: BulkJob, cursor: str) -> StoredPage[MonitorId]:
        """The monitors of a page."""
        if isinstance(job, NamedJob):
            begin, most = int(cursor or 0), self._pace.monitors
            named = StoredPage(job.ids[begin : begin + most])
            named.next = str(begin + most) if begin + most < len(job.ids) else ""
            return named
        which = selection_of(job.filter, job.user_id or job.filter.user)
        return await self._database.ask(
            lambda reader: reader.list_monitor_ids(which, cursor, limit=self._pace.monitors)
        )

    async def _outcomes(self, job: BulkJob, page: Sequence[MonitorId]) -> list[JobItem] | None:
        """Send a page's commands; gives those that were refused, None if some are not answered."""
        if not page:
            return []
        replies = await self._commands.ask([_asked(job, each) for each in page], WAIT_S)
        if any(reply is None or isinstance(reply, EverwatchError) for reply in replies):
            return None
        answered = [reply for reply in replies if isinstance(reply, Reply)]
        await self._audit.note(ROUTE, _asking(job), [_change(each) for each in answered])
        return [_item(each) for each in answered if _is_refused(job.action, each)]

    async def _noted(self, job: BulkJob, page: _SentPage, items: list[JobItem]) -> BulkJob:
        """Write how far a job has come."""
        if items and job.refused < self._pace.most_errors:
            await self._leases.writer.send(JobErrors(job.job_id, page_name(page.cursor), items))
        is_over = not page.monitors.next
        job = self._leases.renewed(
            job,
            cursor=page.monitors.next or job.cursor,
            done=job.done + len(page.monitors) - len(items),
            refused=job.refused + len(items),
            state=JobState.DONE if is_over else JobState.RUNNING,
            ended_at=self._clock.now_ms() if is_over else 0,
        )
        await self._leases.writer.write(job)
        return job


async def _ended(sent: deque[_SentPage]) -> None:
    """Give up pages whose answers are waited for."""
    tasks = [each.outcomes for each in sent]
    sent.clear()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _asked(job: BulkJob, monitor: MonitorId) -> Asked:
    user_id, monitor_id = monitor
    wanted: dict[str, Any] = {
        "command": job.action.value,
        "user_id": user_id,
        "monitor_id": monitor_id,
        "command_id": command_id_of(job.job_id, user_id, monitor_id),
    }
    return asked_of(wanted if job.until is None else wanted | {"until": job.until})


def _is_refused(action: JobAction, reply: Reply) -> bool:
    # what is gone was deleted, if not by this command
    is_gone = action is JobAction.DELETE and reply.code == RefusalCode.NOT_FOUND
    return reply.answer is CommandOutcome.REFUSED and not is_gone


def _item(reply: Reply) -> JobItem:
    return JobItem(reply.user_id, reply.monitor_id, reply.code or RefusalCode.INVALID, reply.reason, reply.command_id)


def _change(reply: Reply) -> AuditedChange:
    """The audit entry of a monitor of a job."""
    is_refused = reply.answer is CommandOutcome.REFUSED
    said = (reply.code or RefusalCode.INVALID) if is_refused else reply.answer.value
    status = refused(reply).status if is_refused else 200
    return AuditedChange(reply.command, reply.user_id, reply.monitor_id, reply.command_id, status, said)


def _asking(job: BulkJob) -> Asking:
    """The principal that made a job."""
    principal = Principal(job.token_id, frozenset(), job.user_id or "", job.token_name, job.role)
    return Asking(principal, job.address, "", f"job-{job.job_id}")

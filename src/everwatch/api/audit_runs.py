"""Runs of the tick audit as a resource, and what carries them out in the background.

A run is a record of the topic ``jobs`` with a lease, as a bulk job: of a process that is killed another one takes it
over, and begins again, as reading changes nothing.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator

from msgspec.structs import replace

from everwatch.api.audit_run_views import AuditRunBody, AuditRunList, AuditRunView
from everwatch.api.database import Database
from everwatch.api.job_records import KEPT_MS, LEASE_MS, MOST_ENDED, AuditRun, Jobs, job_id_of
from everwatch.api.job_views import JobState
from everwatch.api.job_writing import JobWriter
from everwatch.api.problems import Problem, invalid, not_found
from everwatch.api.routing import Answer, AuditedChange, Call
from everwatch.api.sending import command_id_of
from everwatch.core.clock import Clock
from everwatch.core.errors import EverwatchError, InvalidInput, RefusalCode
from everwatch.kafka.lag import Lag
from everwatch.kafka.topics import Topics
from everwatch.observability.log_throttle import LogThrottle
from everwatch.operations.audit import AuditReport, audit
from everwatch.operations.waiting_ticks import WaitingTicks
from everwatch.store import Reader
from everwatch.store.stored_values import Identity

logger = logging.getLogger(__name__)
SETTLE_MS = 30_000
"""Age up to which a tick may still be under way."""
MOST_RUNNING = 4
LOOK_EVERY_S = 1.0
NOTED_EVERY_S = 5.0
_LONGEST_PROBLEM = 500


class AuditRunRoutes:
    """Handlers of ``/v1/audit/runs``."""

    def __init__(self, jobs: Jobs, writer: JobWriter, clock: Clock) -> None:
        self._jobs = jobs
        self._writer = writer
        self._clock = clock

    async def create(self, call: Call, body: AuditRunBody) -> Answer:
        now, who = self._clock.now_ms(), call.principal
        run_id = job_id_of(command_id_of(call), who.user_id)
        if (known := self._jobs.audit_run(run_id)) is not None:
            asked = (known.since, known.user, known.late_after_ms)
            if asked != (body.since, body.user, body.late_after_ms) or body.until not in (0, known.until):
                raise Problem(422, RefusalCode.REUSED_KEY, "This Idempotency-Key was that of another run.")
            return _accepted(known, [])
        until = body.until or now - SETTLE_MS
        if body.since >= until:
            raise invalid(InvalidInput("it must lie before the end", "$.since"))
        running = [run for run in self._jobs.audit_runs() if run.state is JobState.RUNNING]
        if len(running) >= MOST_RUNNING:
            raise Problem(409, "too_many_jobs", f"There are {MOST_RUNNING} runs that are not over: wait for one.")
        run = AuditRun(run_id, body.since, until, body.user, body.late_after_ms, now, who.token_id, who.name)
        await self._writer.write(run)
        return _accepted(run, [AuditedChange("audit_run", body.user, command_id=run_id, status=202)])

    async def list(self, _: Call) -> Answer:
        return Answer(AuditRunList([_view(run) for run in self._jobs.audit_runs()]))

    async def get(self, call: Call) -> Answer:
        run = self._jobs.audit_run(call.path["run_id"])
        if run is None:
            raise not_found("such run of the audit")
        return Answer(_view(run))


class AuditRunner:
    """Carries out runs that no process has, one after the other. ``name``: of this process."""

    def __init__(
        self,
        name: str,
        jobs: Jobs,
        database: Database,
        writer: JobWriter,
        topics: Topics,
        measure_lag: Callable[[], Lag],
        clock: Clock,
    ) -> None:
        self._name = name
        self._jobs = jobs
        self._database = database
        self._writer = writer
        self._topics = topics
        self._measure_lag = measure_lag
        self._clock = clock
        self._log_throttle = LogThrottle(clock)

    async def run(self) -> None:
        """Go on until cancelled."""
        while True:
            try:
                await self.run_once()
            except (EverwatchError, Problem) as error:
                if self._log_throttle.may_log("failed"):
                    logger.warning("runs of the audit wait: %s", error)
            await asyncio.sleep(LOOK_EVERY_S)

    async def run_once(self) -> None:
        """Carry out all runs that no process has, and forget old ones. Raises StoreError, BrokerUnavailable."""
        now, runs = self._clock.now_ms(), self._jobs.audit_runs()
        ended = [run for run in runs if run.state is not JobState.RUNNING]
        for place, run in enumerate(ended):
            if place >= MOST_ENDED or run.ended_at + KEPT_MS < now:
                await self._writer.forget(run)
        for run in reversed(runs):
            is_free = run.owner == self._name or run.lease_until <= now
            if run.state is JobState.RUNNING and is_free:
                mine = self._leased(run)
                await self._writer.write(mine)
                if self._jobs.audit_run(run.run_id) == mine:
                    await self._carry_out(mine)

    async def _carry_out(self, run: AuditRun) -> None:
        reading = _Reading()
        asked = asyncio.ensure_future(self._database.ask(lambda reader: self._report(reader, run, reading)))
        try:
            while not (await asyncio.wait([asked], timeout=NOTED_EVERY_S))[0]:
                run = replace(self._leased(run), results_read=reading.results)
                await self._writer.write(run)
            report, problem = asked.result()
        finally:
            # the thread ends with the next result that it reads
            reading.is_over = True
        run = replace(self._leased(run), results_read=reading.results, problem=problem[:_LONGEST_PROBLEM])
        await self._writer.write(replace(run, state=JobState.DONE, report=report, ended_at=self._clock.now_ms()))

    def _leased(self, run: AuditRun) -> AuditRun:
        now = self._clock.now_ms()
        return replace(run, owner=self._name, lease_until=now + LEASE_MS, written_at=now)

    def _report(self, reader: Reader, run: AuditRun, reading: "_Reading") -> tuple[AuditReport, str]:
        waiting = WaitingTicks(self._topics, reader.partition_of, self._measure_lag)
        report = audit(
            reader.history(run.user),
            reading.counted(reader.identities(run.since, run.until, run.user)),
            run.since,
            run.until,
            late_after_ms=run.late_after_ms,
            waits=waiting.holds,
            known_since=reader.known_since(),
        )
        return report, waiting.problem


class _Reading:
    """Counts results as a thread reads them, and ends that."""

    def __init__(self) -> None:
        self.results = 0
        self.is_over = False

    def counted(self, found: Iterator[Identity]) -> Iterator[Identity]:
        for each in found:
            if self.is_over:
                raise EverwatchError("The process stops: another one begins this run again.")
            self.results += 1
            yield each


def _accepted(run: AuditRun, changes: list[AuditedChange]) -> Answer:
    return Answer(_view(run), 202, {"Location": f"/v1/audit/runs/{run.run_id}"}, changes=changes)


def _view(run: AuditRun) -> AuditRunView:
    return AuditRunView(
        run.run_id,
        run.state,
        run.since,
        run.until,
        run.user,
        run.late_after_ms,
        run.results_read,
        None if run.report is None else run.report.is_clean,
        run.report,
        run.problem,
        run.created_at,
        run.token_name,
        run.ended_at,
    )

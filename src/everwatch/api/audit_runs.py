"""Runs of the tick audit as a resource, and what carries them out in the background.

A run is a record of the topic ``jobs`` with a lease, as a bulk job: of a process that is killed another one takes it
over, and begins again, as reading changes nothing.
"""

import asyncio
from collections.abc import Callable, Iterator

from everwatch.api.audit_run_views import AuditRunBody, AuditRunList, AuditRunView
from everwatch.api.database import Database
from everwatch.api.job_records import AuditRun, Jobs, job_id_of
from everwatch.api.job_views import JobState
from everwatch.api.job_writing import JobWriter
from everwatch.api.leased_work import Leases
from everwatch.api.problems import Problem, invalid, not_found
from everwatch.api.routing import Answer, AuditedChange, Call
from everwatch.api.sending import command_id_of
from everwatch.core.clock import Clock
from everwatch.core.errors import EverwatchError, InvalidInput, RefusalCode
from everwatch.kafka.lag import Lag
from everwatch.kafka.topics import Topics
from everwatch.operations.audit import AuditReport, AuditTerms, audit
from everwatch.operations.waiting_ticks import WaitingTicks
from everwatch.store import Reader
from everwatch.store.stored_values import Identity

SETTLE_MS = 30_000
"""Age up to which a tick may still be under way."""
MOST_RUNNING = 4
NOTED_EVERY_S = 5.0
_LONGEST_PROBLEM = 500


class AuditRunRoutes:
    """Handlers of ``/v1/audit/runs``."""

    def __init__(self, jobs: Jobs, writer: JobWriter, clock: Clock) -> None:
        self._jobs = jobs
        self._writer = writer
        self._clock = clock

    async def create(self, call: Call, body: AuditRunBody) -> Answer:
        """Look in the background whether every tick that was due ran, once each."""
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
        """List runs of the tick audit."""
        return Answer(AuditRunList([_view(run) for run in self._jobs.audit_runs()]))

    async def get(self, call: Call) -> Answer:
        """Show a run of the tick audit, with its report once it is done."""
        run = self._jobs.audit_run(call.path["run_id"])
        if run is None:
            raise not_found("such run of the audit")
        return Answer(_view(run))


class AuditRunWork:
    """Runs of the audit as leased work."""

    def __init__(
        self,
        jobs: Jobs,
        leases: Leases,
        database: Database,
        topics: Topics,
        measure_lag: Callable[[], Lag],
        clock: Clock,
    ) -> None:
        self._jobs = jobs
        self._leases = leases
        self._database = database
        self._topics = topics
        self._measure_lag = measure_lag
        self._clock = clock

    def all(self) -> list[AuditRun]:
        """Return all runs, the latest first."""
        return self._jobs.audit_runs()

    async def carry_out(self, taken: AuditRun) -> None:
        """Carry a run out. Raises StoreError, BrokerUnavailable."""
        run, reading = taken, _Reading()
        asked = asyncio.ensure_future(self._database.ask(lambda reader: self._report(reader, run, reading)))
        try:
            while not (await asyncio.wait([asked], timeout=NOTED_EVERY_S))[0]:
                await self._leases.writer.write(self._leases.renewed(run, results_read=reading.results))
                if not self._leases.holds(run):
                    return  # another process carries it out
            report, problem = asked.result()
        finally:
            # the thread ends with the next result that it reads
            reading.is_over = True
        over = self._leases.renewed(
            run,
            results_read=reading.results,
            problem=problem[:_LONGEST_PROBLEM],
            state=JobState.DONE,
            report=report,
            ended_at=self._clock.now_ms(),
        )
        await self._leases.writer.write(over)

    def _report(self, reader: Reader, run: AuditRun, reading: "_Reading") -> tuple[AuditReport, str]:
        waiting = WaitingTicks(self._topics, reader.partition_of, self._measure_lag)
        report = audit(
            reader.history(run.user),
            reading.counted(reader.identities(run.since, run.until, run.user)),
            AuditTerms(
                run.since,
                run.until,
                run.late_after_ms,
                waits=waiting.holds,
                known_since=reader.known_since(),
            ),
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

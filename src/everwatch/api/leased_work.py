"""Background work of the topic ``jobs``: what no process has is taken with a lease and carried out.

A process that carries work out renews its lease with each record that it writes. The work of a process that is killed
is taken by another one once the lease is over.
"""

import asyncio
import logging
from collections.abc import Sequence
from functools import partial
from typing import Any, Protocol, TypeVar

from msgspec.structs import replace

from everwatch.api.job_records import KEPT_MS, LEASE_MS, MOST_ENDED, AuditRun, BulkJob, Jobs
from everwatch.api.job_views import JobState
from everwatch.api.job_writing import JobWriter
from everwatch.api.problems import Problem
from everwatch.core.clock import Clock
from everwatch.core.errors import EverwatchError
from everwatch.observability.log_throttle import LogThrottle
from everwatch.processes.periodic import Periodic

logger = logging.getLogger(__name__)
LOOK_EVERY_S = 1.0
Leased = TypeVar("Leased", BulkJob, AuditRun)


class LeasedWork(Protocol[Leased]):
    """One kind of work."""

    def all(self) -> Sequence[Leased]:
        """Return all work of this kind, the latest first."""
        ...

    async def carry_out(self, taken: Leased) -> None:
        """Carry out what this process has taken; returns when it is over, or another process has taken it.

        Raises StoreError, BrokerUnavailable, Problem; what is left is taken again later.
        """
        ...


class Leases:
    """The leases of one process. ``name``: of this process."""

    def __init__(self, name: str, jobs: Jobs, writer: JobWriter, clock: Clock) -> None:
        self._name = name
        self.jobs = jobs
        self._clock = clock
        self.writer = writer

    def renewed(self, record: Leased, **changes: Any) -> Leased:
        """Return a record with ``changes`` and a lease that begins now."""
        now = self._clock.now_ms()
        return replace(record, owner=self._name, lease_until=now + LEASE_MS, written_at=now, **changes)

    def holds(self, record: BulkJob | AuditRun) -> bool:
        """Tell whether the work goes on and is this process's."""
        held = self.jobs.held(record)
        return held is not None and held.state is JobState.RUNNING and held.owner == self._name

    async def take(self, record: Leased) -> Leased | None:
        """Take work that no process has taken; None if another one has, or was quicker. Raises BrokerUnavailable."""
        is_free = record.owner == self._name or record.lease_until <= self._clock.now_ms()
        if record.state is not JobState.RUNNING or not is_free:
            return None
        mine = self.renewed(record)
        await self.writer.write(mine)
        return mine if self.jobs.held(mine) == mine else None

    async def forget_ended(self, records: Sequence[BulkJob | AuditRun], most: int) -> None:
        """Delete work that ended too long ago, and all ended work but the newest ``most``. Raises BrokerUnavailable."""
        ended = [each for each in records if each.state is not JobState.RUNNING]
        for place, each in enumerate(ended):
            if place >= most or each.ended_at + KEPT_MS < self._clock.now_ms():
                await self.writer.forget(each)


class LeasedRunner:
    """Carries out several kinds of work: of each kind one after the other, the kinds side by side."""

    def __init__(
        self, leases: Leases, kinds: Sequence[LeasedWork[Any]], clock: Clock, *, most_ended: int = MOST_ENDED
    ) -> None:
        self._leases = leases
        self._kinds = kinds
        self._log_throttle = LogThrottle(clock)
        self._most_ended = most_ended

    async def run(self) -> None:
        """Go on until cancelled."""
        async with asyncio.TaskGroup() as group:
            for kind in self._kinds:
                group.create_task(Periodic(partial(self._attempt, kind), LOOK_EVERY_S).run())

    async def run_once(self) -> None:
        """Carry out all work that no process has, and forget work that ended long ago.

        Raises what ``carry_out`` does.
        """
        for kind in self._kinds:
            await self._run_once(kind)

    async def _attempt(self, kind: LeasedWork[Any]) -> None:
        try:
            await self._run_once(kind)
        except (EverwatchError, Problem) as error:
            if self._log_throttle.may_log(type(kind).__name__):
                logger.warning("background work waits: %s", error)

    async def _run_once(self, kind: LeasedWork[Any]) -> None:
        found = kind.all()
        await self._leases.forget_ended(found, self._most_ended)
        for each in reversed(found):
            if (taken := await self._leases.take(each)) is not None:
                await kind.carry_out(taken)

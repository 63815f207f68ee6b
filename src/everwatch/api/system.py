"""The system itself: lag, partitions, processes, plans, and what probes and Prometheus ask for."""

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from everwatch.api.database import Database
from everwatch.api.rendering import plan_views
from everwatch.api.routing import Answer, Call
from everwatch.api.state_views import (
    CountsView,
    CountView,
    LagView,
    PartitionsView,
    PlansView,
    WorkersView,
    WorkerView,
)
from everwatch.core.clock import Clock
from everwatch.kafka.consumer_groups import Member
from everwatch.kafka.lag import Lag, summed
from everwatch.plans.plan import Plans

MEASURED_EVERY_S = 2.0
KNOWN_FOR_S = 60.0
"""A lag that was measured within this time is the answer while the broker takes long to say another."""
WAIT_S = 1.0
"""Time that a broker has for that."""


class ProbeView(msgspec.Struct, frozen=True):
    """Answer to a probe. ``reasons``: a sentence for each part that is not ready."""

    status: str
    reasons: dict[str, str] = {}


class Installation:
    """Handlers of the system itself. ``measure_lag`` asks the broker, and is called in a thread."""

    def __init__(
        self,
        database: Database,
        measure_lag: Callable[[], Lag],
        plans: Callable[[], Plans | None],
        not_ready: Callable[[], dict[str, str]],
        clock: Clock,
    ) -> None:
        self._database = database
        self._measure_lag = measure_lag
        self._plans = plans
        self._not_ready = not_ready
        self._clock = clock
        self._measuring: asyncio.Task[None] | None = None
        self._measured: Lag | None = None
        self._measured_s = 0.0
        self._document = b""

    async def lag(self, _: Call) -> Answer:
        """Show how far processes are behind, by topic and group."""
        measured = await self._lag()
        return Answer(LagView(measured.at, summed(measured.partitions)))

    async def partitions(self, _: Call) -> Answer:
        """Show how far processes are behind, by partition, and who owns it."""
        measured = await self._lag()
        return Answer(PartitionsView(measured.at, list(measured.partitions)))

    async def workers(self, _: Call) -> Answer:
        """List workers, executors and sinks."""
        measured = await self._lag()
        found = [_worker(process, each) for process, members in measured.members.items() for each in members]
        return Answer(WorkersView(measured.at, found))

    async def counts(self, _: Call) -> Answer:
        """Count monitors by state, kind and plan, and users by plan."""
        found = await self._database.ask(lambda reader: reader.catalogue_counts())
        return Answer(CountsView([CountView(*each) for each in found.monitors], found.users))

    async def plans(self, _: Call) -> Answer:
        """List plans."""
        plans = await asyncio.to_thread(self._plans)
        return Answer(PlansView([] if plans is None else plan_views(plans)))

    async def alive(self, _: Call) -> Answer:
        """Tell whether the process is alive."""
        return Answer(ProbeView("alive"), headers={"Cache-Control": "no-store"})

    async def ready(self, _: Call) -> Answer:
        """Tell whether the process can serve."""
        reasons = self._not_ready()
        return Answer(
            ProbeView("not ready" if reasons else "ready", reasons),
            503 if reasons else 200,
            {"Cache-Control": "no-store"},
        )

    async def metrics(self, _: Call) -> Answer:
        """Metrics for Prometheus."""
        text = await asyncio.to_thread(generate_latest)
        return Answer(text, headers={"Cache-Control": "no-store"}, media_type=CONTENT_TYPE_LATEST)

    async def openapi(self, _: Call) -> Answer:
        """This document."""
        return Answer(self._document, headers={"Cache-Control": "no-cache"})

    def describe(self, document: dict[str, Any]) -> None:
        """Serve this OpenAPI document."""
        self._document = msgspec.json.encode(document)

    async def _lag(self) -> Lag:
        """Return the lag, measured now or a moment ago; of a slow broker, the last one. Raises BrokerUnavailable."""
        age_s = self._clock.monotonic_s() - self._measured_s
        if self._measured is not None and age_s <= MEASURED_EVERY_S:
            return self._measured
        if self._measuring is None or self._measuring.done():
            self._measuring = asyncio.create_task(self._measure())
        # shared by all who ask, and not broken off when one of them gives up
        is_known = self._measured is not None and age_s <= KNOWN_FOR_S
        await asyncio.wait({self._measuring}, timeout=WAIT_S if is_known else None)
        if self._measuring.done():
            self._measuring.result()
        assert self._measured is not None
        return self._measured

    async def _measure(self) -> None:
        self._measured = await asyncio.to_thread(self._measure_lag)
        self._measured_s = self._clock.monotonic_s()


def _worker(process: str, member: Member) -> WorkerView:
    return WorkerView(process, member.client_id, member.host, len(member.partitions))

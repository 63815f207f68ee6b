"""What has happened: results, transitions, and for how long a monitor was in which state."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from everwatch.api import paging
from everwatch.api.database import Database
from everwatch.api.problems import Problem, not_found
from everwatch.api.queries import InstantMs, Interval, OfKind, OfPlan, OfTarget, OfUser, narrowed, when_of
from everwatch.api.routing import Answer, Call
from everwatch.api.views import Instant, result_view
from everwatch.core.clock import Clock
from everwatch.model import State, Status
from everwatch.store.availability import MOST_BARS, Bar
from everwatch.store.interface import When
from everwatch.store.rollup_counts import Rollup, Step

DAY_MS = 86_400_000
MOST_STEPS = 1_000
_SHOWN_STEPS = 48


class ResultsQuery(Interval, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which results of a monitor."""

    status: Status | None = None


class AllResultsQuery(ResultsQuery, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which results of all users."""

    user: OfUser = ""
    kind: OfKind = ""


class TransitionsQuery(Interval, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which transitions of a monitor. ``alerts``: only those that a person is to be told of."""

    state: Annotated[State | None, Meta(description="Into this state.")] = None
    alerts: bool = False


class AllTransitionsQuery(TransitionsQuery, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which transitions of all users."""

    user: OfUser = ""
    kind: OfKind = ""
    plan: OfPlan = ""
    target: OfTarget = ""


class TimelineQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``since`` and ``until`` (ms): by default the last day, until now. ``bars``: in so many parts."""

    since: InstantMs = 0
    until: InstantMs = 0
    bars: Annotated[int, Meta(ge=0, le=min(MOST_BARS, 1_000))] = 0


class BarView(msgspec.Struct, frozen=True):
    """A part of time: for how many ms the monitor was in which state, and its availability (0 to 1; null: unknown)."""

    begin: Instant
    end: Instant
    state: State | None
    by_state: dict[State, int]
    maintenance_ms: int
    availability: float | None


class TimelineView(msgspec.Struct, frozen=True):
    """The whole interval, and the parts of it."""

    whole: BarView
    bars: list[BarView]


class LatencyQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``since`` and ``until`` (ms): by default the last 48 parts, until now."""

    step: Literal["hour", "day"] = "hour"
    since: InstantMs = 0
    until: InstantMs = 0


class LatencyPart(msgspec.Struct, frozen=True):
    """An hour or a day of a monitor: what its ticks came to, and durations in ms (within 2 %; null: nothing ran)."""

    at: Instant
    length_ms: int
    successes: int
    failures: int
    lates: int
    skips: int
    mean_ms: float | None
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None


class LatencyView(msgspec.Struct, frozen=True):
    """The parts of an interval, the earliest first; those without results are left out."""

    step: str
    items: list[LatencyPart]


class Past:
    """Handlers of what has happened."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def results(self, call: Call, query: AllResultsQuery) -> Answer:
        user_id = narrowed(call.principal, query.user)
        return await self._results(call, query, user_id, "", query.kind)

    async def results_of_monitor(self, call: Call, query: ResultsQuery) -> Answer:
        return await self._results(call, query, call.path["user_id"], call.path["monitor_id"], "")

    async def transitions(self, call: Call, query: AllTransitionsQuery) -> Answer:
        user_id, when = narrowed(call.principal, query.user), when_of(query)
        state = "" if query.state is None else query.state.value
        return await paging.page(
            self._database,
            call,
            query,
            lambda reader, after, limit: reader.transitions(
                user_id,
                state=state,
                kind=query.kind,
                plan=query.plan,
                target=query.target,
                alerts=query.alerts,
                when=when,
                after=after,
                limit=limit,
            ),
            lambda transition: transition,
        )

    async def transitions_of_monitor(self, call: Call, query: TransitionsQuery) -> Answer:
        user_id, monitor_id, when = call.path["user_id"], call.path["monitor_id"], when_of(query)
        state = "" if query.state is None else query.state.value
        return await paging.page(
            self._database,
            call,
            query,
            lambda reader, after, limit: reader.transitions(
                user_id, monitor_id, state=state, alerts=query.alerts, when=when, after=after, limit=limit
            ),
            lambda transition: transition,
        )

    async def timeline(self, call: Call, query: TimelineQuery) -> Answer:
        user_id, monitor_id = call.path["user_id"], call.path["monitor_id"]
        end = query.until or self._clock.now_ms()
        begin = query.since or end - DAY_MS
        if begin >= end:
            raise Problem(400, "invalid_parameter", "There is nothing between since and until: since must be earlier.")
        found = await self._database.ask(lambda reader: reader.monitor(user_id, monitor_id))
        if found is None:
            raise not_found(f"monitor {monitor_id!r} of user {user_id!r}")
        had = await self._database.ask(lambda reader: reader.availability(user_id, monitor_id, begin, end, query.bars))
        return Answer(TimelineView(_bar(had.total), [_bar(each) for each in had.bars]))

    async def latency(self, call: Call, query: LatencyQuery) -> Answer:
        user_id, monitor_id = call.path["user_id"], call.path["monitor_id"]
        step = Step[query.step.upper()]
        end = query.until or self._clock.now_ms() + 1
        begin = query.since or max(0, end - _SHOWN_STEPS * step.value)
        if begin >= end:
            raise Problem(400, "invalid_parameter", "There is nothing between since and until: since must be earlier.")
        if (end - begin) // step.value > MOST_STEPS:
            raise Problem(
                400, "invalid_parameter", f"These are more than {MOST_STEPS} parts: ask for days, or for less."
            )
        found = await self._database.ask(
            lambda reader: reader.rollups(user_id, monitor_id, step, When(begin // step.value * step.value, end))
        )
        return Answer(LatencyView(query.step, [_latency(each) for each in found]))

    async def _results(self, call: Call, query: ResultsQuery, user_id: str, monitor_id: str, kind: str) -> Answer:
        when, status = when_of(query), "" if query.status is None else query.status.value
        return await paging.page(
            self._database,
            call,
            query,
            lambda reader, after, limit: reader.results(
                user_id, monitor_id, status=status, kind=kind, when=when, after=after, limit=limit
            ),
            result_view,
        )


def _latency(part: Rollup) -> LatencyPart:
    p50, p95, p99 = part.quantiles_ms(0.5, 0.95, 0.99)
    counts = part.successes, part.failures, part.lates, part.skips
    return LatencyPart(part.at, part.length_ms, *counts, part.mean_ms, p50, p95, p99)


def _bar(bar: Bar) -> BarView:
    return BarView(bar.begin, bar.end, bar.state, bar.by_state, bar.maintenance_ms, bar.availability)

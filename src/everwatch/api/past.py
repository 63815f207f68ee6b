"""History of monitors: results, transitions, and the time that was spent in each state."""

from everwatch.api import paging
from everwatch.api.database import Database
from everwatch.api.problems import Problem, not_found
from everwatch.api.queries import (
    AllResultsQuery,
    AllTransitionsQuery,
    LatencyQuery,
    ResultsQuery,
    TimelineQuery,
    TransitionsQuery,
    narrowed,
    when_of,
)
from everwatch.api.rendering import result_view
from everwatch.api.routing import Answer, Call
from everwatch.api.state_views import BarView, LatencyPart, LatencyView, TimelineView
from everwatch.core.clock import Clock
from everwatch.store.availability import Bar
from everwatch.store.rollup_counts import Rollup, RollupStep
from everwatch.store.selections import ResultSelection, TransitionSelection, When

DAY_MS = 86_400_000
MOST_STEPS = 1_000
_SHOWN_STEPS = 48


class Past:
    """Handlers of results, transitions, timelines and latencies."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def results(self, call: Call, query: AllResultsQuery) -> Answer:
        """List results of all users."""
        user_id = narrowed(call.principal, query.user)
        return await self._results(call, query, user_id, "", query.kind)

    async def results_of_monitor(self, call: Call, query: ResultsQuery) -> Answer:
        """List a monitor's results."""
        return await self._results(call, query, call.path["user_id"], call.path["monitor_id"], "")

    async def transitions(self, call: Call, query: AllTransitionsQuery) -> Answer:
        """List transitions of all users."""
        user_id, state = narrowed(call.principal, query.user), _state(query)
        which = TransitionSelection(user_id, "", state, query.kind, query.plan, query.target, query.alerts)
        return await self._transitions(call, query, which)

    async def transitions_of_monitor(self, call: Call, query: TransitionsQuery) -> Answer:
        """List a monitor's transitions."""
        user_id, monitor_id = call.path["user_id"], call.path["monitor_id"]
        which = TransitionSelection(user_id, monitor_id, _state(query), alerts=query.alerts)
        return await self._transitions(call, query, which)

    async def timeline(self, call: Call, query: TimelineQuery) -> Answer:
        """Show for how long a monitor was in which state, and its availability."""
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
        """Show durations and counts of a monitor by hour or day, from its roll-ups."""
        user_id, monitor_id = call.path["user_id"], call.path["monitor_id"]
        step = RollupStep[query.step.upper()]
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
        which = ResultSelection(user_id, monitor_id, status, kind, query.region)
        return await paging.page(
            self._database,
            call,
            query,
            lambda reader, after, limit: reader.results(which, when=when, after=after, limit=limit),
            result_view,
        )

    async def _transitions(self, call: Call, query: TransitionsQuery, which: TransitionSelection) -> Answer:
        when = when_of(query)
        return await paging.page(
            self._database,
            call,
            query,
            lambda reader, after, limit: reader.transitions(which, when=when, after=after, limit=limit),
            lambda transition: transition,
        )


def _state(query: TransitionsQuery) -> str:
    return "" if query.state is None else query.state.value


def _latency(part: Rollup) -> LatencyPart:
    p50, p95, p99 = part.quantiles_ms(0.5, 0.95, 0.99)
    counts = part.successes, part.failures, part.lates, part.skips
    return LatencyPart(part.at, part.length_ms, *counts, part.mean_ms, p50, p95, p99)


def _bar(bar: Bar) -> BarView:
    return BarView(bar.begin, bar.end, bar.state, bar.by_state, bar.maintenance_ms, bar.availability)

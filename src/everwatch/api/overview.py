"""The system at a glance: numbers of users and monitors, the last results, and their delay.

It costs the same however much there is: counters that the sink keeps, and the newest results and transitions.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence

from everwatch.api.database import Database
from everwatch.api.overview_views import (
    ChangesView,
    ExecutorView,
    LatenessView,
    OverviewView,
    RecentResults,
    RecentTransitions,
)
from everwatch.api.routing import Answer, Call
from everwatch.api.state_views import CountView
from everwatch.core.clock import Clock
from everwatch.model import INLINE_EXECUTOR, Result, State, Status, Transition
from everwatch.schedule.duration import MINUTE_MS
from everwatch.store import Reader
from everwatch.store.selections import When
from everwatch.store.stored_values import CatalogueCounts, StoredResult

RESULTS_LOOKED_AT, RESULTS_WITHIN_MS = 500, MINUTE_MS
TRANSITIONS_LOOKED_AT, BARS = 1_000, 60
LOOKED_EVERY_S = 1.0


class Overview:
    """Handler of ``/v1/overview``. All who ask within a second get the same answer."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._looking = asyncio.Lock()
        self._seen: OverviewView | None = None
        self._seen_s = 0.0

    async def overview(self, _: Call) -> Answer:
        async with self._looking:
            now_s = self._clock.monotonic_s()
            if self._seen is None or now_s - self._seen_s >= LOOKED_EVERY_S:
                now = self._clock.now_ms()
                self._seen = await self._database.ask(lambda reader: look(reader, now))
                self._seen_s = now_s
        return Answer(self._seen)


def look(reader: Reader, now: int) -> OverviewView:
    """Return the overview at ``now``. Raises StoreError."""
    counts: CatalogueCounts = reader.catalogue_counts()
    newest = reader.results(limit=1)
    results = reader.results(when=When(since=now - RESULTS_WITHIN_MS), limit=RESULTS_LOOKED_AT)
    since = (now // MINUTE_MS - BARS + 1) * MINUTE_MS
    transitions = reader.transitions(when=When(since=since), limit=TRANSITIONS_LOOKED_AT)
    return OverviewView(
        now,
        newest[0].stored_at if newest else 0,
        [CountView(*each) for each in counts.monitors],
        counts.users,
        _recent(results, now),
        RecentTransitions(since, now, bool(transitions.next), _bars(transitions, since)),
    )


def _recent(stored: Sequence[StoredResult], now: int) -> RecentResults:
    found = [each.result for each in stored]
    since = now - RESULTS_WITHIN_MS
    if len(found) >= RESULTS_LOOKED_AT:
        since, until = found[-1].scheduled_at, found[0].scheduled_at
    else:
        until = now
    return RecentResults(
        len(found),
        since,
        round(len(found) * 1_000 / max(until - since, 1_000), 2),
        dict(Counter(result.status for result in found)),
        _lateness(found),
        _executors(found),
    )


def _lateness(found: Sequence[Result]) -> LatenessView | None:
    """Of the checks that executors began as their schedules say; a retry is late by intention."""
    late = sorted(
        max(0, result.started_at - result.scheduled_at)
        for result in found
        if _ran(result) and result.attempt == 1 and not result.manual
    )
    if not late:
        return None
    return LatenessView(len(late), late[(len(late) - 1) // 2], late[(len(late) - 1) * 99 // 100], late[-1])


def _executors(found: Sequence[Result]) -> list[ExecutorView]:
    by_executor: dict[str, list[Result]] = {}
    for result in found:
        if _ran(result):
            by_executor.setdefault(result.executor, []).append(result)
    return [
        ExecutorView(executor, len(some), sum(each.status is Status.FAILURE for each in some))
        for executor, some in sorted(by_executor.items())
    ]


def _ran(result: Result) -> bool:
    return result.status is not Status.SKIPPED and result.executor not in ("", INLINE_EXECUTOR)


def _bars(found: Sequence[Transition], since: int) -> list[ChangesView]:
    states: list[Counter[State]] = [Counter() for _ in range(BARS)]
    alerts = [0] * BARS
    for each in found:
        number = (each.at - since) // MINUTE_MS
        # clocks differ: a transition may lie ahead
        if 0 <= number < BARS and not each.reminder:
            states[number][each.to_state] += 1
            alerts[number] += each.alert
    return [ChangesView(since + i * MINUTE_MS, dict(states[i]), alerts[i]) for i in range(BARS)]

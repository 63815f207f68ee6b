"""Healthy users beside slow ones on one executor, without limits per host: how long their ticks wait for a slot.

500 users with a check of some milliseconds every 10 s, beside 120 users with five checks each that run into their
timeout of 10 s: these alone want 600 slots of an executor that has 500 (quick: 100 beside 30, with 125 slots).
"""

from collections import Counter
from threading import Event

from bench.http_users import AT_ONCE, HttpUsers, Results, start
from bench.plan import Plan
from bench.report import Figure, Outcome, percentile
from bench.rig import rig
from bench.target import target
from everwatch.model import Status

_WARM_UP_S = 40.0


def measure(plan: Plan) -> Outcome:
    """Measure how long healthy users' ticks wait: during warm-up, before check durations are known, and after it."""
    healthy, slow, slots, seconds = (100, 30, AT_ONCE // 4, 20.0) if plan.quick else (500, 120, AT_ONCE, 90.0)
    with rig() as bench, target() as probed:
        start(
            bench,
            HttpUsers("healthy", healthy, probed.url),
            HttpUsers("slow", slow, probed.hanging_url, monitors=5),
        )
        results = Results(bench)
        bench.start_executor(plan.processes, slots)
        bench.say("the lengths of checks become known")
        Event().wait(_WARM_UP_S)
        first = _waits(results)
        bench.say(f"watching for {seconds:g} s")
        Event().wait(seconds)
        then = _waits(results)
        return Outcome([*_figures("healthy", then, plan.quick), *_figures("slow", then, True), *_first(first)])


class _Waits:
    """Delay of ticks until they began, ms, by kind of user."""

    def __init__(self) -> None:
        self.ms: dict[str, Counter[int]] = {"healthy": Counter(), "slow": Counter()}
        self.skipped: Counter[str] = Counter()
        self.wrong = 0


def _waits(results: Results) -> _Waits:
    waits = _Waits()
    for result in results.new():
        who = result.user_id.partition("-")[0]
        if result.status is Status.SKIPPED:
            waits.skipped[who] += result.skipped_count
        else:
            waits.ms[who][max(0, result.started_at - result.scheduled_at)] += 1
            waits.wrong += who == "healthy" and result.status is not Status.SUCCESS
    return waits


def _figures(who: str, waits: _Waits, is_free: bool) -> list[Figure]:
    ms = waits.ms[who]
    figures = [
        Figure(f"{who}: checks run", ms.total(), "checks"),
        Figure(f"{who}: wait p50", percentile(ms, 0.5), "ms"),
        Figure(f"{who}: wait p99", percentile(ms, 0.99), "ms", "" if is_free else "<= 1000"),
        Figure(f"{who}: wait max", max(ms, default=0), "ms"),
        Figure(f"{who}: ticks skipped", waits.skipped[who], "ticks"),
    ]
    return [*figures, Figure("healthy: checks that failed", waits.wrong, "checks")] if who == "healthy" else figures


def _first(waits: _Waits) -> list[Figure]:
    ms = waits.ms["healthy"]
    return [
        Figure(f"healthy, in the first {_WARM_UP_S:g} s: wait p99", percentile(ms, 0.99), "ms"),
        Figure(f"healthy, in the first {_WARM_UP_S:g} s: wait max", max(ms, default=0), "ms"),
    ]

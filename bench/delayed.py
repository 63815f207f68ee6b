"""Delayed tasks: very many pending on one worker, and a great number of them due in the same second.

10,000,000 pending, due from tomorrow on, 100 a user, and 100,000 due in one second soon (quick: 200,000 and 20,000).
"""

from threading import Event

from bench.errors import Unmeasured
from bench.expectation import Expectation
from bench.pace import Pace, pace_of
from bench.plan import Plan
from bench.population import Once, Population
from bench.producing import Signups, publishing
from bench.report import Figure, Outcome
from bench.rig import Rig, rig
from bench.ticks import identity_figures
from bench.watching import compare, cost_figures, per_million, watch

PER_USER = 100
DAY_MS = 86_400_000
SPREAD_MS = 30 * DAY_MS
SECOND_MS = 1_000
AFTERWARDS_S = 4.0


def measure(plan: Plan) -> Outcome:
    """Create what stays pending, then what is due together, and watch that second."""
    pending, together = (200_000, 20_000) if plan.quick else (10_000_000, 100_000)
    lead_s = 15 if plan.quick else 30
    with rig() as bench:
        worker = bench.start_worker()
        bench.wait_on_time()
        empty_mib, cpu_s = worker.resident_mib(), worker.cpu_s()
        later = _tasks("later", pending, bench.clock.now_ms() + DAY_MS, SPREAD_MS)
        bench.say(f"creating {pending:,} tasks that are due from tomorrow on")
        pace = _create(bench, later)
        cpu_s = worker.cpu_s() - cpu_s
        at = (bench.clock.now_ms() // SECOND_MS + lead_s) * SECOND_MS
        soon = _tasks("soon", together, at, SECOND_MS)
        bench.say(f"creating {together:,} tasks that are due in the same second, {lead_s} s from now")
        _create(bench, soon)
        spare_s = (at - bench.clock.now_ms()) / 1000
        if spare_s < 1:
            raise Unmeasured(f"Creating {together} tasks took longer than {lead_s - 1} s, so they were due before.")
        bench.wait_on_time()
        resident_mib = worker.resident_mib()
        Event().wait(max(0.0, spare_s - 3))
        window = watch(bench, bench.topics.ticks, max(1.0, (at - bench.clock.now_ms()) / 1000 + AFTERWARDS_S), [worker])
        expected = Expectation(bench.partitions)
        expected.add(soon)
        # all of them, also those that came too early to lie in the window
        verdict = compare(window.reading, window.topic, at - 1, at + SECOND_MS, expected.due(at - 1, at + SECOND_MS))
        arrivals = [arrival for arrival, _, instant, _ in window.reading.arrivals(window.topic) if instant >= at]
        return Outcome(
            [
                Figure("created", pace.rate(pending), "tasks/s", ">= 30000"),
                Figure("pending", pending + together, "tasks"),
                Figure("resident", resident_mib, "MiB", "<= 1024"),
                Figure("resident, empty worker", empty_mib, "MiB"),
                Figure("due in one second", verdict.due, "tasks"),
                Figure("all out, after that second began", (max(arrivals, default=0) - at) / 1000, "s", "<= 2"),
                Figure("late p50", verdict.late(0.50), "ms"),
                Figure("late p99", verdict.late(0.99), "ms"),
                Figure("late max", verdict.worst, "ms"),
                Figure("missed", verdict.missed, "ticks", "<= 0"),
                Figure("duplicates", verdict.duplicates, "ticks", "<= 0"),
                Figure("early", verdict.early, "ticks", "<= 0"),
                Figure("known this long before they were due", spare_s, "s"),
                *identity_figures(bench, window, soon),
                Figure("CPU of creating", per_million(cpu_s, pending), "CPU s per million"),
                *cost_figures(window, verdict),
            ]
        )


def _tasks(prefix: str, tasks: int, from_ms: int, over_ms: int) -> Population:
    items = tuple(Once(f"task-{number}", from_ms, over_ms, salt=number) for number in range(PER_USER))
    return Population(items, tasks // PER_USER, prefix=prefix)


def _create(bench: Rig, tasks: Population) -> Pace:
    """Sign up and wait until the changelog has all users; the pace is the changelog's."""
    topics = bench.topics
    users = bench.taken_in(topics.signups) + tasks.users
    before = bench.written(topics.monitors_changelog)
    with publishing(bench.bootstrap_servers, topics.signups, Signups(tasks)) as published:
        pace = pace_of(
            bench,
            lambda: bench.written(topics.monitors_changelog) - before,
            lambda _: bench.taken_in(topics.signups) >= users,
            "changelog",
            tasks.monitors + tasks.users,
        )
        published.wait(60)
    return pace

"""Resident memory of one worker in steady state, beyond the empty worker, for each monitor; one monitor a user.

Steady: every monitor has been due at least once since it was put. 10,000,000 every minute (quick: 400,000 every 3 s).
"""

from statistics import median
from threading import Event

from bench.expectation import Expectation
from bench.plan import Plan
from bench.population import Population, Recurring
from bench.producing import Signups, publishing
from bench.report import Figure, Outcome
from bench.rig import rig
from bench.watching import cost_figures, judge, per_million, watch
from bench.worker import Worker

MIB = 2**20
LOOKS = 10


def measure(plan: Plan) -> Outcome:
    """Users are added in stages, and memory is read after each."""
    sizes, interval_s = ((200_000, 400_000), 3) if plan.quick else ((1_000_000, 2_500_000, 5_000_000, 10_000_000), 60)
    with rig() as bench:
        worker = bench.start_worker()
        bench.wait_on_time()
        empty_mib = _resident_mib(worker)
        expected = Expectation(bench.partitions)
        points: list[tuple[int, float]] = []
        curve: list[Figure] = []
        have = 0
        for size in sizes:
            added = Population((Recurring("tcp", interval_s * 1000),), size - have, have)
            bench.say(f"signing up {added.users:,} users, {size:,} in all")
            with publishing(bench.bootstrap_servers, bench.topics.signups, Signups(added)) as published:
                expected.add(added)
                published.wait(900)
            bench.wait_taken_in(bench.topics.signups)
            bench.wait_on_time()
            bench.say("one lap")
            Event().wait(interval_s + 1)
            resident_mib = _resident_mib(worker)
            points.append((size, resident_mib))
            have = size
            curve += [
                Figure(f"resident at {size:,} monitors", resident_mib, "MiB"),
                Figure(f"bytes per monitor at {size:,} monitors", _bytes_each(resident_mib - empty_mib, size), "bytes"),
            ]
            if size == sizes[-1] or not plan.quick:
                seconds = 3 if plan.quick else 10
                window = watch(bench, bench.topics.ticks, seconds, [worker], settle_s=plan.settle_s)
                verdict = judge(window, expected)
                cost = per_million(sum(window.cpu_s), verdict.ticks)
                curve.append(Figure(f"CPU at {size:,} monitors", cost, "CPU s per million"))
        (smaller, below_mib), (size, resident_mib) = points[-2:]
        slope = _bytes_each(resident_mib - below_mib, size - smaller)
        each = slope if plan.quick else _bytes_each(resident_mib - empty_mib, size)
        return Outcome(
            [
                Figure("resident per monitor", each, "bytes", "<= 60"),
                Figure("slope between the two largest sizes", slope, "bytes per monitor"),
                Figure("empty worker", empty_mib, "MiB"),
                Figure("of it all, files mapped into memory", _shared_mib(worker), "MiB"),
                *curve,
                Figure("ticks", verdict.ticks / window.seconds, "ticks/s"),
                Figure("late p99", verdict.late(0.99), "ms"),
                Figure("missed", verdict.missed, "ticks", "<= 0"),
                Figure("duplicates", verdict.duplicates, "ticks", "<= 0"),
                *cost_figures(window, verdict),
            ]
        )


def _bytes_each(mib: float, monitors: int) -> float:
    return mib * MIB / monitors


def _resident_mib(worker: Worker) -> float:
    """The median of some looks over two seconds."""
    looks = []
    for _ in range(LOOKS):
        looks.append(worker.resident_mib())
        Event().wait(0.2)
    return median(looks)


def _shared_mib(worker: Worker) -> float:
    return float(worker.process.memory_info().shared) / MIB

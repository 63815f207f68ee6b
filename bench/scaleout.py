"""One load on 1, 2 and 4 workers: what CPU each takes, beside an equal share of what one worker alone takes.

About 800,000 ticks/s of the capacity bench's recurring monitors, and 50,000 results/s that come back, one in a hundred
of which changes a state (quick: 50,000 and 10,000 on 1 and 2 workers). Each number of workers is watched with the
ticks alone too: at so low a cost what is paid for each process and each request counts most.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from threading import Event

from bench.capacity import RATE_PER_USER, RECURRING
from bench.feedback import Results
from bench.plan import Plan
from bench.population import Population
from bench.producing import publishing
from bench.report import Figure, Outcome
from bench.rig import Rig, rig
from bench.rivals import Subject, the_worker, wait_steady
from bench.watching import Verdict, Window, judge, per_million, watch
from bench.worker import Worker

SPREAD_WITHIN_S = 120.0
# results are published for the length of a window and what lies around it
SPARE_S = 40.0


@dataclass(frozen=True)
class Load:
    """Size of the work, and for how long it is watched."""

    ticks_a_second: int
    results_a_second: int
    counts: tuple[int, ...]
    settle_s: float
    seconds: float


FULL = Load(800_000, 50_000, (1, 2, 4), 20.0, 30.0)
QUICK = Load(50_000, 10_000, (1, 2), 0.5, 2.0)


@dataclass
class Shares:
    """CPU of each worker, in cores, at each number of workers."""

    cores: dict[int, list[float]] = field(default_factory=dict)

    def deviation(self, idle: float = 0.0) -> float:
        """The worst deviation of a worker from 1/n of what one alone takes, both beyond ``idle``, percent."""
        alone = max(0.001, self.cores[1][0] - idle)
        return max(
            abs((cores - idle) * count / alone - 1) * 100
            for count, each in self.cores.items()
            for cores in each
            if count > 1
        )


def measure(plan: Plan) -> Outcome:
    """Workers join one after the other; each stage is watched once the load is spread and on time."""
    load = QUICK if plan.quick else FULL
    population = Population(RECURRING, round(load.ticks_a_second / RATE_PER_USER))
    with rig() as bench:
        first = bench.start_worker("1")
        bench.wait_on_time()
        idle = _idle_cores(first, load.settle_s)
        subject = the_worker(bench, first)
        subject.sign_up(bench, population)
        answered = RECURRING[-1].monitor_id
        everybody = Results(population, range(1), bench.clock.now_ms(), answered)
        bench.say("a first success each: everybody is up")
        bench.publish(bench.topics.results, everybody)
        bench.wait_taken_in(bench.topics.results)
        both, ticks_only = Shares(), Shares()
        figures: list[Figure] = []
        rounds = round(load.results_a_second * (load.seconds + SPARE_S) / population.users) + 1
        for stage, count in enumerate(load.counts):
            while len(bench.workers) < count:
                bench.start_worker(str(len(bench.workers) + 1))
            wait_spread(bench, count)
            wait_steady(bench, subject)
            Event().wait(load.settle_s)
            on = f"on {count} worker{'s' if count > 1 else ''}"
            bench.say(f"watching ticks alone {on}")
            figures += _watched(bench, subject, plan, load, ticks_only, f"{on}, ticks alone")
            back = replace(everybody, rounds=range(1 + stage * rounds, 1 + (stage + 1) * rounds))
            with _coming_back(bench, back, load.results_a_second):
                bench.say(f"watching ticks and results {on}")
                figures += _watched(bench, subject, plan, load, both, on)
            bench.wait_taken_in(bench.topics.results)
        return Outcome(
            [
                Figure("worst deviation from 1/n", both.deviation(), "%", "" if plan.quick else "<= 20"),
                Figure("worst deviation from 1/n, ticks alone", ticks_only.deviation(), "%"),
                Figure("worst deviation from 1/n, ticks alone, beyond an idle worker", ticks_only.deviation(idle), "%"),
                Figure("an idle worker", idle, "cores"),
                *figures,
            ]
        )


@contextmanager
def _coming_back(bench: Rig, results: Results, a_second: float) -> Iterator[None]:
    """Publish results, from the moment on that the first of them were taken in."""
    topic = bench.topics.results
    before = bench.taken_in(topic)
    with publishing(bench.bootstrap_servers, topic, results, a_second=a_second):
        bench.wait_until(lambda: bench.taken_in(topic) > before, "results come back", 30)
        yield


def _watched(bench: Rig, subject: Subject, plan: Plan, load: Load, shares: Shares, on: str) -> list[Figure]:
    before = bench.taken_in(bench.topics.results)
    window = watch(bench, bench.topics.ticks, load.seconds, bench.workers, settle_s=plan.settle_s)
    came = bench.taken_in(bench.topics.results) - before
    verdict = judge(window, subject.expected)
    shares.cores[len(bench.workers)] = [cpu_s / window.seconds for cpu_s in window.cpu_s]
    figures = _stage(on, window, verdict)
    if came:
        figures.append(Figure(f"results {on}", came / (window.seconds + plan.settle_s), "results/s"))
    return figures


def _stage(on: str, window: Window, verdict: Verdict) -> list[Figure]:
    shares = [
        Figure(f"CPU {on}, worker {number}", cpu_s / window.seconds, "cores")
        for number, cpu_s in enumerate(window.cpu_s, 1)
    ]
    return [
        *shares,
        Figure(f"CPU {on}", per_million(sum(window.cpu_s), verdict.ticks), "CPU s per million"),
        Figure(f"resident {on}", sum(window.resident_mib), "MiB"),
        Figure(f"ticks {on}", verdict.ticks / window.seconds, "ticks/s"),
        Figure(f"late p50 {on}", verdict.late(0.50), "ms"),
        Figure(f"late p99 {on}", verdict.late(0.99), "ms"),
        Figure(f"late max {on}", verdict.worst, "ms"),
        Figure(f"missed {on}", verdict.missed, "ticks", "<= 0"),
        Figure(f"duplicates {on}", verdict.duplicates, "ticks", "<= 0"),
    ]


def _idle_cores(worker: Worker, seconds: float) -> float:
    before = worker.cpu_s()
    Event().wait(seconds)
    return (worker.cpu_s() - before) / seconds


def wait_spread(bench: Rig, count: int) -> None:
    """Wait until every worker has its share of the partitions; the topic of commands stands for the rest."""
    share = bench.partitions // count
    bench.wait_until(
        lambda: bench.claims(bench.settings.application, bench.topics.commands) == [share] * count,
        f"{count} workers have the same number of partitions",
        SPREAD_WITHIN_S,
    )

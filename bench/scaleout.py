"""One load on 1, 2 and 4 workers: what CPU each takes, beside an equal share of what one worker alone takes.

About 800,000 ticks/s of the capacity bench's recurring monitors (quick: 50,000/s on 1 and 2 workers).
"""

from threading import Event

from confluent_kafka.admin import AdminClient

from bench.capacity import RATE_PER_USER, RECURRING
from bench.plan import Plan
from bench.population import Population
from bench.report import Figure, Outcome
from bench.rig import Rig, rig
from bench.rivals import the_worker, wait_steady
from bench.watching import Verdict, Window, judge, per_million, watch
from bench.worker import Worker
from everwatch.kafka.clients import new_admin

SPREAD_WITHIN_S = 120.0


def measure(plan: Plan) -> Outcome:
    """Workers join one after the other; each stage is watched once the load is spread and on time."""
    rate, counts = (50_000, (1, 2)) if plan.quick else (800_000, (1, 2, 4))
    settle_s, seconds = (0.5, 4.0) if plan.quick else (20.0, 30.0)
    with rig() as bench:
        first = bench.start_worker("1")
        bench.wait_on_time()
        idle_s = _idle_cpu_s(first, settle_s)
        subject = the_worker(bench, first)
        subject.sign_up(bench, Population(RECURRING, round(rate / RATE_PER_USER)))
        alone = 0.0
        figures: list[Figure] = []
        deviations: list[float] = []
        beyond_idle: list[float] = []
        for count in counts:
            while len(bench.workers) < count:
                bench.start_worker(str(len(bench.workers) + 1))
            _wait_spread(bench, count)
            wait_steady(bench, subject)
            Event().wait(settle_s)
            bench.say(f"watching {count} worker{'s' if count > 1 else ''}")
            window = watch(bench, bench.topics.ticks, seconds, bench.workers, settle_s=plan.settle_s)
            verdict = judge(window, subject.expected)
            alone = alone or window.cpu_s[0]
            figures += _stage(count, window, verdict)
            if count > 1:
                share = alone / count
                deviations.append(max(abs(cpu_s / share - 1) for cpu_s in window.cpu_s) * 100)
                idle = idle_s * window.seconds
                share = max(0.001, (alone - idle) / count)
                beyond_idle.append(max(abs((cpu_s - idle) / share - 1) for cpu_s in window.cpu_s) * 100)
        return Outcome(
            [
                Figure("worst deviation from 1/n", max(deviations), "%", "" if plan.quick else "<= 20"),
                Figure("worst deviation from 1/n, beyond an idle worker", max(beyond_idle), "%"),
                Figure("an idle worker", idle_s, "cores"),
                *figures,
            ]
        )


def _stage(count: int, window: Window, verdict: Verdict) -> list[Figure]:
    on = f"on {count} worker{'s' if count > 1 else ''}"
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


def _idle_cpu_s(worker: Worker, seconds: float) -> float:
    before = worker.cpu_s()
    Event().wait(seconds)
    return (worker.cpu_s() - before) / seconds


def _wait_spread(bench: Rig, count: int) -> None:
    """Wait until every worker has its share of the partitions."""
    admin = new_admin(bench.settings, bench.bootstrap_servers)
    bench.wait_until(
        lambda: _shares(admin, bench) == [bench.partitions // count] * count,
        f"{count} workers have the same number of partitions",
        SPREAD_WITHIN_S,
    )


def _shares(admin: AdminClient, bench: Rig) -> list[int]:
    """How many partitions of the commands topic, which the rest follows, each member of the group has."""
    group = bench.settings.application
    found = admin.describe_consumer_groups([group], request_timeout=10)[group].result(10)
    return [
        sum(partition.topic == bench.topics.commands for partition in member.assignment.topic_partitions)
        for member in found.members
    ]

"""Ticks of many monitors of one interval, every one of them compared with what the schedules alone say.

1,000,000 monitors every 30 s for 5 minutes (quick: 100,000 every 10 s for 15 s).
"""

from threading import Event

from bench.expectation import MOST_LAPS, Expectation, identify
from bench.plan import Plan
from bench.population import Population, Recurring
from bench.producing import Signups
from bench.report import Figure, Outcome
from bench.rig import Rig, rig
from bench.watching import Window, cost_figures, judge, watch
from everwatch.encoding import codec

MOST_IDENTIFIED = 12_000_000


def measure(plan: Plan) -> Outcome:
    """All users sign up, then every tick in a window is read."""
    users, interval_s, seconds = (100_000, 10, 15) if plan.quick else (1_000_000, 30, 300)
    population = Population((Recurring("tcp", interval_s * 1000),), users)
    with rig() as bench:
        worker = bench.start_worker()
        bench.say(f"signing up {users:,} users, one monitor each, every {interval_s} s")
        bench.publish(bench.topics.signups, Signups(population))
        expected = Expectation(bench.partitions)
        expected.add(population)
        bench.wait_taken_in(bench.topics.signups)
        bench.wait_on_time()
        Event().wait(1 if plan.quick else 10)
        bench.say(f"reading ticks for {seconds} s")
        window = watch(bench, bench.topics.ticks, seconds, [worker], settle_s=plan.settle_s)
        verdict = judge(window, expected)
        bench.say("comparing tick by tick")
        return Outcome(
            [
                Figure("monitors", users, "monitors"),
                Figure("ticks", verdict.ticks / window.seconds, "ticks/s"),
                Figure("late p50", verdict.late(0.50), "ms"),
                Figure("late p99", verdict.late(0.99), "ms", "<= 50"),
                Figure("late max", verdict.worst, "ms"),
                Figure("late p99, last fifth less first", verdict.growth_ms, "ms", "<= 10"),
                Figure("missed", verdict.missed, "ticks", "<= 0"),
                Figure("duplicates", verdict.duplicates, "ticks", "<= 0"),
                *identity_figures(bench, window, population),
                *cost_figures(window, verdict),
            ]
        )


def identity_figures(bench: Rig, window: Window, population: Population) -> list[Figure]:
    """Comparison tick by tick: the window is read back from the topic, by key, monitor and instant."""
    records = bench.client.records(window.topic, window.begin, window.end)
    shortest_ms = min((item.interval_ms for item in population.items if isinstance(item, Recurring)), default=1e9)
    most_ms = min(MOST_IDENTIFIED / max(1.0, population.rate) * 1000, (MOST_LAPS - 1) * shortest_ms)
    after = max(window.after, window.upto - int(most_ms))
    found = identify(population, records, _monitor_of, after, window.upto)
    return [
        Figure("compared one by one", found.ticks, "ticks"),
        Figure("missed, one by one", found.missed, "ticks", "<= 0"),
        Figure("duplicates, one by one", found.duplicates, "ticks", "<= 0"),
        Figure("not due, one by one", found.wrong, "ticks", "<= 0"),
    ]


def _monitor_of(value: bytes) -> str:
    return codec.decode_tick(b"user", value, 0, 0).monitor_id

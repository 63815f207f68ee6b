"""A worker stopped (SIGTERM) and started again, its local state kept and then wiped, watched across the gap.

It is back when every partition's progress is within a second of now and its ticks come within a second, for good; the
clock starts with the process, and once more when its group has assigned it all partitions. 1,000,000 monitors every
30 s (quick: 60,000 every 10 s); misfire rule: fire all.
"""

import shutil
from threading import Event

from bench.errors import Unmeasured
from bench.expectation import Expectation
from bench.plan import Plan
from bench.population import Population, Recurring
from bench.producing import Signups
from bench.reader import Reading, reading
from bench.report import Figure, Outcome
from bench.rig import Rig, rig
from bench.watching import STEP_MS, compare, per_million
from bench.worker import Worker

ON_TIME_MS = 1_000
BACK_WITHIN_S = 300.0
BEFORE_S = 1.0


def measure(plan: Plan) -> Outcome:
    """One worker, stopped twice."""
    users, interval_s = (60_000, 10) if plan.quick else (1_000_000, 30)
    population = Population((Recurring("tcp", interval_s * 1000),), users, misfire="fire_all")
    with rig() as bench:
        worker = bench.start_worker()
        bench.say(f"signing up {users:,} users")
        bench.publish(bench.topics.signups, Signups(population))
        expected = Expectation(bench.partitions)
        expected.add(population)
        bench.wait_taken_in(bench.topics.signups)
        bench.wait_on_time()
        figures = [Figure("monitors", users, "monitors")]
        for name, wipe, target in (("kept", False, "<= 8"), ("wiped", True, "<= 15")):
            worker, found = _again(bench, plan, worker, expected, name, wipe, target)
            figures += found
        return Outcome(figures)


def _again(
    bench: Rig, plan: Plan, worker: Worker, expected: Expectation, name: str, wipe: bool, target: str
) -> tuple[Worker, list[Figure]]:
    ticks, progress = bench.topics.ticks, bench.topics.progress
    begin, noted = bench.ends(ticks), bench.ends(progress)
    with reading(bench.bootstrap_servers, {(ticks, number): at for number, at in enumerate(begin)}) as reader:
        after = (bench.clock.now_ms() + STEP_MS) // STEP_MS * STEP_MS
        Event().wait(BEFORE_S)
        bench.say(f"stopping the worker, local state {name}")
        stopping_s = bench.clock.monotonic_s()
        bench.stop_worker(worker)
        stopped_s = bench.clock.monotonic_s() - stopping_s
        if wipe:
            shutil.rmtree(worker.folder)
        bench.say("starting it again")
        worker = bench.start_worker()
        assigned = _assigned(bench)
        bench.wait_on_time(BACK_WITHIN_S)
        cpu_s = worker.cpu_s()
        Event().wait(plan.settle_s)
        upto = bench.clock.now_ms() // STEP_MS * STEP_MS
        Event().wait(plan.settle_s)
        read = reader.stop()
    verdict = compare(read, ticks, after, upto, expected.due(after, upto))
    late = max(
        _ticking_again(bench, read, worker.begun_ms), _progressing_again(bench, progress, noted, worker.begun_ms)
    )
    return worker, [
        Figure(f"on time again, local state {name}", late / 1000, "s", target),
        Figure(
            f"… after its partitions were assigned, local state {name}",
            (late - (assigned - worker.begun_ms)) / 1000,
            "s",
            "<= 6" if wipe else "",
        ),
        Figure(f"stopped in, local state {name}", stopped_s, "s"),
        Figure(f"longest delay of a tick, local state {name}", verdict.worst / 1000, "s"),
        Figure(f"missed, local state {name}", verdict.missed, "ticks", "<= 0"),
        Figure(f"emitted again, local state {name}", verdict.duplicates, "ticks"),
        Figure(f"ticks in the window, local state {name}", verdict.ticks, "ticks"),
        Figure(f"CPU of the start, local state {name}", per_million(cpu_s, expected.monitors), "CPU s per million"),
        Figure(f"resident, local state {name}", worker.resident_mib(), "MiB"),
    ]


def back_after(looks: list[tuple[int, int]], begun: int) -> int:
    """Ms from ``begun`` until all is well for good. ``looks`` are (instant, lateness in ms).

    That is the last look that found lateness, or the first one at all where none did. Raises Unmeasured if there is
    none.
    """
    since = sorted(look for look in looks if look[0] >= begun)
    if not since:
        raise Unmeasured("A partition stayed silent after the restart.")
    late = [instant for instant, lateness in since if lateness > ON_TIME_MS]
    return (late[-1] if late else since[0][0]) - begun


def _assigned(bench: Rig) -> int:
    """Wait until the group has assigned all partitions, as the broker describes it; gives the instant, ms."""
    group, topic = bench.settings.application, bench.topics.commands
    bench.wait_until(
        lambda: sum(bench.claims(group, topic)) == bench.partitions, "the partitions are assigned", BACK_WITHIN_S, 0.02
    )
    return bench.clock.now_ms()


def _ticking_again(bench: Rig, read: Reading, begun: int) -> int:
    looks: dict[int, list[tuple[int, int]]] = {number: [] for number in range(bench.partitions)}
    for arrival, partition, instant, _ in read.arrivals(bench.topics.ticks):
        looks[partition].append((arrival, arrival - instant))
    return max(back_after(found, begun) for found in looks.values())


def _progressing_again(bench: Rig, topic: str, noted: list[int], begun: int) -> int:
    looks: dict[int, list[tuple[int, int]]] = {number: [] for number in range(bench.partitions)}
    for partition, record in bench.client.records(topic, noted, bench.ends(topic)):
        looks[partition].append((record.timestamp, record.timestamp - int(record.value)))
    return max(back_after(found, begun) for found in looks.values())

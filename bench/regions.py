"""Cost of a tick that executors of three regions run, beside one that executors without a region run, in one run.

2,000 http monitors every 10 s, 200 ticks a second (quick: 500 monitors, 50 a second), and then the same monitors in
three regions: a worker, a sink on SQLite, an executor of each region, and the broker. All of it shares the machine
with the target, and every check succeeds.
"""

from dataclasses import dataclass
from threading import Event

from bench.http_users import AT_ONCE, HttpUsers
from bench.plan import Plan
from bench.report import Figure, Outcome
from bench.rig import Rig, rig
from bench.target import target
from bench.worker import Worker

REGIONS = ("ap", "eu", "us")
INTERVAL_MS = 10_000
MONITORS = 5
_SETTLE_S = 25.0


@dataclass(frozen=True)
class _Window:
    """A time in which ``results`` came: the CPU seconds that each process used, and the bytes that topics grew by."""

    results: int
    cpu_s: dict[str, float]
    bytes: dict[str, int]


def measure(plan: Plan) -> Outcome:
    """Measure what a tick costs each process, without regions and with three."""
    users, seconds = (100, 15.0) if plan.quick else (400, 60.0)
    shared = {"EVERWATCH_REGIONS": ",".join(REGIONS)}
    with rig(regions=",".join(REGIONS)) as bench, target() as probed:
        worker = bench.start_worker("1", shared)
        more = shared | {"EVERWATCH_PARTITIONS": str(bench.partitions)}
        sink = Worker("sink", bench.folder, bench.bootstrap_servers, ("sink",), more)
        bench.workers.append(sink)
        bench.wait_on_time()
        executor = bench.start_executor(plan.processes, AT_ONCE)
        _sign_up(bench, HttpUsers("user", users, probed.url, INTERVAL_MS, MONITORS))
        one = _watched(bench, {"worker": [worker], "sink": [sink], "executor": [executor]}, seconds)
        bench.stop_worker(executor)
        executors = [bench.start_executor(plan.processes, AT_ONCE, f"executor-{each}", each) for each in REGIONS]
        _sign_up(bench, HttpUsers("user", users, probed.url, INTERVAL_MS, MONITORS, REGIONS))
        three = _watched(bench, {"worker": [worker], "sink": [sink], "executor": executors}, seconds)
    return Outcome([*_figures("no region", one, 1), *_figures("three regions", three, len(REGIONS))])


def _sign_up(bench: Rig, users: HttpUsers) -> None:
    bench.say(f"{users.users * users.monitors:,} monitors in {len(users.regions) or 'no'} regions")
    bench.publish(bench.topics.signups, users)
    bench.wait_taken_in(bench.topics.signups)
    bench.wait_on_time()


def _watched(bench: Rig, running: dict[str, list[Worker]], seconds: float) -> _Window:
    Event().wait(_SETTLE_S)
    before = _look(bench, running)
    bench.say(f"watching for {seconds:g} s")
    Event().wait(seconds)
    bench.check()
    after = _look(bench, running)
    return _Window(
        after.results - before.results,
        {name: used - before.cpu_s[name] for name, used in after.cpu_s.items()},
        {name: size - before.bytes[name] for name, size in after.bytes.items()},
    )


def _look(bench: Rig, running: dict[str, list[Worker]]) -> _Window:
    cpu_s = {name: sum(each.cpu_s() for each in all_of) for name, all_of in running.items()}
    data = bench.folder / "kafka" / "data"
    logs = [(each.parent.name, each.stat().st_size) for each in data.glob("*/*.log")]
    sizes = {
        what: sum(size for name, size in logs if name.startswith(what))
        for what in ("ticks", "results", f"{bench.settings.application}-monitors-changelog")
    }
    sizes["changelog"] = sizes.pop(f"{bench.settings.application}-monitors-changelog")
    return _Window(bench.written(bench.topics.results), cpu_s | {"broker": bench.broker_cpu_s()}, sizes)


def _figures(name: str, window: _Window, results_of_a_tick: int) -> list[Figure]:
    ticks = window.results / results_of_a_tick
    return [
        *(
            Figure(f"{name}, {process}: CPU for 1,000 ticks", used / ticks * 1000, "CPU s")
            for process, used in window.cpu_s.items()
        ),
        *(Figure(f"{name}, {what}: for each tick", size / ticks, "bytes") for what, size in window.bytes.items()),
    ]

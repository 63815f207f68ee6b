"""CPU, memory and disk of every process at a steady rate of http checks: worker, executor, sink, notifier, API, broker.

10,000 http monitors of 2,000 users every 10 s, 1,000 checks a second (quick: 1,000 monitors, 100 a second), one process
of each, an SQLite database, nothing failing and nothing asked of the API. All of it shares the machine with the target.
"""

from dataclasses import dataclass
from pathlib import Path
from threading import Event

from bench.http_users import AT_ONCE, HttpUsers, start
from bench.plan import Plan
from bench.report import Figure, Outcome
from bench.rig import Rig, rig
from bench.target import target
from bench.worker import Worker

INTERVAL_MS = 10_000
MONITORS = 5
MIB = 2**20
_SETTLE_S = 25.0
_RESULTS = "results-"


@dataclass(frozen=True)
class _Look:
    """The use up to an instant: CPU seconds by process, results, and bytes by folder."""

    at_s: float
    cpu_s: dict[str, float]
    results: int
    bytes_of: dict[str, int]


def measure(plan: Plan) -> Outcome:
    """Measure what each process uses in a window after all of them have settled."""
    users, seconds = (200, 15.0) if plan.quick else (2_000, 60.0)
    with rig() as bench, target() as probed:
        start(bench, HttpUsers("user", users, probed.url, INTERVAL_MS, MONITORS))
        # by now the worker is there, and named as it is in the rig
        running = {"worker": bench.workers[0], "executor": bench.start_executor(plan.processes, AT_ONCE)}
        for name, command in {"sink": ("sink",), "notifier": ("notifier",), "api": ("api", "--port", "0")}.items():
            shared = {"EVERWATCH_PARTITIONS": str(bench.partitions)}
            running[name] = Worker(name, bench.folder, bench.bootstrap_servers, command, shared)
            bench.workers.append(running[name])
        bench.say("the processes settle")
        Event().wait(_SETTLE_S)
        bench.check()
        before = _look(bench, running)
        bench.say(f"watching for {seconds:g} s")
        Event().wait(seconds)
        bench.check()
        return Outcome(_figures(before, _look(bench, running), running, bench))


def _look(bench: Rig, running: dict[str, Worker]) -> _Look:
    cpu_s = {name: each.cpu_s() for name, each in running.items()} | {"broker": bench.broker_cpu_s()}
    data = bench.folder / "kafka" / "data"
    return _Look(
        bench.clock.monotonic_s(),
        cpu_s,
        bench.written(bench.topics.results),
        {
            "results on the topic": sum(_size(each) for each in data.glob(f"{_RESULTS}*")),
            "all topics": _size(data),
            "database": sum(each.stat().st_size for each in bench.folder.glob("everwatch.db*")),
            "worker's folder": _size(bench.folder / "workers"),
        },
    )


def _size(folder: Path) -> int:
    # blocks on the disk: index files are made as large as they may become
    return sum(each.stat().st_blocks * 512 for each in folder.rglob("*") if each.is_file())


def _figures(before: _Look, after: _Look, running: dict[str, Worker], bench: Rig) -> list[Figure]:
    lasted_s, checks = after.at_s - before.at_s, after.results - before.results
    resident = {name: each.resident_mib() for name, each in running.items()}
    resident["broker"] = bench.broker.memory_info().rss / MIB
    figures = [Figure("checks", checks / lasted_s, "a second")]
    for name, cpu_s in after.cpu_s.items():
        used = cpu_s - before.cpu_s[name]
        figures += [
            Figure(f"{name}: CPU", used / lasted_s, "cores"),
            Figure(f"{name}: CPU for 1,000 checks", used / checks * 1000, "CPU s"),
            Figure(f"{name}: resident", resident[name], "MiB"),
        ]
    figures += [
        Figure(f"disk, {name}: for each check", (size - before.bytes_of[name]) / checks, "bytes")
        for name, size in after.bytes_of.items()
    ]
    return [*figures, Figure("disk, worker's folder", after.bytes_of["worker's folder"] / MIB, "MiB")]

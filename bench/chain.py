"""The whole chain: signups, ticks, executor, results, feedback, sink, database; the highest rate that it holds.

One process of each beside the broker, and for PostgreSQL the server. Users sign up in steps, each step a quarter more
checks a second (every monitor is due every 10 s), until a step does not hold: 99 of 100 rows of a window can be read
from the database within 2 s of ``scheduled_at``, none is missing, stored twice or not a success. The judge is a reader
of the database (``bench.stored``) that knows the schedules and asks no process. Kinds: ``http`` against a server on
loopback, a new connection each; ``noop`` and ``heartbeat``, which the worker judges itself.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from threading import Event

import orjson
import psutil
import psycopg

from bench.errors import Unmeasured
from bench.expectation import Expectation
from bench.http_users import AT_ONCE
from bench.plan import Plan
from bench.population import Population, Recurring
from bench.postgres import Missing, PostgresServer, running
from bench.producing import Records
from bench.report import Figure, Outcome
from bench.rig import Rig, rig
from bench.stored import (
    Database,
    Identity,
    PostgresDatabase,
    SqliteDatabase,
    StoredReader,
    compare_rows,
    counted_due,
    due_rows,
)
from bench.storing import SERVER
from bench.target import Target, target
from bench.worker import Worker, cpu_s_of

INTERVAL_MS = 10_000
MONITORS = 5
LATE_MS = 2_000.0
SHARE = 0.99
GROWTH = 1.25
MIB = 2**20
# of the first step, in checks a second: what any two cores hold
FIRST_RATES = {"http": 600, "noop": 1_600, "heartbeat": 1_600}
QUICK_RATE, QUICK_STEPS = 100, 2
_MOST_STEPS = 20
_SETTLE_S = 12.0
_LOOK_S = 0.1
_AFTERWARDS_S = 10.0


@dataclass(frozen=True)
class ChainUsers:
    """Signups of a population whose monitors are all of ``kind``."""

    population: Population
    kind: str
    url: str

    def records(self) -> Records:
        """Keys and values."""
        configs: dict[str, dict[str, str]] = {"http": {"url": self.url}, "heartbeat": {"period": "400d"}}
        monitors = [
            {
                "monitor_id": item.monitor_id,
                "kind": self.kind,
                "config": configs.get(self.kind, {}),
                "schedule": {"every": f"{INTERVAL_MS}ms"},
            }
            for item in self.population.items
        ]
        for number in self.population.numbers:
            user = self.population.user_id(number)
            yield user.encode(), orjson.dumps({"user_id": user, "monitors": monitors})


@dataclass(frozen=True)
class Step:
    """Outcome of one rate. ``cores``: CPU of each process; ``idle``: what the machine had left, in cores."""

    rate: float
    late_p50_ms: float
    late_p99_ms: float
    identity: Identity
    cores: dict[str, float]
    resident_mib: dict[str, float]
    idle: float

    @property
    def held(self) -> bool:
        """Tell whether the chain holds this rate."""
        faults = self.identity
        whole = not (faults.missing or faults.wrong or faults.failed or faults.repeated)
        return whole and self.late_p99_ms < LATE_MS


@dataclass
class Chain:
    """The running processes of one kind of monitors over one database."""

    bench: Rig
    kind: str
    url: str
    database: Database
    workers: dict[str, Worker]
    others: dict[str, psutil.Process]
    server: PostgresServer | None
    populations: list[Population] = field(default_factory=list)

    def grow(self, rate: int) -> None:
        """Sign up users until this many checks a second are due, and wait until they are registered."""
        users = rate * INTERVAL_MS // 1000 // MONITORS
        have = sum(population.users for population in self.populations)
        items = tuple(Recurring(f"site-{number}", INTERVAL_MS) for number in range(MONITORS))
        added = Population(items, users - have, have)
        self.bench.publish(self.bench.topics.signups, ChainUsers(added, self.kind, self.url))
        self.bench.wait_taken_in(self.bench.topics.signups)
        self.populations.append(added)

    def step(self, rate: int, seconds: float, settle_s: float) -> Step:
        """Measure one rate."""
        bench = self.bench
        self.grow(rate)
        # so that every monitor was due once before the window
        Event().wait(settle_s)
        expected = Expectation(bench.partitions)
        for population in self.populations:
            expected.add(population)
        after = bench.clock.now_ms()
        upto = after + round(seconds * 1000)
        reader = StoredReader(self.database, counted_due(expected, after, upto), after, upto)
        cpu_s, idle_s, began_s = self._cpu_s(), psutil.cpu_times().idle, bench.clock.monotonic_s()
        window: tuple[dict[str, float], float] | None = None
        while reader.missing and bench.clock.now_ms() < upto + _AFTERWARDS_S * 1000:
            bench.check()
            reader.look(bench.clock.now_ms)
            if window is None and bench.clock.now_ms() >= upto:
                window = self._used(cpu_s, idle_s, began_s)
            Event().wait(_LOOK_S)
        cores, idle = window or self._used(cpu_s, idle_s, began_s)
        bench.check_refused()
        identity = compare_rows(self.database, due_rows(self.populations, after, upto), after, upto)
        due = sum(reader.due.values())
        return Step(
            due / seconds, reader.late(0.5), reader.late(SHARE), identity, cores, self._resident_mib(), idle
        )  # fmt: skip

    def _processes(self) -> dict[str, list[psutil.Process]]:
        found = {name: [each.process, *each.process.children(recursive=True)] for name, each in self.workers.items()}
        found |= {name: [process] for name, process in self.others.items()}
        if self.server is not None:
            postmaster = psutil.Process(self.server.pid)
            own = getattr(self.database, "process_id", 0)
            found["PostgreSQL"] = [postmaster, *(p for p in postmaster.children(recursive=True) if p.pid != own)]
        return found

    def _cpu_s(self) -> dict[str, float]:
        return {name: sum(map(cpu_s_of, processes)) for name, processes in self._processes().items()}

    def _resident_mib(self) -> dict[str, float]:
        # server processes share their buffers: unique memory is what each adds
        return {
            name: sum(p.memory_full_info().uss if name == "PostgreSQL" else p.memory_info().rss for p in each) / MIB
            for name, each in self._processes().items()
        }

    def _used(self, cpu_s: dict[str, float], idle_s: float, began_s: float) -> tuple[dict[str, float], float]:
        lasted_s = self.bench.clock.monotonic_s() - began_s
        used = {name: max(0.0, now - cpu_s.get(name, 0.0)) / lasted_s for name, now in self._cpu_s().items()}
        return used, (psutil.cpu_times().idle - idle_s) / lasted_s


def measure(plan: Plan) -> Outcome:
    """Measure each kind over each database; a rig of its own for each."""
    kinds = ("http",) if plan.quick else tuple(FIRST_RATES)
    figures: list[Figure] = []
    try:
        for database in ("SQLite", "PostgreSQL"):
            if plan.takes(database):
                for kind in kinds:
                    figures += _measured(plan, kind, database)
    except Missing as error:
        raise Unmeasured(str(error)) from None
    return Outcome(figures)


def _measured(plan: Plan, kind: str, database: str) -> Iterator[Figure]:
    with ExitStack() as stack:
        server = stack.enter_context(running(*SERVER)) if database == "PostgreSQL" else None
        url = server.new_database() if server else ""
        probed, bench = stack.enter_context(target()), stack.enter_context(rig())
        chain = _started(plan, bench, kind, probed, server, url)
        stack.callback(chain.database.close)
        yield from _figures(f"{kind}, {database}", _steps(plan, chain))


def _started(plan: Plan, bench: Rig, kind: str, probed: Target, server: PostgresServer | None, url: str) -> Chain:
    workers = {"worker": bench.start_worker()}
    bench.wait_on_time()
    workers["executor"] = bench.start_executor(plan.processes, AT_ONCE)
    variables = {"EVERWATCH_PARTITIONS": str(bench.partitions), "EVERWATCH_DATABASE": url}
    workers["sink"] = Worker("sink", bench.folder, bench.bootstrap_servers, ("sink",), variables)
    bench.workers.append(workers["sink"])
    others = {"broker": bench.broker}
    if kind == "http":
        others["target"] = psutil.Process(probed.process_id)
    # the sink makes the tables
    made: list[Database] = []

    def is_there() -> bool:
        database: Database | None = None
        try:
            database = PostgresDatabase(url) if url else SqliteDatabase(bench.folder / "everwatch.db")
            database.ask("SELECT count(*) FROM results")
        except (sqlite3.Error, psycopg.Error):
            if database is not None:
                database.close()
            return False
        made.append(database)
        return True

    bench.wait_until(is_there, "the sink has made its tables", 60)
    return Chain(bench, kind, probed.url, made[0], workers, others, server)


def _steps(plan: Plan, chain: Chain) -> list[Step]:
    rate = float(plan.rate or (QUICK_RATE if plan.quick else FIRST_RATES[chain.kind]))
    seconds, settle_s = (4.0, 4.0) if plan.quick else (30.0, _SETTLE_S)
    steps: list[Step] = []
    while len(steps) < (QUICK_STEPS if plan.quick else _MOST_STEPS):
        chain.bench.say(f"{chain.kind}: {rate:,.0f} checks a second")
        steps.append(chain.step(round(rate), seconds, settle_s))
        last = steps[-1]
        chain.bench.say(
            f"  p50 {last.late_p50_ms:,.0f} ms, p99 {last.late_p99_ms:,.0f} ms, {last.identity},"
            f" {'held' if last.held else 'NOT held'}"
        )
        if not last.held:
            break
        rate *= GROWTH
    return steps


def _figures(name: str, steps: list[Step]) -> Iterator[Figure]:
    held = [step for step in steps if step.held]
    yield Figure(f"{name}: highest rate held", held[-1].rate if held else 0.0, "checks/s")
    best = held[-1] if held else steps[-1]
    yield Figure(f"{name}: late p50 there", best.late_p50_ms, "ms")
    yield Figure(f"{name}: late p99 there", best.late_p99_ms, "ms", f"<= {LATE_MS:g}")
    faults = best.identity
    yield Figure(f"{name}: rows missing there", faults.missing, "rows", "<= 0")
    yield Figure(f"{name}: rows not due, failed or repeated", faults.wrong + faults.failed + faults.repeated, "rows")
    for process, cores in best.cores.items():
        yield Figure(f"{name}: {process}, CPU for a check", cores / best.rate * 1e6, "µs")
        yield Figure(f"{name}: {process}, cores", cores, "cores")
        yield Figure(f"{name}: {process}, resident", best.resident_mib[process], "MiB")
    yield Figure(f"{name}: cores idle there", best.idle, "cores")
    if not steps[-1].held:
        last = steps[-1]
        yield Figure(f"{name}: first rate not held", last.rate, "checks/s")
        late = last.late_p99_ms if last.late_p99_ms < float("inf") else -1.0
        yield Figure(f"{name}: late p99 at it (-1: more than a hundredth is missing)", late, "ms")
        yield Figure(f"{name}: rows missing at it", last.identity.missing, "rows")
        busiest = max(last.cores, key=lambda process: last.cores[process])
        yield Figure(f"{name}: busiest at it, {busiest}", last.cores[busiest], "cores")
        yield Figure(f"{name}: cores idle at it", last.idle, "cores")

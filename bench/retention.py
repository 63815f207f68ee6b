"""72 simulated hours of a steady load with a day kept: the database's size, and what storing and deleting take.

Time is simulated: batches say what time it is, and are stored as fast as they can be: by two sinks' stores at once on
PostgreSQL, each with half of the monitors. So that three days of 1,000 results/s take half an hour, a batch holds
minutes of the load: up to 300,000 results, where a sink's has 10,000 at most. Each monitor has a result a minute, and
one in a thousand is a failure with its two transitions. Old rows are deleted as the sink does it. On PostgreSQL a
VACUUM of roll-ups each simulated hour stands for what autovacuum does within one.
"""

import multiprocessing as mp
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

import psycopg

from bench.errors import Unmeasured
from bench.plan import Plan
from bench.postgres import Missing, PostgresServer, running
from bench.report import Figure, Outcome, say
from bench.storing import SERVER, cpu_s
from everwatch.core.clock import SystemClock
from everwatch.core.config import Settings
from everwatch.core.process_memory import expect_batches
from everwatch.model import Result, State, Status, Transition
from everwatch.schedule.duration import DAY_MS, HOUR_MS, MINUTE_MS
from everwatch.sink.sink_process import FEWEST_TRIMMED
from everwatch.store import Partition, Received, ResultStore, SinkBatch, StoreBusy, open_store

RATE, QUICK_RATE = 1_000, 2
"""Results a second of simulated time."""
HOURS, KEPT_DAYS = 72, 1
BEGIN_MS = 20_000 * DAY_MS
MOST_RESULTS, MOST_MINUTES = 300_000, 10
"""Limits of one batch: results, and minutes of the load. The first that is reached ends it."""
SINKS = 2
"""Processes that store into PostgreSQL."""
SAY_EVERY_HOURS = SIZE_EVERY_HOURS = 6


@dataclass
class Part:
    """One simulated hour of one process. ``turns``: seconds of each batch with its deletion."""

    results: int = 0
    turns: list[float] = field(default_factory=list)
    deletions: list[float] = field(default_factory=list)
    client_s: float = 0.0
    busy: int = 0


@dataclass
class Run:
    """Measurements of one database. ``sizes``: bytes at the end of each simulated hour. ``stored_s``: time of storing.

    ``parts``: of all processes and hours.
    """

    sizes: list[int] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)
    stored_s: float = 0.0
    server_s: float = 0.0

    @property
    def results(self) -> int:
        """All that were stored."""
        return sum(part.results for part in self.parts)


def measure(plan: Plan) -> Outcome:
    """Measure both databases, one after the other."""
    rate = plan.rate or (QUICK_RATE if plan.quick else RATE)
    figures = [Figure("simulated load", rate, "results/s"), Figure("simulated time", HOURS, "hours")]
    if plan.takes("PostgreSQL"):
        try:
            with running(*SERVER) as server:
                figures += _figures("PostgreSQL", _kept(server.new_database()), rate, server)
        except Missing as error:
            raise Unmeasured(str(error)) from None
    if plan.takes("SQLite"):
        with tempfile.TemporaryDirectory(prefix="everwatch-bench-") as folder:
            figures += _figures("SQLite", _kept("", Path(folder)), rate, None)
    return Outcome(figures)


def _kept(database: str, folder: Path = Path()) -> Settings:
    return Settings(
        database=database,
        data_dir=folder,
        keep_results_days=KEPT_DAYS,
        keep_transitions_days=KEPT_DAYS,
        keep_hourly_rollups_days=KEPT_DAYS,
        keep_daily_rollups_days=KEPT_DAYS,
    )


def batches(rate: int, hours: int = HOURS, number: int = 0, sinks: int = 1) -> Iterator[SinkBatch]:
    """Yield the batches that one of some sinks stores in the simulated time, of every ``sinks``-th monitor.

    Each monitor has an instant of its own in each minute.
    """
    monitors = range(number, 60 * rate, sinks)
    minutes = max(1, min(MOST_MINUTES, MOST_RESULTS // max(1, len(monitors))))
    users = [f"user-{monitor:07}" for monitor in monitors]
    timings = {"dns": 0.4, "connect": 11.2, "tls": 20.1, "first_byte": 31.4}
    source, of_changes = Partition("results", number), Partition("transitions", number)
    received: list[Received[Result]] = []
    changes: list[Received[Transition]] = []
    offset = transition = 0
    for minute in range(hours * 60):
        begin = BEGIN_MS + minute * MINUTE_MS
        for monitor, user in zip(monitors, users, strict=True):
            at = begin + monitor * 7919 % MINUTE_MS
            failed = (monitor + minute) % 1_000 == 0
            status, reason = (Status.FAILURE, "status 503") if failed else (Status.SUCCESS, "200 OK")
            result = Result(
                user, "website", at, "http", 1, status, reason, at, 20.0 + monitor % 50,
                timings=timings, executor="everwatch-executor-1",
            )  # fmt: skip
            received.append(Received(source, offset, at, result))
            offset += 1
            if failed:
                for instant, before, after in ((at, State.UP, State.DOWN), (at + 1, State.DOWN, State.UP)):
                    change = Transition(user, "website", instant, before, after, reason, 1)
                    changes.append(Received(of_changes, transition, instant, change))
                    transition += 1
        # none of more than an hour: its end is waited for
        if received and ((minute + 1) % minutes == 0 or (minute + 1) % 60 == 0):
            offsets = {source: offset, of_changes: transition} if changes else {source: offset}
            yield SinkBatch(begin + MINUTE_MS, offsets, received, changes)
            received, changes = [], []


def _figures(name: str, settings: Settings, rate: int, server: PostgresServer | None) -> Iterator[Figure]:
    sinks = 1 if server is None else SINKS
    run = _stored(name, settings, rate, sinks, server)
    early, late = max(run.sizes[24:48]), max(run.sizes[48:])
    yield Figure(f"{name}, results stored", run.results, "results")
    yield Figure(f"{name}, largest size of hours 25 to 48", early / 2**20, "MiB")
    yield Figure(f"{name}, largest size of hours 49 to 72", late / 2**20, "MiB")
    yield Figure(f"{name}, size of hours 49 to 72 against 25 to 48", late / early, "times", "<= 1.05")
    for hour in range(SIZE_EVERY_HOURS, HOURS + 1, SIZE_EVERY_HOURS):
        yield Figure(f"{name}, size at hour {hour}", run.sizes[hour - 1] / 2**20, "MiB")
    yield Figure(f"{name}, sinks' stores at once", sinks, "processes")
    yield Figure(
        f"{name}, rate of all of them, deleting included", run.results / run.stored_s, "results/s", f">= {rate}"
    )
    client_s = sum(part.client_s for part in run.parts)
    yield Figure(f"{name}: CPU of a sink's store", client_s / run.results * 1e6, "µs a result")
    if server is not None:
        yield Figure(f"{name}: CPU of the server", run.server_s / run.results * 1e6, "µs a result")
    yield Figure(
        f"{name}, longest deletion",
        max(s for part in run.parts for s in part.deletions),
        "s",
        "<= 1" if server is not None else "",
    )
    yield Figure(f"{name}, longest batch with its deletion", max(s for part in run.parts for s in part.turns), "s")
    yield Figure(f"{name}, batches that had to wait", sum(part.busy for part in run.parts), "batches")
    yield Figure(f"{name}, of the last day missing or twice", _wrong(settings, rate), "results", "<= 0")


def _stored(name: str, settings: Settings, rate: int, sinks: int, server: PostgresServer | None) -> Run:
    """Let processes store hour after hour; the database's size is taken while all of them wait."""
    open_store(settings).close()
    context, clock, run = mp.get_context("spawn"), SystemClock(), Run()
    pipes = []
    for number in range(sinks):
        own, its = context.Pipe()
        context.Process(target=_store_hours, args=(settings, rate, number, sinks, its), daemon=True).start()
        its.close()
        pipes.append(own)
    began_s, before_s = clock.monotonic_s(), cpu_s(server)
    for hours in range(1, HOURS + 1):
        hour_s = clock.monotonic_s()
        for pipe in pipes:
            pipe.send(hours)
        try:
            run.parts += [pipe.recv() for pipe in pipes]
        except EOFError:
            raise Unmeasured(f"a process that stores into {name} has ended") from None
        run.stored_s += clock.monotonic_s() - hour_s
        run.sizes.append(_size(settings))
        if hours % SAY_EVERY_HOURS == 0:
            took_s = clock.monotonic_s() - began_s
            say(f"{name}: {hours} of {HOURS} simulated hours in {took_s:,.0f} s, {run.sizes[-1] / 2**20:,.0f} MiB;"
                 f" about {took_s / hours * (HOURS - hours):,.0f} s more")  # fmt: skip
    # the CPU time of a server process that has ended cannot be read
    run.server_s = cpu_s(server) - before_s
    for pipe in pipes:
        pipe.close()
    return run


def _store_hours(settings: Settings, rate: int, number: int, sinks: int, pipe: Connection) -> None:
    """Store one hour of a share of the load for each word of the parent, and send it what that took."""
    store = open_store(settings)
    # as a sink does
    expect_batches()
    trim_at, waiting = 0, batches(rate, number=number, sinks=sinks)
    batch = next(waiting, None)
    while True:
        try:
            until = BEGIN_MS + pipe.recv() * HOUR_MS
        except EOFError:
            break
        part = Part()
        while batch is not None and batch.stored_at <= until:
            trim_at = _turn(store, batch, part, trim_at)
            batch = next(waiting, None)
        pipe.send(part)
    store.close()


def _turn(store: ResultStore, batch: SinkBatch, part: Part, trim_at: int) -> int:
    """Store a batch and delete what is too old; return when to delete next (ms)."""
    clock = SystemClock()
    began_s, cpu_before_s = clock.monotonic_s(), time.process_time()
    part.busy += _patiently(store, batch)
    stored_s = clock.monotonic_s()
    # as the sink does: once a minute, and after each batch until nothing is too old
    if batch.stored_at >= trim_at:
        deleted = store.trim(batch.stored_at, FEWEST_TRIMMED + 2 * len(batch.results))
        trim_at = batch.stored_at + (MINUTE_MS if deleted < FEWEST_TRIMMED else 0)
    part.client_s += time.process_time() - cpu_before_s
    part.deletions.append(clock.monotonic_s() - stored_s)
    part.turns.append(clock.monotonic_s() - began_s)
    part.results += len(batch.results)
    return trim_at


def _patiently(store: ResultStore, batch: SinkBatch) -> int:
    """Store a batch; return how often it had to be tried again."""
    tries = 0
    while True:
        try:
            store.apply(batch)
            return tries
        except StoreBusy:
            tries += 1
            time.sleep(0.1)


def _size(settings: Settings) -> int:
    if settings.database:
        with psycopg.connect(settings.database, autocommit=True) as connection:
            connection.execute("VACUUM hourly_rollups, daily_rollups, transitions")
            row = connection.execute("SELECT pg_database_size(current_database())").fetchone()
            assert row is not None
            return int(row[0])
    # what is not moved into the file yet is no size that stays
    file = settings.data_dir / "everwatch.db"
    connection_ = sqlite3.connect(file)
    connection_.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection_.close()
    return file.stat().st_size


def _wrong(settings: Settings, rate: int) -> int:
    """Return how many results of the last day are missing or were delivered more than once."""
    begin = BEGIN_MS + (HOURS - 24) * HOUR_MS
    question = f"SELECT count(*) FROM results WHERE deliveries = 1 AND scheduled_at >= {begin}"
    if settings.database:
        with psycopg.connect(settings.database) as connection:
            row = connection.execute(question.encode()).fetchone()
    else:
        row = sqlite3.connect(settings.data_dir / "everwatch.db").execute(question).fetchone()
    assert row is not None
    return abs(int(row[0]) - rate * 86_400)

"""72 simulated hours of a steady load with a day kept: the database's size, and what storing and deleting take.

Time is simulated: batches say what time it is, and are stored as fast as they can be. Each monitor has a result a
minute, and one in a thousand is a failure with its two transitions. Old rows are deleted as the sink does it. On
PostgreSQL a VACUUM of roll-ups each simulated hour stands for what autovacuum does within one.
"""

import sqlite3
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
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
from everwatch.sink.sink_process import FEWEST_TRIMMED, MOST_RECORDS
from everwatch.store import Partition, Received, ResultStore, SinkBatch, StoreBusy, open_store
from everwatch.store.database_status import status_of

RATE, QUICK_RATE = 1_000, 2
"""Results a second of simulated time."""
HOURS, KEPT_DAYS = 72, 1
BEGIN_MS = 20_000 * DAY_MS
FEWEST_RESULTS = 600
"""Of a batch: at low rates it holds the results of several minutes."""
SAY_EVERY_HOURS = SIZE_EVERY_HOURS = 6
RESULTS, TRANSITIONS = Partition("results", 0), Partition("transitions", 0)


@dataclass
class Run:
    """Measurements of one database. ``sizes``: bytes at the end of each simulated hour.

    ``deletions`` and ``turns``: s of each deletion, and of each batch with its deletion.
    """

    results: int = 0
    sizes: list[int] = field(default_factory=list)
    turns: list[float] = field(default_factory=list)
    deletions: list[float] = field(default_factory=list)
    client_s: float = 0.0
    server_s: float = 0.0
    busy: int = 0


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


def batches(rate: int, hours: int = HOURS) -> Iterator[SinkBatch]:
    """Yield the sink's batches of the simulated time. Each monitor has an instant of its own in each minute."""
    monitors = 60 * rate
    minutes = max(1, min(10, FEWEST_RESULTS // monitors))
    users = [f"user-{number:07}" for number in range(monitors)]
    timings = {"dns": 0.4, "connect": 11.2, "tls": 20.1, "first_byte": 31.4}
    received: list[Received[Result]] = []
    changes: list[Received[Transition]] = []
    offset = transition = 0
    for minute in range(hours * 60):
        begin = BEGIN_MS + minute * MINUTE_MS
        now = begin + MINUTE_MS
        for number, user in enumerate(users):
            at = begin + number * 7919 % MINUTE_MS
            failed = (number + minute) % 1_000 == 0
            status, reason = (Status.FAILURE, "status 503") if failed else (Status.SUCCESS, "200 OK")
            result = Result(
                user, "website", at, "http", 1, status, reason, at, 20.0 + number % 50,
                timings=timings, executor="everwatch-executor-1",
            )  # fmt: skip
            received.append(Received(RESULTS, offset, at, result))
            offset += 1
            if failed:
                for instant, before, after in ((at, State.UP, State.DOWN), (at + 1, State.DOWN, State.UP)):
                    change = Transition(user, "website", instant, before, after, reason, 1)
                    changes.append(Received(TRANSITIONS, transition, instant, change))
                    transition += 1
            if len(received) == MOST_RECORDS:
                yield _batch(now, received, changes)
                received, changes = [], []
        if received and ((minute + 1) % minutes == 0 or minute == hours * 60 - 1):
            yield _batch(now, received, changes)
            received, changes = [], []


def _batch(now: int, received: list[Received[Result]], changes: list[Received[Transition]]) -> SinkBatch:
    offsets = {RESULTS: received[-1].offset + 1}
    if changes:
        offsets[TRANSITIONS] = changes[-1].offset + 1
    return SinkBatch(now, offsets, received, changes)


def _figures(name: str, settings: Settings, rate: int, server: PostgresServer | None) -> Iterator[Figure]:
    run = _stored(name, settings, rate, server)
    early, late = max(run.sizes[24:48]), max(run.sizes[48:])
    yield Figure(f"{name}, results stored", run.results, "results")
    yield Figure(f"{name}, largest size of hours 25 to 48", early / 2**20, "MiB")
    yield Figure(f"{name}, largest size of hours 49 to 72", late / 2**20, "MiB")
    yield Figure(f"{name}, size of hours 49 to 72 against 25 to 48", late / early, "times", "<= 1.05")
    for hour in range(SIZE_EVERY_HOURS, HOURS + 1, SIZE_EVERY_HOURS):
        yield Figure(f"{name}, size at hour {hour}", run.sizes[hour - 1] / 2**20, "MiB")
    yield Figure(f"{name}, rate, deleting included", run.results / sum(run.turns), "results/s", f">= {rate}")
    yield Figure(f"{name}: CPU of the sink's store", run.client_s / run.results * 1e6, "µs a result")
    if server is not None:
        yield Figure(f"{name}: CPU of the server", run.server_s / run.results * 1e6, "µs a result")
    yield Figure(f"{name}, longest deletion", max(run.deletions), "s", "<= 1" if server is not None else "")
    yield Figure(f"{name}, longest batch with its deletion", max(run.turns), "s")
    yield Figure(f"{name}, batches that had to wait", run.busy, "batches")
    yield Figure(f"{name}, of the last day missing or twice", _wrong(settings, rate), "results", "<= 0")


def _stored(name: str, settings: Settings, rate: int, server: PostgresServer | None) -> Run:
    clock, store, run = SystemClock(), open_store(settings), Run()
    # as a sink does
    expect_batches()
    began_s, before_s, trim_at = clock.monotonic_s(), cpu_s(server), 0
    for batch in batches(rate):
        if (hours := (batch.stored_at - BEGIN_MS) // HOUR_MS) > len(run.sizes):
            run.sizes += [_size(settings)] * (hours - len(run.sizes))
            if hours % SAY_EVERY_HOURS == 0:
                took_s = clock.monotonic_s() - began_s
                say(f"{name}: {hours} of {HOURS} simulated hours in {took_s:,.0f} s, {run.sizes[-1] / 2**20:,.0f} MiB;"
                     f" about {took_s / hours * (HOURS - hours):,.0f} s more")  # fmt: skip
        turn_s, cpu = clock.monotonic_s(), time.process_time()
        run.busy += _patiently(store, batch)
        deletion_s = clock.monotonic_s()
        # as the sink does: once a minute, and after each batch until nothing is too old
        if batch.stored_at >= trim_at:
            deleted = store.trim(batch.stored_at, FEWEST_TRIMMED + 2 * len(batch.results))
            trim_at = batch.stored_at + (MINUTE_MS if deleted < FEWEST_TRIMMED else 0)
        run.client_s += time.process_time() - cpu
        run.deletions.append(clock.monotonic_s() - deletion_s)
        run.turns.append(clock.monotonic_s() - turn_s)
        run.results += len(batch.results)
    run.sizes.append(_size(settings))
    # the CPU time of a server process that has ended cannot be read
    run.server_s = cpu_s(server) - before_s
    store.close()
    return run


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
    else:
        # what is not moved into the file yet is no size that stays
        connection_ = sqlite3.connect(settings.data_dir / "everwatch.db")
        connection_.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection_.close()
    return status_of(settings).size


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

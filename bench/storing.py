"""Processes that store batches of results, all at once, and what that takes: rate and CPU time of each result."""

import multiprocessing as mp
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.synchronize import Barrier
from typing import Any

import psutil

from bench.postgres import PostgresServer
from everwatch.core.clock import SystemClock
from everwatch.core.config import Settings
from everwatch.core.process_memory import expect_batches
from everwatch.model import Result, Status
from everwatch.store import Partition, Received, SinkBatch, open_store
from everwatch.store.database import open_for_writing
from everwatch.store.plan_keeping import Keep
from everwatch.store.rollup_journal import FOLD_EVERY_MS
from everwatch.store.rollup_rows import RollupRows
from everwatch.store.sql_writer import SqlStore

BATCH = 10_000
DAY_MS = 86_400_000
MINUTE_MS = 60_000
BEGIN_MS = 20_000 * DAY_MS
# of the store's own server: what a small one has; commits wait for the disk
SERVER = ("shared_buffers=1GB", "max_wal_size=4GB", "checkpoint_timeout=15min", "synchronous_commit=on")


@dataclass(frozen=True)
class Share:
    """Work of one process: ``batches`` batches of partition ``number``, each ``step_ms`` after the one before."""

    settings: Settings
    number: int
    batches: int
    step_ms: int = MINUTE_MS
    replayed: bool = False
    trims: bool = False
    rolls_up: bool = True
    kept_ms: int = 0
    """For how long results are kept, in place of what the settings say in days."""
    cores: tuple[int, ...] = ()
    """Cores of the machine that this process may use; (): all."""

    def make(self) -> Iterator[SinkBatch]:
        """The batches, in order."""
        source = Partition("results", self.number)
        timings = {"dns": 0.4, "connect": 11.2, "tls": 20.1, "first_byte": 31.4}
        for turn in range(self.batches):
            at = BEGIN_MS + turn * self.step_ms
            received = []
            for index in range(BATCH):
                # neighbours on a topic are no neighbours in the key's order
                user = f"user-{self.number}-{index * 7919 % BATCH:07}"
                result = Result(
                    user, "website", at + index % 60_000, "http", 1, Status.SUCCESS, "200 OK", at, 31.5,
                    timings=timings, executor="everwatch-executor-1",
                )  # fmt: skip
                received.append(Received(source, turn * BATCH + index, at, result))
            yield SinkBatch(at, {source: (turn + 1) * BATCH}, received)


@dataclass(frozen=True)
class Stored:
    """Throughput of storing, in results/s, and CPU time per result, in µs, of the client and of the server."""

    rate: float
    client_us: float
    server_us: float
    tenths: tuple[tuple[int, float], ...] = ()
    """Numbers of results at the end of each tenth of the first process's work, and the rate within it."""


def stored(server: PostgresServer | None, *shares: Share) -> Stored:
    """Let a process for each share store it, all at once."""
    context = mp.get_context("spawn")
    ready, ended = context.Barrier(len(shares) + 1), context.Queue()
    open_store(shares[0].settings).close()
    processes = [context.Process(target=_store_share, args=(share, ready, ended)) for share in shares]
    for process in processes:
        process.start()
    ready.wait(300)
    began, server_s = SystemClock().monotonic_s(), cpu_s(server)
    took = [ended.get(timeout=600) for _ in shares]
    seconds, server_s = SystemClock().monotonic_s() - began, cpu_s(server) - server_s
    # until then their connections stay open: the CPU time of a server process that has ended cannot be read
    ready.wait(300)
    for process in processes:
        process.join()
    # a share that is stored again stores fewer batches than it has
    count = sum(stored for stored, *_ in took)
    client_us, server_us = sum(cpu for _, cpu, _ in took) / count * 1e6, server_s / count * 1e6
    return Stored(count / seconds, client_us, server_us, tuple(took[0][2]))


@contextmanager
def confined(server: PostgresServer, cores: Sequence[int]) -> Iterator[None]:
    """Let all processes of a server, and those that it starts meanwhile, use these cores only."""
    before = psutil.Process().cpu_affinity()
    _pin(server, cores)
    try:
        yield
    finally:
        _pin(server, before)


def _pin(server: PostgresServer, cores: Sequence[int]) -> None:
    # the postmaster first: what it starts from now on inherits its cores
    postmaster = psutil.Process(server.pid)
    postmaster.cpu_affinity(list(cores))
    for process in postmaster.children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            process.cpu_affinity(list(cores))


def _store_share(share: Share, ready: Barrier, ended: Any) -> None:
    if not share.rolls_up:
        # there is no such setting: this is what roll-ups cost
        RollupRows.count = lambda *_: 0  # type: ignore[method-assign]
        RollupRows.preparing = lambda *_: lambda _: None  # type: ignore[method-assign]
    if share.cores:
        psutil.Process().cpu_affinity(list(share.cores))
    engine = open_for_writing(share.settings.database_url)
    store = SqlStore(engine, Keep.of(share.settings)._replace(results=share.kept_ms or Keep.of(share.settings).results))
    batches = list(share.make())
    if share.replayed:
        store.forget_offsets(list(batches[0].offsets))
    stood = store.offsets().get(Partition("results", share.number), 0)
    batches = batches[stood // BATCH :]
    # as a sink does
    expect_batches()
    ready.wait(300)
    began = sum(psutil.Process().cpu_times()[:2])
    clock, tenths = SystemClock(), list[tuple[int, float]]()
    since_s, since, each = clock.monotonic_s(), 0, max(1, len(batches) // 10)
    for number, batch in enumerate(batches, 1):
        store.apply(batch)
        if share.trims:
            # as much as the sink deletes after a batch of this size
            store.trim(batch.stored_at, 2_000 + 2 * BATCH)
        if number % each == 0:
            now_s = clock.monotonic_s()
            tenths.append((number * BATCH, (number - since) * BATCH / (now_s - since_s)))
            since_s, since = now_s, number
    if batches and share.rolls_up:
        # what waits in the journal of roll-ups counts too
        store.trim(batches[-1].stored_at + FOLD_EVERY_MS, 1)
    ended.put((len(batches) * BATCH, sum(psutil.Process().cpu_times()[:2]) - began, tenths))
    ready.wait(300)
    store.close()


def cpu_s(server: PostgresServer | None) -> float:
    """CPU time of a server's processes that are there, in s; 0 without one."""
    if server is None:
        return 0.0
    processes = [psutil.Process(server.pid), *psutil.Process(server.pid).children(recursive=True)]
    return sum(sum(process.cpu_times()[:2]) for process in processes if process.is_running())

"""Results into the database: what each way of storing takes, and whole sinks that read a backlog from Kafka.

The store alone gets batches of 10,000 results, as the sink makes them, by processes that have made them before the
clock starts. The peers write the same rows into a table of the same columns and key: psycopg's ``executemany`` of an
upsert, and binary COPY into a table without any index, which bounds what COPY can do.
"""

import multiprocessing as mp
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any
from unittest import mock

import psutil
import psycopg

from bench.errors import Unmeasured
from bench.plan import Plan
from bench.postgres import Missing, PostgresServer, running
from bench.report import Figure, Outcome, Peer
from bench.whole_sinks import counted, drained_backlog
from everwatch.core.clock import SystemClock
from everwatch.core.config import Settings
from everwatch.core.output_format import OutputFormat
from everwatch.core.process_memory import expect_batches
from everwatch.encoding import codec, result_decoder
from everwatch.model import Result, Status
from everwatch.store import Partition, Received, SinkBatch, open_store
from everwatch.store.copied_results import TYPES, row_of
from everwatch.store.database import open_for_writing
from everwatch.store.database_status import status_of
from everwatch.store.plan_keeping import Keep
from everwatch.store.rollup_journal import FOLD_EVERY_MS
from everwatch.store.rollup_rows import RollupRows
from everwatch.store.sql_schema import results
from everwatch.store.sql_writer import SqlStore

BATCH = 10_000
DAY_MS = 86_400_000
HOUR_MS = 3_600_000
MINUTE_MS = 60_000
BEGIN_MS = 20_000 * DAY_MS
KEPT_DAYS = 1
# of the store's own server: what a small one has; commits wait for the disk
SERVER = ("shared_buffers=1GB", "max_wal_size=4GB", "checkpoint_timeout=15min", "synchronous_commit=on")
COLUMNS = results.c.keys()


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
    core: int | None = None
    """Of the machine, for this process and its server processes; None: any."""

    @property
    def name(self) -> str:
        """Name of its connections."""
        return f"share-{self.number}"

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


def measure(plan: Plan) -> Outcome:
    """Measure the store alone on PostgreSQL and SQLite, its peers, and then whole sinks."""
    batches = 20 if plan.quick else 60
    try:
        with running(*SERVER) as server, tempfile.TemporaryDirectory(prefix="everwatch-bench-") as folder:
            figures = [*_on_postgresql(server, batches), *_on_sqlite(Path(folder), batches), *_decoding()]
            peers = _peers(server, max(2, batches // 10), batches) if plan.peers else []
            if peers:
                plain = peers[0].figures[0].value
                figures.append(Figure("PostgreSQL, new, against executemany", figures[0].value / plain, "times"))
            figures += drained_backlog(server, 200_000 if plan.quick else 800_000)
    except Missing as error:
        raise Unmeasured(str(error)) from None
    return Outcome(figures, peers)


def _on_postgresql(server: PostgresServer, batches: int) -> Iterator[Figure]:
    settings = Settings(database=server.new_database())
    new = _store(server, [Share(settings, 0, batches)])
    yield from _figures("PostgreSQL, new results", new, ">= 150000")
    yield from _roll_up_cost("PostgreSQL", new, _store(server, [_without_roll_ups(server.new_database(), batches)]))
    before = counted(settings)
    size = next(table.size for table in status_of(settings).tables if table.table == "results") or 0
    yield Figure("PostgreSQL, room of a result with its indexes", size / before, "bytes")
    again = _store(server, [Share(settings, 0, batches, replayed=True)])
    yield from _figures("PostgreSQL, replayed", again, ">= 100000")
    yield Figure("PostgreSQL, results more after the replay", counted(settings) - before, "results", "<= 0")
    two = Settings(database=server.new_database())
    both = _store(server, [Share(two, number, batches // 2) for number in range(2)])
    yield Figure("PostgreSQL, new results, two at once", both.rate, "results/s")
    yield Figure("PostgreSQL, two against one", both.rate / new.rate, "times", ">= 1.7")
    yield from _on_cores_of_their_own(server, batches)
    # every hour of a day is a batch, so the days of all but the last two batches in 24 go
    kept = Settings(database=server.new_database(), keep_results_days=KEPT_DAYS)
    yield from _figures("PostgreSQL, while days go", _store(server, [Share(kept, 0, batches, HOUR_MS, trims=True)]), "")


def _on_cores_of_their_own(server: PostgresServer, batches: int) -> Iterator[Figure]:
    """Compare two sinks with one, where a sink and its server process have one core: two have twice as much."""
    cores = sorted(psutil.Process().cpu_affinity())[:2]
    if len(cores) < 2:
        return
    one = _store(server, [Share(Settings(database=server.new_database()), 0, batches // 2, core=cores[0])])
    two = Settings(database=server.new_database())
    both = _store(server, [Share(two, number, batches // 2, core=core) for number, core in enumerate(cores)])
    yield Figure("PostgreSQL, new results, one sink on a core", one.rate, "results/s")
    yield Figure("PostgreSQL, new results, two sinks on a core each", both.rate, "results/s")
    yield Figure("PostgreSQL, two against one, a core each", both.rate / one.rate, "times")


def _on_sqlite(folder: Path, batches: int) -> Iterator[Figure]:
    settings = Settings(data_dir=folder / "new")
    new = _store(None, [Share(settings, 0, batches)])
    yield from _figures("SQLite, new results", new, ">= 100000")
    bare = Share(Settings(data_dir=folder / "bare"), 0, batches, rolls_up=False)
    yield from _roll_up_cost("SQLite", new, _store(None, [bare]))
    yield Figure("SQLite, room of a result with its indexes", status_of(settings).size / (batches * BATCH), "bytes")
    before = counted(settings)
    yield from _figures("SQLite, replayed", _store(None, [Share(settings, 0, batches, replayed=True)]), "")
    yield Figure("SQLite, results more after the replay", counted(settings) - before, "results", "<= 0")
    # a fifth of the batches are kept, so what is measured at the end deletes as much as it stores; each monitor has a
    # result a minute, as in all of these benches, so that its roll-up of an hour is a row for 60 of them
    kept = Settings(data_dir=folder / "kept")
    kept_ms = MINUTE_MS * (batches // 5)
    _store(None, [Share(kept, 0, batches // 2, trims=True, kept_ms=kept_ms)])
    half = status_of(kept).size
    all_of_it = _store(None, [Share(kept, 0, batches, trims=True, kept_ms=kept_ms)])
    yield Figure("SQLite, new results while old ones go", all_of_it.rate, "results/s", ">= 100000")
    yield Figure("SQLite, new results while old ones go: CPU", all_of_it.client_us, "µs a result")
    yield Figure("SQLite, its size then against half-way", status_of(kept).size / half, "times", "<= 1.1")


def _figures(name: str, stored: Stored, target: str) -> Iterator[Figure]:
    yield Figure(name, stored.rate, "results/s", target)
    yield Figure(f"{name}: CPU of the sink's store", stored.client_us, "µs a result")
    for count, rate in stored.tenths:
        yield Figure(f"{name}, rate at {count:,}", rate, "results/s")
    if stored.server_us:
        yield Figure(f"{name}: CPU of the server", stored.server_us, "µs a result")


def _decoding() -> Iterator[Figure]:
    """CPU time of decoding results of a topic, with their own reader and with that of any schema."""
    batch = next(Share(Settings(), 0, 1).make())
    values = [codec.encode_result(each.value, OutputFormat.AVRO) for each in batch.results]

    def decode() -> object:
        return [codec.decode_result(value) for value in values]

    own_us = min(_cpu_of(decode) for _ in range(5)) / BATCH * 1e6
    with mock.patch.object(result_decoder, "HEADER", b"of no result"):
        any_us = min(_cpu_of(decode) for _ in range(5)) / BATCH * 1e6
    yield Figure("decoding", own_us, "µs a result")
    yield Figure("decoding, against the reader of any schema", own_us / any_us, "times", "<= 0.6")


def _cpu_of(call: Callable[[], object]) -> float:
    began = float(sum(psutil.Process().cpu_times()[:2]))
    call()
    return float(sum(psutil.Process().cpu_times()[:2])) - began


def _without_roll_ups(database: str, batches: int) -> Share:
    return Share(Settings(database=database), 0, batches, rolls_up=False)


def _roll_up_cost(name: str, rolled_up: Stored, bare: Stored) -> Iterator[Figure]:
    """Compare with the same results stored without roll-ups: each one is its monitor's only one in a batch."""
    yield Figure(f"{name}, new results, without roll-ups", bare.rate, "results/s")
    yield Figure(f"{name}, rate with roll-ups against without", rolled_up.rate / bare.rate, "times")
    all_us, bare_us = (each.client_us + each.server_us for each in (rolled_up, bare))
    yield Figure(f"{name}, CPU of roll-ups", all_us - bare_us, "µs a result")


def _store(server: PostgresServer | None, shares: Sequence[Share]) -> Stored:
    """Let a process for each share store it, all at once."""
    context = mp.get_context("spawn")
    ready, ended = context.Barrier(len(shares) + 1), context.Queue()
    open_store(shares[0].settings).close()
    processes = [context.Process(target=_store_share, args=(share, ready, ended)) for share in shares]
    for process in processes:
        process.start()
    ready.wait(300)
    for share in shares:
        _pin_server(server, share)
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


def _pin_server(server: PostgresServer | None, share: Share) -> None:
    """Give the server processes of a share's connections its core."""
    if server is None or share.core is None:
        return
    question = "SELECT pid FROM pg_stat_activity WHERE application_name = %s"
    with psycopg.connect(share.settings.database) as connection:
        for (pid,) in connection.execute(question, (share.name,)).fetchall():
            psutil.Process(pid).cpu_affinity([share.core])


def _store_share(share: Share, ready: Barrier, ended: Any) -> None:
    if not share.rolls_up:
        # there is no such setting: this is what roll-ups cost
        RollupRows.count = lambda *_: 0  # type: ignore[method-assign]
    if share.core is not None:
        psutil.Process().cpu_affinity([share.core])
    url = share.settings.database_url
    engine = open_for_writing(f"{url}&application_name={share.name}" if share.settings.database else url)
    store = SqlStore(engine, Keep.of(share.settings)._replace(results=share.kept_ms or Keep.of(share.settings).results))
    batches = list(share.make())
    if share.replayed:
        store.forget_offsets(list(batches[0].offsets))
    stood = store.offsets().get(Partition("results", share.number), 0)
    batches = batches[stood // BATCH :]
    # as a sink does
    expect_batches()
    # its connection is there, and is given its core
    ready.wait(300)
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


# --- peers ------------------------------------------------------------------------------------------------------------


def _peers(server: PostgresServer, few: int, batches: int) -> list[Peer]:
    share = Share(Settings(), 0, batches)
    rows = [[row_of(each.value, batch.stored_at) for each in batch.results] for batch in share.make()]
    url = server.new_database()
    store = Settings(database=url)
    open_store(store).close()
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE plain (LIKE results INCLUDING DEFAULTS)")
        connection.execute("ALTER TABLE plain ADD PRIMARY KEY (user_id, scheduled_at, monitor_id, attempt)")
        connection.execute("CREATE INDEX ON plain (scheduled_at)")
        connection.execute("CREATE TABLE bare (LIKE results INCLUDING DEFAULTS)")
        connection.commit()
        upsert = (
            f"INSERT INTO plain ({', '.join(COLUMNS)}) VALUES ({', '.join(['%s'] * len(COLUMNS))})"
            " ON CONFLICT (user_id, scheduled_at, monitor_id, attempt)"
            " DO UPDATE SET deliveries = plain.deliveries + excluded.deliveries"
        )
        slow = _timed(connection, rows[:few], lambda cursor, some: cursor.executemany(upsert, some))
        bound = _timed(connection, rows, _copy_into_bare)
    return [
        Peer("psycopg executemany of an upsert", [Figure("new results", slow, "results/s")]),
        Peer("binary COPY into a table without indexes, unsorted", [Figure("new results", bound, "results/s")]),
    ]


def _copy_into_bare(cursor: Any, rows: list[tuple[Any, ...]]) -> None:
    with cursor.copy(f"COPY bare ({', '.join(COLUMNS)}) FROM STDIN (FORMAT BINARY)") as copy:
        copy.set_types(TYPES)
        for row in rows:
            copy.write_row(row)


def _timed(connection: psycopg.Connection[Any], batches: list[list[tuple[Any, ...]]], write: Any) -> float:
    began = SystemClock().monotonic_s()
    for rows in batches:
        with connection.cursor() as cursor:
            write(cursor, rows)
        connection.commit()
    return len(batches) * BATCH / (SystemClock().monotonic_s() - began)

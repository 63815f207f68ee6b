"""Results into the database: what each way of storing takes, and whole sinks that read a backlog from Kafka.

The store alone gets batches of 10,000 results, as the sink makes them, by processes that have made them before the
clock starts. The peers write the same rows into a table of the same columns and key: psycopg's ``executemany`` of an
upsert, and binary COPY into a table without any index, which bounds what COPY can do.
"""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import psutil
import psycopg

from bench.errors import Unmeasured
from bench.plan import Plan
from bench.postgres import Missing, PostgresServer, running
from bench.report import Figure, Outcome, Peer
from bench.storing import BATCH, MINUTE_MS, SERVER, Share, Stored, confined, stored
from bench.whole_sinks import counted, drained_backlog
from everwatch.core.clock import SystemClock
from everwatch.core.config import Settings
from everwatch.core.output_format import OutputFormat
from everwatch.encoding import codec, result_decoder
from everwatch.store import open_store
from everwatch.store.copied_results import TYPES, row_of
from everwatch.store.database_status import status_of
from everwatch.store.sql_schema import results

HOUR_MS = 3_600_000
KEPT_DAYS = 1
COLUMNS = results.c.keys()


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
    new = stored(server, Share(settings, 0, batches))
    yield from _figures("PostgreSQL, new results", new, ">= 150000")
    yield from _roll_up_cost("PostgreSQL", new, stored(server, _without_roll_ups(server.new_database(), batches)))
    before = counted(settings)
    size = next(table.size for table in status_of(settings).tables if table.table == "results") or 0
    yield Figure("PostgreSQL, room of a result with its indexes", size / before, "bytes")
    again = stored(server, Share(settings, 0, batches, replayed=True))
    yield from _figures("PostgreSQL, replayed", again, ">= 100000")
    yield Figure("PostgreSQL, results more after the replay", counted(settings) - before, "results", "<= 0")
    yield from _two_against_one(server, new.rate, batches)
    # every hour of a day is a batch, so the days of all but the last two batches in 24 go
    kept = Settings(database=server.new_database(), keep_results_days=KEPT_DAYS)
    yield from _figures("PostgreSQL, while days go", stored(server, Share(kept, 0, batches, HOUR_MS, trims=True)), "")


def _two_against_one(server: PostgresServer, free_rate: float, batches: int) -> Iterator[Figure]:
    """Compare two sinks with one, where they have twice its resources: all it and the server use is one core, or two.

    ``free_rate``: of one sink that may use all cores; with the server it uses more than one.
    """
    some = batches // 2
    both = stored(server, *_shares(server, 2, some))
    yield Figure("PostgreSQL, new results, two at once", both.rate, "results/s")
    yield Figure("PostgreSQL, two against one, on all cores both", both.rate / free_rate, "times")
    cores = tuple(sorted(psutil.Process().cpu_affinity())[:2])
    if len(cores) < 2:
        return
    rates: dict[int, list[float]] = {1: [], 2: []}
    # neither has the quieter half of the time
    for sinks in (1, 2, 2, 1):
        used = cores[:sinks]
        with confined(server, used):
            rates[sinks].append(stored(server, *_shares(server, sinks, some, used)).rate)
    one, two = (sum(each) / len(each) for each in rates.values())
    yield Figure("PostgreSQL, new results, one sink and the server on one core", one, "results/s")
    yield Figure("PostgreSQL, new results, two sinks and the server on two cores", two, "results/s")
    yield Figure("PostgreSQL, two sinks on two cores against one on one", two / one, "times", ">= 1.7")


def _shares(server: PostgresServer, sinks: int, batches: int, cores: tuple[int, ...] = ()) -> list[Share]:
    """Shares of sinks that store new results into one empty database."""
    settings = Settings(database=server.new_database())
    return [Share(settings, number, batches, cores=cores) for number in range(sinks)]


def _on_sqlite(folder: Path, batches: int) -> Iterator[Figure]:
    settings = Settings(data_dir=folder / "new")
    new = stored(None, Share(settings, 0, batches))
    yield from _figures("SQLite, new results", new, ">= 100000")
    bare = Share(Settings(data_dir=folder / "bare"), 0, batches, rolls_up=False)
    yield from _roll_up_cost("SQLite", new, stored(None, bare))
    yield Figure("SQLite, room of a result with its indexes", status_of(settings).size / (batches * BATCH), "bytes")
    before = counted(settings)
    yield from _figures("SQLite, replayed", stored(None, Share(settings, 0, batches, replayed=True)), "")
    yield Figure("SQLite, results more after the replay", counted(settings) - before, "results", "<= 0")
    # a fifth of the batches are kept, so what is measured at the end deletes as much as it stores; each monitor has a
    # result a minute, as in all of these benches, so that its roll-up of an hour is a row for 60 of them
    kept = Settings(data_dir=folder / "kept")
    kept_ms = MINUTE_MS * (batches // 5)
    stored(None, Share(kept, 0, batches // 2, trims=True, kept_ms=kept_ms))
    half = status_of(kept).size
    all_of_it = stored(None, Share(kept, 0, batches, trims=True, kept_ms=kept_ms))
    yield from _figures("SQLite, new results while old ones go", all_of_it, ">= 100000")
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
    with mock.patch.object(result_decoder, "HEADERS", (b"of no result",)):
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

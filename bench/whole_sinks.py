"""Whole sinks that read a backlog of results from Kafka."""

from collections.abc import Iterator

from bench.feedback import MONITOR, Results
from bench.pace import pace_of
from bench.population import Population, Recurring
from bench.postgres import PostgresServer
from bench.report import Figure
from bench.rig import Rig, rig
from bench.watching import per_million
from bench.worker import Worker
from everwatch.core.config import Settings
from everwatch.schedule.duration import DAY_MS, HOUR_MS
from everwatch.store import open_reader


def drained_backlog(server: PostgresServer, count: int) -> Iterator[Figure]:
    """Let whole sinks read ``count`` results from Kafka, each into an empty database."""
    rounds = 10
    population = Population((Recurring(MONITOR, DAY_MS),), count // rounds)
    with rig() as bench:
        bench.say(f"{count:,} results wait on the topic")
        first_at = bench.clock.now_ms() - HOUR_MS
        bench.publish(bench.topics.results, Results(population, range(1, rounds + 1), first_at))
        for name, sinks, database in (
            ("PostgreSQL, whole sink", 1, server.new_database()),
            ("PostgreSQL, two whole sinks", 2, server.new_database()),
            ("SQLite, whole sink", 1, ""),
        ):
            yield from _drained(bench, name, sinks, database, count)


def _drained(bench: Rig, name: str, sinks: int, database: str, count: int) -> Iterator[Figure]:
    bench.say(name)
    # a group of its own, which starts at the beginning of the topic
    app_id = name.replace(" ", "-").replace(",", "").lower()
    variables = {
        "EVERWATCH_DATABASE": database,
        "EVERWATCH_APP_ID": app_id,
        "EVERWATCH_PARTITIONS": str(bench.partitions),
    }
    started = [
        Worker(f"{app_id}-{number}", bench.folder, bench.bootstrap_servers, ("sink",), variables)
        for number in range(sinks)
    ]
    bench.workers += started
    group = f"{bench.settings.topic_prefix}{app_id}-sink"
    pace = pace_of(
        bench,
        lambda: sum(bench.client.committed(group, bench.topics.results, bench.partitions)),
        lambda taken: taken >= count,
        "results",
        count,
    )
    cpu_s = sum(sink.cpu_s() for sink in started)
    settings = Settings(database=database, data_dir=bench.folder)
    for sink in started:
        bench.stop_worker(sink)
    yield Figure(name, pace.rate(count), "results/s")
    yield Figure(f"{name}: its CPU, with the start", per_million(cpu_s, count), "CPU s per million")
    yield Figure(f"{name}: results missed or twice", abs(counted(settings) - count), "results", "<= 0")


def counted(settings: Settings) -> int:
    """Return the number of stored results."""
    reader = open_reader(settings)
    try:
        return reader.counts().results
    finally:
        reader.close()

"""Metrics of a sink."""

from prometheus_client import Counter, Gauge, Histogram

from everwatch.store.stored_values import DatabaseVolume

RECORDS = Counter("everwatch_sink_records", "Records stored in the database, by topic.", ["topic"])
BATCH = Histogram(
    "everwatch_sink_batch_seconds",
    "Duration of storing one batch: its dead letters and the database's transaction, retries included.",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60),
)
BATCH_RECORDS = Histogram(
    "everwatch_sink_batch_records", "Records stored in one batch.", buckets=(1, 10, 100, 1_000, 2_500, 5_000, 10_000)
)
DELAY = Histogram(
    "everwatch_sink_delay_seconds",
    "Age of the oldest record of a batch when it is stored: how far the database is behind the topics.",
    buckets=(0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1_800, 7_200),
)
LAG = Gauge(
    "everwatch_sink_lag_seconds",
    "Age of the oldest record that has been read and is not stored yet; 0 if there is none.",
)
RETRIES = Counter(
    "everwatch_sink_retries",
    "Database calls made again because another process held the database or it was unavailable.",
)
DATABASE_SIZE = Gauge("everwatch_sink_database_bytes", "Size of the database, measured once a minute.")
OLDEST_RESULTS = Gauge(
    "everwatch_sink_oldest_results_seconds",
    "Unix time of the oldest result (SQLite) or of the day of the oldest partition with results (PostgreSQL); 0: none.",
)
DELETED = Counter("everwatch_sink_deleted_rows", "Rows deleted because they are older than they are kept.")


def measure(volume: DatabaseVolume) -> None:
    """Set the gauges of the database's size and age."""
    DATABASE_SIZE.set(volume.size)
    OLDEST_RESULTS.set(volume.oldest_results / 1000)

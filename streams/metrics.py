"""Metrics of a worker."""

from functools import cache

from prometheus_client import Counter, Gauge, Histogram

TICKS = Counter("everwatch_ticks", "Ticks that the broker has acknowledged.", ["way"])
EMITTED_TO = Gauge("everwatch_emitted_to_seconds", "Everything due up to then is emitted, Unix time.", ["partition"])
LATENESS = Histogram(
    "everwatch_sweep_lateness_seconds",
    "Delay of the broker's acknowledgement of a sweep with ticks behind the instant up to which it emits.",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60),
)
SKIPPED = Counter(
    "everwatch_skipped_ticks",
    "Ticks reported as skipped instead of emitted, by cause: misfire (an outage), refused (by the broker).",
    ["cause"],
)
MONITORS = Gauge(
    "everwatch_monitors", "Monitors in the timetable, paused ones and tasks of later not counted.", ["partition"]
)
UNANSWERED = Gauge(
    "everwatch_unanswered_seconds",
    "How long ticks have gone out to executors without a single result.",
    ["partition"],
)
UNDECODABLE = Gauge(
    "everwatch_undecodable_entries",
    "Entries of the table that are passed over, as they cannot be decoded.",
    ["partition"],
)
FOREIGN = Counter("everwatch_foreign_changelog_records", "Changelog records passed over, whose keys no entry has.")
RECOVERED = Counter("everwatch_recovery_records", "Changelog records read in bulk.")
RECOVERY_LEFT = Gauge(
    "everwatch_recovery_left_records", "Upper bound of the changelog records that recovery has still to read in bulk."
)
STANDBY_LAG = Gauge("everwatch_standby_lag_records", "Changelog records that the standby copies here lack.")
ROCKSDB = Gauge(
    "everwatch_rocksdb_bytes", "Bytes of the tables in RocksDB: tables (files on disk), memtables, cache.", ["what"]
)


@cache
def gauges_of(partition: int) -> tuple[Gauge, Gauge, Gauge]:
    """Return the gauges of a partition that each sweep sets: emitted to, monitors, unanswered.

    To look up a metric by its labels takes longer than to set it.
    """
    return EMITTED_TO.labels(partition), MONITORS.labels(partition), UNANSWERED.labels(partition)


def remove_gauges_of(partition: int) -> None:
    """Remove the metrics of a partition that is another worker's now: a sum would count them twice."""
    for gauge in (EMITTED_TO, MONITORS, UNANSWERED, UNDECODABLE):
        gauge.remove_by_labels({"partition": str(partition)})
    gauges_of.cache_clear()

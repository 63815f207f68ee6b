"""Metrics of a worker."""

from contextlib import suppress
from functools import cache

from prometheus_client import Counter, Gauge, Histogram

TICKS = Counter("everwatch_ticks", "Ticks that the broker has acknowledged.", ["way"])
EMITTED_TO = Gauge(
    "everwatch_emitted_to_seconds", "Instant up to which every due tick is emitted, Unix time.", ["partition"]
)
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
    "everwatch_monitors",
    "Monitors in the timetable; paused ones and tasks beyond the look-ahead horizon are not in it.",
    ["partition"],
)
UNANSWERED = Gauge(
    "everwatch_unanswered_seconds",
    "Seconds for which ticks have gone to the executors of a region and no result has come back; region is empty for"
    " executors without one.",
    ["partition", "region"],
)
UNDECODABLE = Gauge(
    "everwatch_undecodable_entries",
    "Table entries that cannot be decoded and are passed over.",
    ["partition"],
)
FOREIGN = Counter(
    "everwatch_foreign_changelog_records", "Changelog records passed over because their key is not one of an entry."
)
RECOVERED = Counter("everwatch_recovery_records", "Changelog records read in bulk.")
RECOVERY_LEFT = Gauge(
    "everwatch_recovery_left_records", "Upper bound of the changelog records that bulk recovery has still to read."
)
STANDBY_LAG = Gauge("everwatch_standby_lag_records", "Changelog records that the standby copies here lack.")
ROCKSDB = Gauge(
    "everwatch_rocksdb_bytes", "Bytes of the tables in RocksDB: tables (files on disk), memtables, cache.", ["what"]
)


@cache
def gauges_of(partition: int) -> tuple[Gauge, Gauge]:
    """Return the gauges of a partition that each sweep sets: emitted to, monitors.

    To look up a metric by its labels takes longer than to set it.
    """
    return EMITTED_TO.labels(partition), MONITORS.labels(partition)


@cache
def unanswered_gauge_of(partition: int, region: str) -> Gauge:
    """Return the gauge of a partition and region that each sweep with ticks for the region sets."""
    return UNANSWERED.labels(partition, region)


def remove_unanswered_gauge_of(partition: int, region: str) -> None:
    """Remove the gauge of a region that gets no ticks any more."""
    with suppress(KeyError):
        UNANSWERED.remove(partition, region)
    unanswered_gauge_of.cache_clear()


def remove_gauges_of(partition: int) -> None:
    """Remove the metrics of a partition that another worker owns now: a sum would count them twice."""
    for gauge in (EMITTED_TO, MONITORS, UNANSWERED, UNDECODABLE):
        gauge.remove_by_labels({"partition": str(partition)})
    gauges_of.cache_clear()
    unanswered_gauge_of.cache_clear()

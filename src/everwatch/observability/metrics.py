"""What a worker counts for Prometheus, and the port where it can be read."""

from functools import cache

from prometheus_client import Counter, Gauge, Histogram, start_http_server

from everwatch.core.config import Settings
from everwatch.core.errors import SettingsError

TICKS = Counter("everwatch_ticks", "Ticks that the broker has acknowledged.", ["way"])
EMITTED_TO = Gauge("everwatch_emitted_to_seconds", "Everything due up to then is emitted, Unix time.", ["partition"])
LATENESS = Histogram(
    "everwatch_sweep_lateness_seconds",
    "How long after its step of time a sweep with ticks in it was acknowledged.",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60),
)
MONITORS = Gauge(
    "everwatch_monitors", "Monitors in the timetable, paused ones and tasks of later not counted.", ["partition"]
)
UNANSWERED = Gauge(
    "everwatch_unanswered_seconds",
    "How long ticks have gone out to executors without a single result.",
    ["partition"],
)
LANE_RECORDS = Counter("everwatch_lane_records", "Records that a lane has taken in.", ["topic"])
POISON = Counter(
    "everwatch_poison_records", "Records put into the dead letters because their handling failed each time.", ["topic"]
)
UNREADABLE = Counter(
    "everwatch_unreadable_batches", "Batches of records passed over because they could not be read.", ["topic"]
)
UNDECODABLE = Gauge(
    "everwatch_undecodable_entries",
    "Entries of the table that are passed over, as they cannot be decoded.",
    ["partition"],
)
FOREIGN = Counter("everwatch_foreign_changelog_records", "Changelog records passed over, whose keys no entry has.")
RECOVERED = Counter("everwatch_recovery_records", "Changelog records read in bulk.")
RECOVERY_LEFT = Gauge(
    "everwatch_recovery_left_records", "At most so many changelog records are still to be read in bulk."
)
PLANS_OK = Gauge("everwatch_plans_ok", "1: plans are as their file has them, or there is none; 0: the file is wrong.")
PLANS_OK.set(1)


@cache
def gauges_of(partition: int) -> tuple[Gauge, Gauge, Gauge]:
    """What is set after each sweep of a partition: emitted to, monitors, unanswered.

    To look up a metric by its labels takes longer than to set it.
    """
    return EMITTED_TO.labels(partition), MONITORS.labels(partition), UNANSWERED.labels(partition)


def remove_gauges_of(partition: int) -> None:
    """Export nothing of a partition that another worker owns now: two workers' values would count double in a sum."""
    for gauge in (EMITTED_TO, MONITORS, UNANSWERED, UNDECODABLE):
        gauge.remove_by_labels({"partition": str(partition)})
    gauges_of.cache_clear()


def serve_metrics(settings: Settings) -> None:
    """Serve ``/metrics`` where the settings say, in a thread of its own. Raises SettingsError if the port is taken."""
    if settings.metrics_port == 0:
        return
    try:
        start_http_server(settings.metrics_port, settings.metrics_host)
    except OSError as error:
        raise SettingsError(
            f"Metrics cannot be served on {settings.metrics_host}:{settings.metrics_port} ({error.strerror}): set"
            " EVERWATCH_METRICS_PORT to a free port, or to 0 for none."
        ) from None

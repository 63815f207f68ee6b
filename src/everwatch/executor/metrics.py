"""Metrics of an executor.

They are counted once for each check, so labels are looked up once for each combination. No label names a user, a
monitor or a target: each combination of labels is a series that Prometheus keeps.
"""

from enum import StrEnum
from functools import cache

from prometheus_client import Counter, Gauge, Histogram

from everwatch.kinds.execution.failure_classes import FAILURE_CLASSES, failure_class
from everwatch.model import Outcome, Priority, Status, Tick

_DELAYS_S = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
_DURATIONS_S = (0.005, 0.025, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class SkipCause(StrEnum):
    """Reason for a skipped tick."""

    OVERLAP = "overlap"
    """The tick before it was running when it was due."""
    SUPERSEDED = "superseded"
    """It waited until the next one was due."""
    MISFIRE = "misfire"
    """It waited longer than its misfire grace."""
    CANCELLED = "cancelled"
    """Its monitor was paused or deleted."""
    REPEATED = "repeated"
    """The same tick came again while it ran."""


START_DELAY = Histogram(
    "everwatch_executor_start_delay_seconds",
    "Delay of a check's start behind the scheduled instant of its tick; retries and runs by hand do not count.",
    ["priority"],
    buckets=_DELAYS_S,
)
RESULT_DELAY = Histogram(
    "everwatch_executor_result_delay_seconds",
    "Delay of a check's result behind the scheduled instant of its tick; retries and runs by hand do not count.",
    ["priority"],
    buckets=_DELAYS_S,
)
DURATION = Histogram(
    "everwatch_executor_check_duration_seconds",
    "Duration of checks. The count's rate is checks per second.",
    ["kind", "status"],
    buckets=_DURATIONS_S,
)
FAILURES = Counter(
    "everwatch_executor_failures",
    f"Failed checks by class of the reason: {', '.join(FAILURE_CLASSES)}.",
    ["kind", "reason"],
)
SKIPPED = Counter(
    "everwatch_executor_skipped_ticks", f"Ticks that were not run, by cause: {', '.join(SkipCause)}.", ["cause"]
)
# made at once: Prometheus sees no increase in a series that begins at 1
for _cause in SkipCause:
    SKIPPED.labels(_cause.value)
IN_FLIGHT = Gauge("everwatch_executor_in_flight", "Checks that run now.")
SLOTS = Gauge("everwatch_executor_slots", "Checks that may run at once (EVERWATCH_MAX_IN_FLIGHT).")
WAITING = Gauge("everwatch_executor_waiting_ticks", "Ticks that have been read and are not begun.", ["topic"])
LAG = Gauge(
    "everwatch_executor_lag_seconds",
    "Age of the last tick read of the partition that is furthest behind; 0 when all are read to within 5 s.",
    ["topic"],
)
LIMITED_TARGETS = Gauge("everwatch_executor_limited_targets", "Hosts whose rate and concurrency are limited now.")


def count_check(
    priority: Priority, tick: Tick, kind: str, outcome: Outcome, started_at: int, duration_ms: float
) -> None:
    """Count a check that has ended. ``kind``: a registered kind's name; ``started_at`` in ms since the epoch."""
    if tick.is_scheduled:
        start_ms = max(0, started_at - tick.scheduled_at)
        start_delay, result_delay = _delays_of(priority)
        start_delay.observe(start_ms / 1000)
        result_delay.observe((start_ms + duration_ms) / 1000)
    _duration_of(kind, outcome.status).observe(duration_ms / 1000)
    if outcome.status is Status.FAILURE:
        FAILURES.labels(kind, failure_class(outcome.reason)).inc()


def count_skipped(cause: SkipCause, ticks: int) -> None:
    """Count ticks that are reported as skipped."""
    _skipped_of(cause).inc(ticks)


@cache
def _delays_of(priority: Priority) -> tuple[Histogram, Histogram]:
    return START_DELAY.labels(priority.value), RESULT_DELAY.labels(priority.value)


@cache
def _duration_of(kind: str, status: Status) -> Histogram:
    return DURATION.labels(kind, status.value)


@cache
def _skipped_of(cause: SkipCause) -> Counter:
    return SKIPPED.labels(cause.value)

"""The system at a glance, as types."""

import msgspec

from everwatch.api.state_views import CountView
from everwatch.api.views import Instant
from everwatch.model import State, Status


class LatenessView(msgspec.Struct, frozen=True):
    """From when a check was due until an executor began it, ms; ``checks``: their number."""

    checks: int
    p50: int
    p99: int
    most: int


class ExecutorView(msgspec.Struct, frozen=True):
    """Results of one executor. If it alone finds failures, and nothing else, the fault is its own."""

    executor: str
    results: int
    failures: int


class RecentResults(msgspec.Struct, frozen=True):
    """The newest results, at most 500 of the last minute. ``per_s``: results a second meanwhile."""

    looked_at: int
    since: Instant
    per_s: float
    by_status: dict[Status, int]
    lateness_ms: LatenessView | None
    executors: list[ExecutorView]


class ChangesView(msgspec.Struct, frozen=True):
    """Transitions of one minute by the state that was entered, without reminders. ``alerts``: those with an alert."""

    at: Instant
    by_state: dict[State, int]
    alerts: int


class RecentTransitions(msgspec.Struct, frozen=True):
    """The transitions of the last hour by minute. ``truncated``: only the newest 1,000 are counted."""

    since: Instant
    until: Instant
    truncated: bool
    bars: list[ChangesView]


class OverviewView(msgspec.Struct, frozen=True):
    """The system at ``at``. ``stored_at``: when the newest result was stored, which is how old this may be."""

    at: Instant
    stored_at: Instant
    monitors: list[CountView]
    users: dict[str, int]
    results: RecentResults
    transitions: RecentTransitions

"""Metrics of one user's monitors in Prometheus' text format, so that a customer's own Prometheus can scrape them."""

from collections.abc import Iterable, Iterator, Sequence

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from everwatch.api.database import Database
from everwatch.api.problems import not_found
from everwatch.api.routing import Answer, Call
from everwatch.model import Monitor, State
from everwatch.store import Reader

TEXT = "text/plain"
MOST_SHOWN = 10_000
"""Monitors of a user; others are left out."""
_LABELS = ("monitor_id", "kind", "name")
_IS_UP = {State.UP: 1.0, State.DOWN: 0.0, State.LATE: 0.0}


class UserMetrics:
    """Handler of a user's metrics."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def show(self, call: Call) -> Answer:
        """A user's monitors for Prometheus."""
        user_id = call.path["user_id"]

        def asked(reader: Reader) -> bytes | None:
            if reader.user(user_id) is None:
                return None
            return text_of(reader.monitors(user_id)[:MOST_SHOWN])

        found = await self._database.ask(asked)
        if found is None:
            raise not_found(f"user {user_id!r}")
        return Answer(found, headers={"Cache-Control": "no-store"}, media_type=TEXT)


def text_of(monitors: Sequence[Monitor]) -> bytes:
    """Return the metrics of these monitors."""
    registry = CollectorRegistry()
    registry.register(_Monitors(monitors))
    return generate_latest(registry)


class _Monitors(Collector):
    def __init__(self, monitors: Sequence[Monitor]) -> None:
        self._monitors = monitors

    def collect(self) -> Iterator[GaugeMetricFamily]:
        up = GaugeMetricFamily(
            "everwatch_user_monitor_up",
            "1 while the monitor is up, 0 while it is down or late; none while it is new, paused or done.",
            labels=_LABELS,
        )
        state = GaugeMetricFamily(
            "everwatch_user_monitor_state", "1 for the state of the monitor.", labels=(*_LABELS, "state")
        )
        since = GaugeMetricFamily(
            "everwatch_user_monitor_state_since_seconds",
            "Unix time at which the monitor entered its state.",
            labels=_LABELS,
        )
        for each in self._monitors:
            named = _named(each)
            if (value := _IS_UP.get(each.state)) is not None:
                up.add_metric(named, value)
            state.add_metric([*named, each.state.value], 1.0)
            since.add_metric(named, each.state_since / 1000)
        yield from (up, state, since)

    def describe(self) -> Iterable[GaugeMetricFamily]:
        return ()


def _named(monitor: Monitor) -> list[str]:
    return [monitor.monitor_id, monitor.spec.kind, monitor.spec.name]

"""Ticks that wait in an executor's queue, for the audit."""

from collections.abc import Callable
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

from everwatch.core.errors import BrokerUnavailable
from everwatch.kafka.topics import Topics
from everwatch.kinds import registry
from everwatch.model import Priority
from everwatch.store.stored_values import Stretch

if TYPE_CHECKING:
    from everwatch.kafka.lag import Lag


class WaitingTicks:
    """Tells whether a tick lies behind what the executors have committed. Kafka is asked when that first matters.

    ``problem``: why that is not known, if it was asked for and no broker told.
    """

    def __init__(
        self, topics: Topics, partition_of: Callable[[str], int | None], measure_lag: Callable[[], "Lag"]
    ) -> None:
        self._topics = topics
        self._measure_lag = measure_lag
        self._partition_of = lru_cache(maxsize=100_000)(partition_of)
        self.problem = ""

    def holds(self, stretch: Stretch, instant: int) -> bool:
        """Tell whether a tick due at ``instant`` has not been read by an executor: it is not older than the first one.

        Ticks of a partition are in the order of their instants, so what is due at or after the first record that is not
        committed lies behind it.
        """
        if registry.is_inline(stretch.kind):
            return False
        partition = self._partition_of(stretch.user_id)
        # an audit asks for each region by itself
        region = stretch.policy.regions[0] if stretch.policy.regions else ""
        first = None if partition is None else self._first.get((stretch.policy.priority.value, region, partition))
        return first is not None and instant >= first

    @cached_property
    def _first(self) -> dict[tuple[str, str, int], int]:
        """The instant of the first tick that waits, by priority, region and partition."""
        try:
            lag = self._measure_lag()
        except BrokerUnavailable as error:
            self.problem = str(error)
            return {}
        ways = {
            ticks.of(priority): (priority.value, ticks.region)
            for ticks in (self._topics.ticks_without_region, *self._topics.regions)
            for priority in Priority
        }
        return {
            (*ways[row.topic], row.partition): int(lag.at - row.lag_s * 1_000)
            for row in lag.of("executor")
            if row.lag and row.lag_s is not None
        }

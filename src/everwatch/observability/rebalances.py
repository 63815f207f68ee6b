"""Rebalances of one consumer: their number, and how long partitions have no owner."""

from everwatch.core.clock import Clock
from everwatch.observability.metrics import REBALANCE_SECONDS, REBALANCES

_EVENTS = ("assigned", "revoked", "lost")


class Rebalances:
    """Counts the changes of a consumer's partitions, and times each rebalance from its begin to its end."""

    def __init__(self, consumer: str, clock: Clock) -> None:
        """``consumer``: its name in metrics."""
        self._clock = clock
        # made at once: Prometheus sees no increase in a series that begins at 1
        self._counted = {event: REBALANCES.labels(consumer, event) for event in _EVENTS}
        self._since_s: float | None = None

    def revoked(self) -> None:
        """Note that partitions are taken away."""
        self._begin("revoked")

    def lost(self) -> None:
        """Note that partitions are another member's already."""
        self._begin("lost")

    def assigned(self, *, is_over: bool = True) -> None:
        """Note that partitions are given, or none. ``is_over`` False: they still have to be opened, see ``over``."""
        self._counted["assigned"].inc()
        if is_over:
            self.over()

    def over(self) -> None:
        """Note that the partitions that were given are worked on."""
        if self._since_s is not None:
            REBALANCE_SECONDS.observe(self._clock.monotonic_s() - self._since_s)
        self._since_s = None

    def _begin(self, event: str) -> None:
        self._counted[event].inc()
        if self._since_s is None:
            self._since_s = self._clock.monotonic_s()

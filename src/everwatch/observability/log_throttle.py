"""Saying the same thing only once in a while."""

from collections.abc import Hashable

from everwatch.core.clock import Clock

_MOST_KEYS = 1_000


class LogThrottle:
    """Tells whether it is time to log something again: at most once in ``period_s`` for each key."""

    def __init__(self, clock: Clock, period_s: float = 60) -> None:
        self._clock = clock
        self._period_s = period_s
        self._said_s: dict[Hashable, float] = {}

    def may_log(self, key: Hashable) -> bool:
        """Tell whether to log what ``key`` stands for; if so, the period begins anew."""
        now_s = self._clock.monotonic_s()
        said_s = self._said_s.get(key)
        if said_s is not None and now_s - said_s < self._period_s:
            return False
        if len(self._said_s) >= _MOST_KEYS:
            self._said_s.clear()
        self._said_s[key] = now_s
        return True

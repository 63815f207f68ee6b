"""Detection of clock jumps."""

STEP_MS = 5_000


class ClockJumps:
    """Detects by the monotonic clock that the wall clock jumped ahead.

    Ticks then wait some seconds, in which a wrong time is usually set right.
    """

    def __init__(self) -> None:
        self._last: tuple[int, float] | None = None

    def has_jumped(self, now_ms: int, monotonic_s: float) -> bool:
        """Tell whether the wall clock gained more than ``STEP_MS`` on the monotonic clock since the last call."""
        last, self._last = self._last, (now_ms, monotonic_s)
        return last is not None and now_ms - last[0] - (monotonic_s - last[1]) * 1000 > STEP_MS

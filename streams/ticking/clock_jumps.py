"""Tells a clock that was set from time that passed."""

STEP_MS = 5_000


class ClockJumps:
    """Tells whether the wall clock jumped ahead since the last look: ticks of an hour that never was are not due."""

    def __init__(self) -> None:
        self._last: tuple[int, float] | None = None

    def stepped(self, now_ms: int, monotonic_s: float) -> bool:
        """Whether the wall clock gained more than ``STEP_MS`` on the one that never steps."""
        last, self._last = self._last, (now_ms, monotonic_s)
        return last is not None and now_ms - last[0] - (monotonic_s - last[1]) * 1000 > STEP_MS

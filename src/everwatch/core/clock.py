"""Clock: the only module that reads time. All others take it as an argument."""

import time
from typing import Protocol


class Clock(Protocol):
    """Tells the time. Instants are whole milliseconds since the Unix epoch (UTC)."""

    def now_ms(self) -> int:
        """The wall-clock instant, in ms since the epoch."""
        ...

    def monotonic_s(self) -> float:
        """Seconds on a clock that never steps, for measuring durations."""
        ...


class SystemClock:
    """The machine's clock."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic_s(self) -> float:
        return time.monotonic()


class SettableClock:
    """A clock that moves only when it is set; for tests and replays. Starts at ``now_ms``."""

    def __init__(self, now_ms: int = 0) -> None:
        self._now_ms = now_ms

    def now_ms(self) -> int:
        return self._now_ms

    def monotonic_s(self) -> float:
        return self._now_ms / 1000

    def set(self, now_ms: int) -> None:
        """Move to the instant ``now_ms`` (a step back is allowed: wall clocks do that)."""
        self._now_ms = now_ms

    def advance(self, ms: int) -> None:
        """Move by ``ms`` milliseconds."""
        self._now_ms += ms

"""Waiting on conditions."""

import time
from collections.abc import Callable
from typing import TypeVar

Seen = TypeVar("Seen")
# how many times longer than on an idle machine
PATIENCE = 8
LONGEST_PAUSE_S = 3.0
# the part of a wait by which it may end late, and the longest pause for that
LATE_BY = 0.05
LATE_BY_S = 0.5


def wait_until(
    what: str,
    look: Callable[[], Seen],
    within_s: float = 30,
    every_s: float | None = None,
    *,
    longest_pause_s: float = LONGEST_PAUSE_S,
) -> Seen:
    """Return what ``look`` gives as soon as that is true; an AssertionError that says ``what`` if it never is.

    Between two looks it pauses for ``every_s`` (default: 0.1 s, and longer the longer it has waited, since a test that
    waits takes time from others), or twice as long as a look takes, at most ``longest_pause_s``: a look that mostly
    waits itself needs no such pause.
    """
    # how long it takes is nothing that a test asserts: the machine may be busy with other things
    within_s *= PATIENCE
    started = time.monotonic()
    deadline = started + within_s
    while True:
        began = time.monotonic()
        if seen := look():
            return seen
        now = time.monotonic()
        if now > deadline:
            raise AssertionError(f"waited {within_s:g} s in vain until {what}; last seen: {seen!r}")
        # who looks at whole topics keeps those from working that it waits for
        usual = max(0.1, min(LATE_BY * (now - started), LATE_BY_S)) if every_s is None else every_s
        time.sleep(max(usual, min(2 * (now - began), longest_pause_s)))


def now_ms() -> int:
    """The wall clock, ms since the epoch."""
    return time.time_ns() // 1_000_000

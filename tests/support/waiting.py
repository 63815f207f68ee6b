"""Waiting on conditions."""

import time
from collections.abc import Callable
from typing import TypeVar

Seen = TypeVar("Seen")
# how many times longer than on an idle machine
PATIENCE = 8
LONGEST_PAUSE_S = 3.0


def wait_until(
    what: str,
    look: Callable[[], Seen],
    within_s: float = 30,
    every_s: float = 0.1,
    *,
    longest_pause_s: float = LONGEST_PAUSE_S,
) -> Seen:
    """Return what ``look`` gives as soon as that is true; an AssertionError that says ``what`` if it never is.

    Between two looks it pauses for ``every_s``, or twice as long as a look takes, at most ``longest_pause_s``: a look
    that mostly waits itself needs no such pause.
    """
    # how long it takes is nothing that a test asserts: the machine may be busy with other things
    within_s *= PATIENCE
    deadline = time.monotonic() + within_s
    while True:
        began = time.monotonic()
        if seen := look():
            return seen
        now = time.monotonic()
        if now > deadline:
            raise AssertionError(f"waited {within_s:g} s in vain until {what}; last seen: {seen!r}")
        # who looks at whole topics keeps those from working that it waits for
        time.sleep(max(every_s, min(2 * (now - began), longest_pause_s)))


def now_ms() -> int:
    """The wall clock, ms since the epoch."""
    return time.time_ns() // 1_000_000

"""The one retry helper: repeats a call that fails with an error that passes by itself.

Two forms: for a call that blocks, and for one that is awaited. ``docs/architecture.md`` says in *Why there is no retry
library* which loops are not here, and why.
"""

import asyncio
from collections.abc import Awaitable, Callable
from threading import Event
from typing import TypeVar

from everwatch.core.clock import Clock

Value = TypeVar("Value")
PAUSE_S = 0.2
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 2.0


def retry_for(
    patience_s: float, passing: type[Exception], call: Callable[[], Value], clock: Clock, pause_s: float = PAUSE_S
) -> Value:
    """Return the result of ``call``, which is repeated while it raises ``passing``.

    Raises that error once ``patience_s`` are over.
    """
    deadline_s = clock.monotonic_s() + patience_s
    pause = Event()
    while True:
        try:
            return call()
        except passing:
            if clock.monotonic_s() >= deadline_s:
                raise
        pause.wait(pause_s)


async def retry(
    passing: type[Exception],
    call: Callable[[], Awaitable[Value]],
    on_failure: Callable[[Exception], None],
    pause: Callable[[float], Awaitable[object]] = asyncio.sleep,
    first_pause_s: float = FIRST_PAUSE_S,
    longest_pause_s: float = LONGEST_PAUSE_S,
) -> Value:
    """Return the result of ``call``, which is repeated while it raises ``passing``, after pauses that double.

    ``pause`` waits between two attempts; what it raises ends the repetition, as does any other error of ``call``.
    """
    pause_s = first_pause_s
    while True:
        try:
            return await call()
        except passing as error:
            on_failure(error)
        await pause(pause_s)
        pause_s = min(2 * pause_s, longest_pause_s)

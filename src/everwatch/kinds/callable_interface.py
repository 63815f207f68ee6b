"""Callables of other packages: how they are found, their arguments, and their replies.

A package adds one with an entry point in the group ``everwatch.callables``. It is only ever loaded in a process that
runs it: workers and executors know no more than its name.
"""

from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Protocol

import msgspec

ENTRY_POINT_GROUP = "everwatch.callables"
# no host has a space in its name
CALLABLE_TARGET = "callable "


class CallContext(msgspec.Struct, frozen=True):
    """The run, as a callable gets it. ``scheduled_at``: ms since the epoch. ``payload``: None if there is none."""

    user_id: str
    monitor_id: str
    scheduled_at: int
    attempt: int
    payload: Any


class CallableRun(msgspec.Struct, frozen=True):
    """One run of the callable ``name``. ``output_bytes``: how much of what it writes is kept."""

    name: str
    arguments: dict[str, Any]
    context: CallContext
    output_bytes: int = 0


class CallableReply(msgspec.Struct, frozen=True):
    """Outcome of a call: "" or the returned text, or the reason of a failure; ``timings`` in ms.

    ``last``: the process that gave it should run nothing more. ``kept_bytes`` and ``dropped_bytes`` of its output.
    ``waited_ms``: until a process was free for it.
    """

    succeeded: bool
    reason: str = ""
    timings: dict[str, float] = {}
    last: bool = False
    kept_bytes: int = 0
    dropped_bytes: int = 0
    waited_ms: float = 0.0


class Callables(Protocol):
    """Runner of callables."""

    async def call(self, call: CallableRun, timeout_s: float) -> CallableReply:
        """Run it once, for at most ``timeout_s`` from when it begins: it may have to wait for its turn.

        Each failure, being too slow too, is an Answer; to cancel this ends the run.
        """
        ...


class NoCallables:
    """For a process that runs no callables."""

    async def call(self, call: CallableRun, timeout_s: float) -> CallableReply:  # noqa: ARG002  (the names are the protocol's)
        return CallableReply(False, f"the callable '{call.name}' cannot run here: this process runs no callables")


def known_callables() -> list[str]:
    """The names of all callables, sorted; none is loaded."""
    return sorted(_entry_points())


def load(name: str) -> Any:
    """The callable itself. Raises whatever its package raises, and LookupError if there is none of that name."""
    point = _entry_points().get(name)
    if point is None:
        raise LookupError(f"there is no callable {name!r}")
    found = point.load()
    if not callable(found):
        raise TypeError(f"{point.value} is {type(found).__name__} and cannot be called")
    return found


def forget() -> None:
    """Forget which callables other packages have: a new process knows none."""
    _entry_points.cache_clear()


@cache
def _entry_points() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=ENTRY_POINT_GROUP)}

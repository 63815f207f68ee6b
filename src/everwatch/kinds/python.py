"""The kind ``python``: a callable of an installed package, run in a process that nothing else depends on."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec

from everwatch.kinds.callable_interface import (
    CALLABLE_TARGET,
    ENTRY_POINT_GROUP,
    CallableRun,
    CallContext,
    known_callables,
)
from everwatch.kinds.protocol import FieldError, RunContext
from everwatch.model import Outcome, Status, Tick

# part of the tick's time that is kept for the reason of a slow run
_LAST_WORD_S = 0.1


def check_callable(name: str, known: Sequence[str]) -> None:
    """Check that a callable is among those that installed packages have. Raises FieldError."""
    if name not in known:
        there_are = f"known callables: {', '.join(known)}" if known else "no installed package has any"
        raise FieldError("callable", f"there is no callable {name!r} in the group {ENTRY_POINT_GROUP}; {there_are}")


class PythonConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The entry point's name of a callable, and its arguments."""

    callable: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    arguments: dict[str, Any] = {}

    def __post_init__(self) -> None:
        check_callable(self.callable, known_callables())


class PythonKind:
    """Calls once. Timings, in ms: wait (until a process was free), call, total, and those that the callable gives."""

    name = "python"
    config_type = PythonConfig
    default_schedule_ms = 60_000
    keeps_time = True

    @property
    def inline(self) -> Literal[False]:
        return False

    def target(self, config: PythonConfig) -> str:
        """The callable, which is no host: its runs wait for their turn as those of a host do."""
        return CALLABLE_TARGET + config.callable

    async def run(self, config: PythonConfig, tick: Tick, context: RunContext) -> Outcome:
        """Call it, and take a little less time than the tick has, so as to say where the time went."""
        payload = msgspec.json.decode(tick.payload) if tick.payload else None
        told = CallContext(tick.user_id, tick.monitor_id, tick.scheduled_at, tick.attempt, payload)
        timeout_s = tick.timeout_ms / 1000
        answer = await context.callables.call(
            CallableRun(config.callable, config.arguments, told), timeout_s - min(_LAST_WORD_S, timeout_s / 10)
        )
        status = Status.SUCCESS if answer.succeeded else Status.FAILURE
        return Outcome(status, answer.reason, answer.timings, waited_ms=answer.waited_ms)

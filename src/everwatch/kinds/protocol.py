"""Protocol of kinds, and of the objects that a kind works with.

A kind is either *executed* (it does I/O, in an executor) or *inline* (judged in the worker, from what is already
known there, without I/O). ``inline`` says which.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import msgspec

from everwatch.core.clock import Clock
from everwatch.core.config_fields import SECRET, FieldError
from everwatch.model import NO_SIGNALS, Outcome, Schedule, Signal, SignalState, Tick

# to validate a config, none of the libraries is imported that a check connects with
if TYPE_CHECKING:
    from everwatch.kinds.callable_interface import Callables
    from everwatch.kinds.publisher_interface import EventPublisher
    from everwatch.network.egress import Egress
    from everwatch.network.guard import Guard
    from everwatch.network.http_client import HttpClient
    from everwatch.network.resolver import Resolver

__all__ = [
    "SECRET",
    "ExecutedKind",
    "FieldError",
    "InlineKind",
    "InlineView",
    "Kind",
    "RunContext",
    "Scheduled",
    "SignalledKind",
    "Targeted",
    "Timekeeping",
]


@dataclass(frozen=True)
class RunContext:
    """Parts that executed kinds use: time, name resolution, the guard of addresses, one HTTP client, a way to Kafka,
    where callables of other packages run, and how to leave this machine.
    """

    clock: Clock
    guard: "Guard"
    resolver: "Resolver"
    http: "HttpClient"
    publisher: "EventPublisher"
    callables: "Callables"
    outgoing: "Egress"


class InlineView(msgspec.Struct, frozen=True):
    """A monitor's signals as a worker has them. Instants in ms; ``last_signal`` is 0 before the first signal.

    ``signals``: what else the kind made of them (see ``SignalledKind``).
    ``began``: when the monitor was put, changed or resumed. ``watching_since``: when this worker began to watch it.
    """

    began: int
    watching_since: int
    last_signal: int
    signals: SignalState = NO_SIGNALS


class _Described(Protocol):
    def __hash__(self) -> int: ...

    @property
    def name(self) -> str:
        """Return the name for a monitor's ``kind``."""
        ...

    @property
    def config_type(self) -> type[msgspec.Struct]:
        """A frozen struct with ``forbid_unknown_fields`` that validates every field (see ``FieldError``)."""
        ...

    @property
    def default_schedule_ms(self) -> int:
        """The interval of a monitor that names no schedule, in ms."""
        ...


class ExecutedKind(_Described, Protocol):
    """A kind that an executor runs."""

    @property
    def inline(self) -> Literal[False]: ...

    async def run(self, config: Any, tick: Tick, context: RunContext) -> Outcome:
        """Do it once, for ``tick``. ``config`` is a ``config_type``. The caller enforces the timeout by cancelling.

        A failure of the target is an Outcome with a reason, not an exception.
        """
        ...


class Timekeeping(Protocol):
    """Optional part of a kind that waits before it begins, and keeps its own timeout from then on.

    Its outcome says how long it waited. One that does not end within the timeout and a quarter of an hour is cancelled.
    """

    @property
    def keeps_time(self) -> Literal[True]: ...


class Targeted(Protocol):
    """Optional part of a kind with a target, so that executors can limit checks per host."""

    def target(self, config: Any) -> str:
        """The host that a check with ``config`` goes to, without a port; "" if there is none to spare. Pure."""
        ...


class Scheduled(Protocol):
    """Optional part of a kind whose default schedule follows from the config."""

    def default_schedule(self, config: Any) -> Schedule:
        """The schedule of a monitor that names none. Pure."""
        ...


class InlineKind(_Described, Protocol):
    """A kind that the worker judges: pure, without I/O."""

    @property
    def inline(self) -> Literal[True]: ...

    def judge(self, config: Any, view: InlineView, at: int) -> Outcome:
        """The outcome at the instant ``at`` (ms); ``skipped`` where it cannot be known yet.

        ``config`` is a ``config_type``.
        """
        ...


class SignalledKind(InlineKind, Protocol):
    """An inline kind that listens to signals, and judges by what it made of them."""

    def take(self, config: Any, last_signal: int, known: SignalState, signal: Signal) -> tuple[int, SignalState]:
        """``last_signal`` and ``known`` after one more signal, whose ``at`` is given; the same if it changes nothing.

        Raises InvalidInput with the field's path if the kind has no use for such a signal.
        """
        ...


Kind = ExecutedKind | InlineKind

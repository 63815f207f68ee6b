"""Parts of a run of the command line, beside its settings. Tests give other parts (``commands_given``)."""

import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from threading import Event
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from everwatch.core.clock import Clock, SystemClock
from everwatch.core.config import Settings

if TYPE_CHECKING:
    from everwatch.cli.support.input_way import InputWay, SendingOptions
    from everwatch.kafka.clients import Clients
    from everwatch.kafka.command_client import Asked
    from everwatch.kafka.lag import Lag
    from everwatch.store import SqlReader
    from everwatch.transfer.load_sender import LoadSender
    from everwatch.transfer.outcomes import Answers


class RowWays(Protocol):
    """Makes the way of imported rows to the workers, and that of their answers back."""

    def new_sender(self) -> "LoadSender":
        """Make the sender of rows. Raises BrokerUnavailable, TopicMismatch."""
        ...

    def new_answers(self, since: Mapping[int, int] | None) -> "Answers":
        """Open the answers behind these offsets of partitions; None: behind the last answer of now."""
        ...


class RunParts(NamedTuple):
    """Parts of a run. None stands for those that the settings name.

    ``new_clients``: makes Kafka clients. ``connect``: the way of inputs to the workers and back. ``open_reader``: the
    database. ``row_ways``: the ways of imported rows. ``new_stop``: makes the event that ends repeated work.
    ``on_signal``: has a function called when a signal comes. ``look_again_s``: pause between looks at what others do.
    ``measure_lag``: asks the broker how far processes are behind.
    """

    clock: Clock
    new_clients: "Callable[[Settings], Clients] | None" = None
    connect: "Callable[[SendingOptions, Asked], AbstractContextManager[InputWay]] | None" = None
    open_reader: "Callable[[Settings], SqlReader] | None" = None
    row_ways: RowWays | None = None
    new_stop: Callable[[], Event] = Event
    on_signal: Callable[[int, Any], Any] = signal.signal
    look_again_s: float = 0.5
    measure_lag: "Callable[[Settings], Lag] | None" = None


_current = RunParts(SystemClock())


def run_parts() -> RunParts:
    """Return the parts of this run."""
    return _current


def now_ms() -> int:
    """Return the instant at which the command runs, ms."""
    return _current.clock.now_ms()


def run_clients(settings: Settings) -> "Clients | None":
    """Return the clients that this run is given, None if it is to make its own."""
    return None if _current.new_clients is None else _current.new_clients(settings)


@contextmanager
def commands_given(clock: Clock | None = None, **parts: Any) -> Iterator[None]:
    """Run commands with these parts of ``RunParts``; those that are not named stay."""
    global _current
    before = _current
    _current = before._replace(clock=clock or before.clock, **parts)
    try:
        yield
    finally:
        _current = before

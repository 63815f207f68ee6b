"""Clock and Kafka clients of a run of the command line. Tests give others (``commands_given``)."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from everwatch.core.clock import Clock, SystemClock
from everwatch.core.config import Settings

if TYPE_CHECKING:
    from everwatch.kafka.clients import Clients


class Given(NamedTuple):
    """``new_clients``: makes Kafka clients; None: those of the broker that the settings name."""

    clock: Clock
    new_clients: "Callable[[Settings], Clients] | None" = None


_current = Given(SystemClock())


def now_ms() -> int:
    """Return the instant at which the command runs, ms."""
    return _current.clock.now_ms()


def given_clients(settings: Settings) -> "Clients | None":
    """Return the clients that this run is given, None if it is to make its own."""
    return None if _current.new_clients is None else _current.new_clients(settings)


@contextmanager
def commands_given(
    clock: Clock | None = None, new_clients: "Callable[[Settings], Clients] | None" = None
) -> Iterator[None]:
    """Run commands with this clock and these clients; None leaves the one that is given already."""
    global _current
    before = _current
    _current = Given(clock or before.clock, new_clients or before.new_clients)
    try:
        yield
    finally:
        _current = before

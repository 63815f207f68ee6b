"""Opens what executed kinds are given to work with."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from everwatch.core.clock import Clock
from everwatch.kinds.callable_interface import Callables, NoCallables
from everwatch.kinds.protocol import RunContext
from everwatch.kinds.publisher_interface import EventPublisher, MemoryPublisher
from everwatch.network.egress import Egress
from everwatch.network.guard import Guard
from everwatch.network.http_client import HttpClient
from everwatch.network.resolver import Resolver

_PLAINLY = Egress()


@asynccontextmanager
async def open_run_context(
    clock: Clock,
    guard: Guard,
    publisher: EventPublisher | None = None,
    callables: Callables | None = None,
    resolver: Resolver | None = None,
    outgoing: Egress = _PLAINLY,
) -> AsyncIterator[RunContext]:
    """A RunContext whose sockets and threads are released at the end.

    Without ``publisher`` nothing can be published, without ``callables`` none runs; both remain the caller's.
    ``resolver`` is closed with it; without one the system's name servers are asked. ``outgoing``: proxy and trust.
    """
    names = resolver or Resolver(clock)
    http = HttpClient(clock, guard, names, outgoing)
    try:
        yield RunContext(
            clock, guard, names, http, publisher or MemoryPublisher(), callables or NoCallables(), outgoing
        )
    finally:
        await http.close()
        await names.close()

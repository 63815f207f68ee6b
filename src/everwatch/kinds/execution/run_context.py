"""Opens what executed kinds are given to work with."""

from collections.abc import AsyncIterator, Sequence
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
    name_servers: Sequence[str] = (),
    outgoing: Egress = _PLAINLY,
) -> AsyncIterator[RunContext]:
    """A RunContext whose sockets and threads are released at the end.

    Without ``publisher`` nothing can be published, without ``callables`` none runs; both remain the caller's.
    ``name_servers`` ("IP:port") are asked for addresses instead of those of the system; ``outgoing``: proxy and trust.
    """
    resolver = Resolver(clock, name_servers)
    http = HttpClient(clock, guard, resolver, outgoing)
    try:
        yield RunContext(
            clock, guard, resolver, http, publisher or MemoryPublisher(), callables or NoCallables(), outgoing
        )
    finally:
        await http.close()
        await resolver.close()

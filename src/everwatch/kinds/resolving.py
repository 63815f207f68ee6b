"""Names to addresses by the system's resolver, in threads of its own; and the records of a name by DNS itself."""

import asyncio
import socket
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import aiodns
import pycares
from aiohttp.abc import AbstractResolver, ResolveResult

AddressInfo = tuple[socket.AddressFamily, socket.SocketKind, int, str, tuple[str, int] | tuple[str, int, int, int]]

# a name server that does not answer holds a thread for its whole timeout; with the loop's few default threads
# a handful of such names would hold up every other check
_THREADS = 64
# c-ares gives each of its resolvers a thread and an inotify instance, of which Linux allows a user 128 in all
_MOST_LOOKUPS = 64
# so that a name server that does not answer holds its place for about 6 s (the second wait is twice as long)
_TRY_S = 2.0
_TRIES = 2


class Resolver(AbstractResolver):
    """Finds addresses and DNS records. Nothing is cached: a check is to find out what is so now."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="resolve")
        self._lookups = asyncio.Semaphore(_MOST_LOOKUPS)

    async def addresses(self, host: str, port: int, family: int = socket.AF_UNSPEC) -> list[AddressInfo]:
        """Where to connect for a TCP connection to ``host``, best first. Raises socket.gaierror."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, _look_up, host, port, family)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The same for aiohttp."""
        return [
            ResolveResult(
                hostname=host,
                host=info[4][0],
                port=info[4][1],
                family=info[0],
                proto=info[2],
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for info in await self.addresses(host, port, family)
        ]

    async def records(self, name: str, record_type: str, servers: Sequence[str] = ()) -> list[pycares.DNSRecord]:
        """The answer section for ``name``, asked of ``servers`` ("IP:port", which c-ares connects to as they are).

        Without servers those of the system are asked. Over UDP, and over TCP where an answer does not fit. Raises
        aiodns.error.DNSError, also where there is no record.
        """
        # one resolver per lookup, because it keeps answers for as long as they say, and cannot be told not to
        async with self._lookups, aiodns.DNSResolver(servers, timeout=_TRY_S, tries=_TRIES) as resolver:
            return (await resolver.query_dns(name, record_type)).answer

    async def close(self) -> None:
        """Take no more names. A lookup under way is not waited for."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _look_up(host: str, port: int, family: int) -> list[AddressInfo]:
    try:
        found = socket.getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
    except UnicodeError:
        # a label that is empty or longer than a name may have
        raise socket.gaierror(socket.EAI_NONAME, "not a host name") from None
    return [info for info in found if info[0] in (socket.AF_INET, socket.AF_INET6)]  # type: ignore[misc]

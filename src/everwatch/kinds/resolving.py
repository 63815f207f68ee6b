"""Names to addresses, kept for as long as their answers say; and the records of a name by DNS itself, asked anew."""

import asyncio
import socket
from collections.abc import Sequence
from dataclasses import dataclass

import aiodns
import aiodns.error
import pycares

from everwatch.clock import Clock

AddressInfo = tuple[socket.AddressFamily, socket.SocketKind, int, str, tuple[str, int] | tuple[str, int, int, int]]

# c-ares gives each of its resolvers a thread and an inotify instance, of which Linux allows a user 128 in all
_MOST_LOOKUPS = 64
# so that a name server that does not answer holds its place for about 6 s (the second wait is twice as long)
_TRY_S = 2.0
_TRIES = 2
# c-ares keeps an answer for its TTL, up to an hour, and cannot be told less: with a new resolver it begins anew
_LONGEST_KEPT_S = 300.0

_CODES = {
    aiodns.error.ARES_ENOTFOUND: socket.EAI_NONAME,
    aiodns.error.ARES_EBADNAME: socket.EAI_NONAME,
    aiodns.error.ARES_ENODATA: socket.EAI_NODATA,
    aiodns.error.ARES_ETIMEOUT: socket.EAI_AGAIN,
    aiodns.error.ARES_ECONNREFUSED: socket.EAI_AGAIN,
}


@dataclass(slots=True)
class _Kept:
    """A resolver with the answers that it keeps; ``lookups`` are under way."""

    resolver: aiodns.DNSResolver
    until_s: float
    lookups: int = 0


class Resolver:
    """Finds addresses and DNS records.

    Addresses are kept for the TTL of their answer, at most five minutes, because the same few names are checked again
    and again; what does not exist for as long as its zone says. Records are what a check asks for, and never kept.

    ``servers`` ("IP:port") are asked for addresses instead of those of the system.
    """

    def __init__(self, clock: Clock, servers: Sequence[str] = ()) -> None:
        self._clock = clock
        self._servers = servers
        self._kept: _Kept | None = None
        self._lookups = asyncio.Semaphore(_MOST_LOOKUPS)

    async def addresses(self, host: str, port: int, family: int = socket.AF_UNSPEC) -> list[AddressInfo]:
        """Where to connect for a TCP connection to ``host``, best first. Raises socket.gaierror.

        /etc/hosts comes before DNS; numbers are addresses, in every way that the system reads them.
        """
        try:
            if not host.isascii():
                # as the rest of Python writes it; c-ares refuses what is not in its final form already
                host = host.encode("idna").decode()
            # numbers need no name server, and only the system knows all ways to write them
            return _numeric(host, port, family)
        except UnicodeError:  # a label that is empty or longer than a name may have
            raise socket.gaierror(socket.EAI_NONAME, "not a host name") from None
        except socket.gaierror:
            return await self._look_up(host, port, family)

    async def records(self, name: str, record_type: str, servers: Sequence[str] = ()) -> list[pycares.DNSRecord]:
        """The answer section for ``name``, asked of ``servers`` ("IP:port", which c-ares connects to as they are).

        Without servers those of the system are asked. Over UDP, and over TCP where an answer does not fit. Raises
        aiodns.error.DNSError, also where there is no record.
        """
        # one resolver per lookup, because it keeps answers for as long as they say, and cannot be told not to
        async with self._lookups, aiodns.DNSResolver(servers, timeout=_TRY_S, tries=_TRIES) as resolver:
            return (await resolver.query_dns(name, record_type)).answer

    async def close(self) -> None:
        """Take no more names. A lookup under way fails."""
        if self._kept is not None:
            await self._kept.resolver.close()

    async def _look_up(self, host: str, port: int, family: int) -> list[AddressInfo]:
        kept = await self._fresh()
        kept.lookups += 1
        try:
            found = await kept.resolver.getaddrinfo(host, socket.AddressFamily(family), port, type=socket.SOCK_STREAM)
        except aiodns.error.DNSError as error:
            code, said = error.args
            raise socket.gaierror(_CODES.get(code, socket.EAI_FAIL), said) from None
        finally:
            kept.lookups -= 1
            await self._let_go_if_old(kept)
        return _reachable([_info(node) for node in found.nodes])

    async def _fresh(self) -> _Kept:
        """The resolver with what is kept, a new one if it is too old."""
        now_s = self._clock.monotonic_s()
        old = self._kept
        if old is not None and now_s < old.until_s:
            return old
        resolver = aiodns.DNSResolver(self._servers, timeout=_TRY_S, tries=_TRIES)
        self._kept = fresh = _Kept(resolver, now_s + _LONGEST_KEPT_S)
        if old is not None:
            await self._let_go_if_old(old)
        return fresh

    async def _let_go_if_old(self, kept: _Kept) -> None:
        # closing it would fail the lookups that it has under way
        if kept is not self._kept and not kept.lookups:
            await kept.resolver.close()


def _numeric(host: str, port: int, family: int) -> list[AddressInfo]:
    found = socket.getaddrinfo(host, port, family, socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    return [info for info in found if info[0] in (socket.AF_INET, socket.AF_INET6)]  # type: ignore[misc]


def _info(node: pycares.AddrInfoNode) -> AddressInfo:
    address = (node.addr[0].decode(), *node.addr[1:])
    return socket.AddressFamily(node.family), socket.SOCK_STREAM, socket.IPPROTO_TCP, "", address


def _reachable(found: list[AddressInfo]) -> list[AddressInfo]:
    """``found`` without IPv6 addresses where this machine has no IPv6 and there are others: they only blur reasons."""
    if len({info[0] for info in found}) < 2:
        return found
    return [info for info in found if info[0] == socket.AF_INET or _has_route(info)]


def _has_route(info: AddressInfo) -> bool:
    try:
        with socket.socket(info[0], socket.SOCK_DGRAM) as probe:
            probe.connect(info[4])  # of a datagram socket: it looks up the route and sends nothing
    except OSError:
        return False
    return True

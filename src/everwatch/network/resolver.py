"""Names to addresses, kept for as long as their answers say; and the records of a name by DNS itself, asked anew."""

import asyncio
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import aiodns.error
import pycares

from everwatch.core.clock import Clock
from everwatch.network.host_names import is_host_name, to_ascii
from everwatch.network.hosts_file import HOSTS, HostsFile, SearchList
from everwatch.network.name_servers import TRY_S, NameServers, owned

AddressInfo = tuple[socket.AddressFamily, socket.SocketKind, int, str, tuple[str, int] | tuple[str, int, int, int]]

# c-ares gives each of its resolvers a thread and an inotify instance, of which Linux allows a user 128 in all
_MOST_LOOKUPS = 64
# with a new resolver what is kept begins anew
_LONGEST_KEPT_S = 300.0

_CODES = {
    aiodns.error.ARES_ENOTFOUND: socket.EAI_NONAME,
    aiodns.error.ARES_EBADNAME: socket.EAI_NONAME,
    aiodns.error.ARES_ENODATA: socket.EAI_NODATA,
    aiodns.error.ARES_ETIMEOUT: socket.EAI_AGAIN,
    aiodns.error.ARES_ECONNREFUSED: socket.EAI_AGAIN,
}
# of several errors the one of the lowest rank is reported: "not known" before "does not exist"
_RANKS = {aiodns.error.ARES_ENODATA: 1, aiodns.error.ARES_ENOTFOUND: 2}
_LOOPBACK = ("::1", "127.0.0.1")


@dataclass(slots=True)
class _Kept:
    """Name servers with the answers that are kept; ``lookups`` are under way."""

    servers: NameServers
    until_s: float
    lookups: int = 0


class Resolver:
    """Finds addresses and DNS records.

    Addresses are kept for the TTL of their answer, at most five minutes, because the same few names are checked again
    and again; what does not exist for as long as its zone says. Records are what a check asks for, and never kept.

    ``servers`` ("IP:port") are asked instead of those of the system; ``hosts`` is the file of addresses that comes
    before them; ``try_s``: for how long the first try of a question waits.
    """

    def __init__(self, clock: Clock, servers: Sequence[str] = (), hosts: Path = HOSTS, try_s: float = TRY_S) -> None:
        self._clock = clock
        self._servers = servers
        self._try_s = try_s
        self._hosts = HostsFile(hosts)
        self._search = SearchList()
        self._kept: _Kept | None = None
        self._lookups = asyncio.Semaphore(_MOST_LOOKUPS)

    async def addresses(self, host: str, port: int) -> list[AddressInfo]:
        """Return where to connect for a TCP connection to ``host``, best first. Raises socket.gaierror.

        /etc/hosts comes before DNS; numbers are addresses, in every way that the system reads them.
        """
        try:
            name = to_ascii(host)
        except ValueError:
            raise socket.gaierror(socket.EAI_NONAME, "not a host name") from None
        try:
            # numbers need no name server, and only the system knows all ways to write them
            return _numeric(name, port)
        except (socket.gaierror, UnicodeError):  # UnicodeError: a label that is empty or too long
            pass
        if not is_host_name(name):
            raise socket.gaierror(socket.EAI_NONAME, "not a host name")
        found = self._hosts.addresses(name) or _special(name) or await self._look_up(name)
        infos = [info for address in found for info in _numeric(address, port)]
        # RFC 6724: IPv6 is preferred; the order within a family is the answer's
        return _reachable(sorted(infos, key=lambda info: info[0] == socket.AF_INET))

    async def records(self, name: str, record_type: str, servers: Sequence[str] = ()) -> list[pycares.DNSRecord]:
        """The answer section for ``name``, asked of ``servers`` ("IP:port", which c-ares connects to as they are).

        Without servers those of this resolver are asked. Raises aiodns.error.DNSError, also where there is no record.
        """
        async with self._lookups:
            # one for each lookup, because it keeps answers for as long as they say, and has no option against that
            asked = NameServers(servers or self._servers, self._try_s)
            try:
                return await asked.ask(name, record_type)
            finally:
                await asked.close()

    async def close(self) -> None:
        """Take no more names. A lookup under way fails."""
        if self._kept is not None:
            await self._kept.servers.close()

    async def _look_up(self, name: str) -> list[str]:
        kept = await self._fresh()
        kept.lookups += 1
        try:
            return await self._search_for(name, kept.servers)
        finally:
            kept.lookups -= 1
            await self._let_go_if_old(kept)

    async def _search_for(self, name: str, servers: NameServers) -> list[str]:
        """The addresses of the first name of the search list that has some. Raises socket.gaierror."""
        errors: list[aiodns.error.DNSError] = []
        for candidate in self._search.candidates(name):
            if not is_host_name(candidate):
                continue
            answers = await asyncio.gather(
                _addresses(servers, candidate, "AAAA"), _addresses(servers, candidate, "A"), return_exceptions=True
            )
            if found := [address for answer in answers if isinstance(answer, list) for address in answer]:
                return found
            for answer in answers:
                if isinstance(answer, aiodns.error.DNSError):
                    errors.append(answer)
                elif isinstance(answer, BaseException):
                    raise answer
        if not errors:
            raise socket.gaierror(socket.EAI_NODATA, "no address")
        code, said = min(errors, key=lambda error: _RANKS.get(error.args[0], 0)).args
        raise socket.gaierror(_CODES.get(code, socket.EAI_FAIL), said)

    async def _fresh(self) -> _Kept:
        """The name servers with their cache, new ones if that is too old."""
        now_s = self._clock.monotonic_s()
        old = self._kept
        if old is not None and now_s < old.until_s:
            return old
        self._kept = fresh = _Kept(NameServers(self._servers, self._try_s), now_s + _LONGEST_KEPT_S)
        if old is not None:
            await self._let_go_if_old(old)
        return fresh

    async def _let_go_if_old(self, kept: _Kept) -> None:
        # closing it would fail the lookups that it has under way
        if kept is not self._kept and not kept.lookups:
            await kept.servers.close()


async def _addresses(servers: NameServers, name: str, record_type: str) -> list[str]:
    records = owned(await servers.ask(name, record_type), name, record_type)
    return [one.data.addr for one in records if isinstance(one.data, pycares.ARecordData | pycares.AAAARecordData)]


def _special(name: str) -> tuple[str, ...]:
    """The addresses of a name that no name server is to be asked for. Raises socket.gaierror."""
    last = name.lower().rstrip(".").rpartition(".")[2]
    if last == "onion":  # RFC 7686
        raise socket.gaierror(socket.EAI_NONAME, "a name of Tor")
    return _LOOPBACK if last == "localhost" else ()  # RFC 6761, 6.3


def _numeric(host: str, port: int) -> list[AddressInfo]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    return [info for info in found if info[0] in (socket.AF_INET, socket.AF_INET6)]  # type: ignore[misc]


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

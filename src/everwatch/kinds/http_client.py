"""The HTTP client that all checks of one executor share: guarded sockets, and the time each phase takes."""

import socket
import ssl
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from everwatch import __version__
from everwatch.clock import Clock
from everwatch.errors import TargetForbidden
from everwatch.kinds.guard import Guard

Milliseconds = float

# of monitors that keep their connection; those asked least recently are closed first
MOST_KEPT = 256
# longer than the usual intervals; most servers close earlier
_KEPT_S = 150.0


@dataclass(slots=True)
class Probe:
    """What is measured of one request; seconds are added up over redirects.

    ``refusal``: what the guard said last. ``tls``: the last TLS session that began, None before the first.
    """

    clock: Clock
    began_s: float
    dns_s: float = 0.0
    connect_s: float = 0.0
    tls_s: float = 0.0
    first_byte_s: float | None = None
    refusal: str = ""
    tls: ssl.SSLObject | None = None
    _phase_began_s: float = 0.0
    _dns_began_s: float = 0.0
    _dns_of_phase_s: float = 0.0
    _tls_began_s: float | None = None
    _connected_s: float | None = None

    def connection_begins(self) -> None:
        self._phase_began_s = self.clock.monotonic_s()
        self._dns_of_phase_s = 0.0
        self._tls_began_s = None

    def dns_begins(self) -> None:
        self._dns_began_s = self.clock.monotonic_s()

    def dns_ends(self) -> None:
        self._dns_of_phase_s = self.clock.monotonic_s() - self._dns_began_s
        self.dns_s += self._dns_of_phase_s

    def tls_begins(self) -> None:
        self._tls_began_s = self.clock.monotonic_s()

    def connection_ends(self) -> None:
        now_s = self.clock.monotonic_s()
        connected_s = now_s if self._tls_began_s is None else self._tls_began_s
        self.connect_s += connected_s - self._phase_began_s - self._dns_of_phase_s
        self.tls_s += now_s - connected_s
        self._connected_s = now_s

    def connection_is_reused(self) -> None:
        """The request goes out on a connection that an earlier one left open: there is nothing to wait for."""
        self._connected_s = self.clock.monotonic_s()

    def answer_begins(self) -> None:
        """The head of the answer is in. Counted from the (last) connection, so the phases add up to the total."""
        if self._connected_s is not None:
            self.first_byte_s = self.clock.monotonic_s() - self._connected_s

    def timings(self) -> dict[str, Milliseconds]:
        """Phases in ms that took place, and ``total`` up to now."""
        total_s = self.clock.monotonic_s() - self.began_s
        phases = {"dns": self.dns_s, "connect": self.connect_s, "tls": self.tls_s, "first_byte": self.first_byte_s}
        return {name: round(s * 1000, 3) for name, s in phases.items() if s} | {"total": round(total_s * 1000, 3)}


_current_probe: ContextVar[Probe | None] = ContextVar("current_probe", default=None)


class _TimedTlsContext(ssl.SSLContext):
    """An SSLContext that notes when a handshake begins.

    aiohttp's tracing knows connections only as a whole. asyncio and uvloop both call ``wrap_bio``, a public method
    of a public class, at the moment when TCP is connected and TLS begins: that divides the two without reaching
    into aiohttp.
    """

    def wrap_bio(self, *args: Any, **kwargs: Any) -> ssl.SSLObject:
        probe = _current_probe.get()
        if probe is not None:
            probe.tls_begins()
        session = super().wrap_bio(*args, **kwargs)
        if probe is not None:
            # an answer that is read to its end has let go of its connection and with it of the certificate
            probe.tls = session
        return session


class _AllowedAddresses(AbstractResolver):
    """Leaves out addresses that checks may not reach, as long as there are others.

    This is for the reason's sake: of a name with two addresses it tells why the allowed one did not answer. What
    keeps checks from forbidden addresses is ``HttpClient._open_socket``.
    """

    def __init__(self, resolver: AbstractResolver, guard: Guard) -> None:
        self._resolver = resolver
        self._guard = guard

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self._resolver.resolve(host, port, family)
        return [one for one in found if self._allows(one["host"])] or found

    async def close(self) -> None:
        """Nothing: the resolver is another's."""

    def _allows(self, address: str) -> bool:
        try:
            self._guard.check(address)
        except TargetForbidden:
            return False
        return True


class HttpClient:
    """The sessions of a process. In ``session`` every request has a connection of its own: checks measure that too."""

    def __init__(self, clock: Clock, guard: Guard, resolver: AbstractResolver) -> None:
        self._clock = clock
        self._guard = guard
        self._resolver = _AllowedAddresses(resolver, guard)
        self._tls: dict[bool, ssl.SSLContext] = {}
        self._kept: OrderedDict[object, aiohttp.ClientSession] = OrderedDict()
        self.session = self._open_session(keep=False)

    def new_probe(self) -> Probe:
        """Begin to measure; what the current task requests next is noted there (pass it as ``trace_request_ctx``)."""
        probe = Probe(self._clock, self._clock.monotonic_s())
        _current_probe.set(probe)
        return probe

    def tls(self, *, verify: bool) -> ssl.SSLContext:
        """The TLS context, made once: loading the system's certificates takes a while."""
        context = self._tls.get(verify)
        if context is None:
            context = self._tls[verify] = _new_tls_context(verify=verify)
        return context

    @asynccontextmanager
    async def kept_session(self, owner: object) -> AsyncIterator[aiohttp.ClientSession]:
        """A session whose connection is still open when ``owner``, and nobody else, asks again.

        Users do not share connections: what one has made a server say must not be read by another. After an
        error, or where the caller closes the session, there is nothing to keep.
        """
        session = self._kept.pop(owner, None) or self._open_session(keep=True)
        try:
            yield session
        except BaseException:
            await session.close()
            raise
        if session.closed:
            return
        # its owner may have asked twice at once: the later is kept
        surplus = [previous] if (previous := self._kept.pop(owner, None)) else []
        self._kept[owner] = session
        if len(self._kept) > MOST_KEPT:
            surplus.append(self._kept.popitem(last=False)[1])
        for old in surplus:
            await old.close()

    async def close(self) -> None:
        while self._kept:
            await self._kept.popitem()[1].close()
        await self.session.close()

    def _open_session(self, *, keep: bool) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                resolver=self._resolver,
                use_dns_cache=False,
                force_close=not keep,
                keepalive_timeout=_KEPT_S if keep else None,
                limit=0,  # the executor bounds what is in flight
                socket_factory=self._open_socket,
            ),
            # users' checks must not see each other's cookies
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": f"everwatch/{__version__}", "Accept": "*/*"},
            timeout=aiohttp.ClientTimeout(total=None, connect=None, sock_connect=None, sock_read=None),
            trace_configs=[_tracing()],
            trust_env=False,
        )

    def _open_socket(self, address_info: Any) -> socket.socket:
        # the one place that every connection passes: names, IP literals (for which aiohttp asks no resolver)
        # and each hop of a redirect
        family, type_, proto, _, address = address_info
        try:
            self._guard.check(address[0])
        except TargetForbidden as error:
            probe = _current_probe.get()
            if probe is not None:
                probe.refusal = str(error)
            raise
        return socket.socket(family, type_, proto)


def _new_tls_context(*, verify: bool) -> ssl.SSLContext:
    context = _TimedTlsContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_alpn_protocols(["http/1.1"])
    if verify:
        context.load_default_certs()
    else:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _tracing() -> aiohttp.TraceConfig:
    tracing = aiohttp.TraceConfig()
    tracing.on_connection_create_start.append(_noting(Probe.connection_begins))
    tracing.on_connection_create_end.append(_noting(Probe.connection_ends))
    tracing.on_connection_reuseconn.append(_noting(Probe.connection_is_reused))
    tracing.on_dns_resolvehost_start.append(_noting(Probe.dns_begins))
    tracing.on_dns_resolvehost_end.append(_noting(Probe.dns_ends))
    return tracing


def _noting(note: Callable[[Probe], None]) -> Callable[[aiohttp.ClientSession, SimpleNamespace, Any], Awaitable[None]]:
    async def noted(_session: aiohttp.ClientSession, context: SimpleNamespace, _params: object) -> None:
        note(context.trace_request_ctx)

    return noted

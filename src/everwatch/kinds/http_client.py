"""The HTTP client that all checks of one executor share: guarded sockets, and the time each phase takes."""

import socket
import ssl
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver

from everwatch import __version__
from everwatch.clock import Clock
from everwatch.errors import TargetForbidden
from everwatch.kinds.guard import Guard

Milliseconds = float


@dataclass(slots=True)
class Probe:
    """What is measured of one request; seconds are added up over redirects. ``refusal``: what the guard said last."""

    clock: Clock
    began_s: float
    dns_s: float = 0.0
    connect_s: float = 0.0
    tls_s: float = 0.0
    first_byte_s: float | None = None
    refusal: str = ""
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
        return super().wrap_bio(*args, **kwargs)


class HttpClient:
    """One session for a process. Every request has a connection of its own: checks measure that too."""

    def __init__(self, clock: Clock, guard: Guard, resolver: AbstractResolver) -> None:
        self._clock = clock
        self._guard = guard
        self._tls: dict[bool, ssl.SSLContext] = {}
        self.session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                resolver=resolver,
                use_dns_cache=False,
                force_close=True,
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

    async def close(self) -> None:
        await self.session.close()

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
    tracing.on_dns_resolvehost_start.append(_noting(Probe.dns_begins))
    tracing.on_dns_resolvehost_end.append(_noting(Probe.dns_ends))
    return tracing


def _noting(note: Callable[[Probe], None]) -> Callable[[aiohttp.ClientSession, SimpleNamespace, Any], Awaitable[None]]:
    async def noted(_session: aiohttp.ClientSession, context: SimpleNamespace, _params: object) -> None:
        note(context.trace_request_ctx)

    return noted

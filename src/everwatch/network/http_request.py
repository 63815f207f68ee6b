"""What is asked over HTTP: the request, where it goes and on which terms, and what is measured of it."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

import pycurl
import yarl

from everwatch.core.clock import Clock
from everwatch.network.egress import Proxy
from everwatch.network.guard import Guard
from everwatch.network.http_response import Answer
from everwatch.network.tls_options import TlsOptions

Milliseconds = float
_USUAL_TLS = TlsOptions()


def _always(_: Answer) -> bool:
    return True


@dataclass(frozen=True)
class Request:
    """What is asked. ``follow``: how many redirects are followed; ``body_limit``: so much of an answer is kept.

    ``secret_headers``: names of headers that another server has no business with, after a redirect.
    ``is_enough`` is asked when the head of an answer is there, and each time that more of its body is: with True the
    exchange is over. ``within_s``: what has not come so many seconds after the check began is not waited for.
    """

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    tls: TlsOptions = _USUAL_TLS
    http_version: str = "auto"
    follow: int = 0
    body_limit: int = 0
    wants_certificate: bool = False
    is_enough: Callable[[Answer], bool] = _always
    within_s: float = 3_600.0
    secret_headers: Collection[str] = ()


@dataclass(slots=True)
class Probe:
    """What is measured of one request; seconds are added up over redirects."""

    clock: Clock
    began_s: float
    dns_s: float = 0.0
    connect_s: float = 0.0
    tls_s: float = 0.0
    first_byte_s: float = 0.0
    enough_s: float | None = None

    def note(self, curl: pycurl.Curl, lookup_s: float) -> None:
        """Add the phases of a transfer. Where a kept connection was used, there was none to make."""
        connected_s = curl.getinfo(pycurl.PRETRANSFER_TIME)
        if curl.getinfo(pycurl.NUM_CONNECTS):
            self.dns_s += lookup_s
            tcp_s, tls_s = curl.getinfo(pycurl.CONNECT_TIME), curl.getinfo(pycurl.APPCONNECT_TIME)
            self.connect_s += max(0.0, tcp_s - curl.getinfo(pycurl.NAMELOOKUP_TIME))
            self.tls_s += max(0.0, tls_s - tcp_s)
            connected_s = tls_s or tcp_s
        # counted from the (last) connection, so the phases add up to the total
        self.first_byte_s = max(0.0, curl.getinfo(pycurl.STARTTRANSFER_TIME) - connected_s)

    def timings(self) -> dict[str, Milliseconds]:
        """Phases in ms that took place, and ``total`` up to when there was enough of an answer, or up to now."""
        total_s = (self.clock.monotonic_s() if self.enough_s is None else self.enough_s) - self.began_s
        phases = {"dns": self.dns_s, "connect": self.connect_s, "tls": self.tls_s, "first_byte": self.first_byte_s}
        return {name: round(s * 1000, 3) for name, s in phases.items() if s} | {"total": round(total_s * 1000, 3)}


@dataclass(frozen=True)
class Way:
    """The way through a proxy: its addresses, and that of the target, which the guard has seen."""

    proxy: Proxy
    addresses: tuple[str, ...]
    target: str


@dataclass(frozen=True)
class Where:
    """Who is asked: a URL, the addresses of its host (none if that is one), and how long they took to find.

    ``way``: how to get there, if not directly.
    """

    url: yarl.URL
    addresses: tuple[str, ...] = ()
    lookup_s: float = 0.0
    way: Way | None = None


@dataclass(frozen=True)
class Terms:
    """How transfers go. ``trust``: options of libcurl that say where the certificates are that are trusted."""

    guard: Guard
    trust: tuple[tuple[int, str], ...]
    keep: bool

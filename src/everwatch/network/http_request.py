"""HTTP requests as values: the request, its target and terms, its measurements, and its failure.

Imports no HTTP client: the kinds need these values to validate a config.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

import yarl

from everwatch.core.clock import Clock
from everwatch.network.egress import Proxy
from everwatch.network.guard import Guard
from everwatch.network.http_response import HttpResponse
from everwatch.network.tls_options import TlsOptions

Milliseconds = float
_USUAL_TLS = TlsOptions()


def _always(_: HttpResponse) -> bool:
    return True


@dataclass(frozen=True)
class Request:
    """A request. ``follow``: how many redirects are followed; ``body_limit``: bytes of an answer that are kept.

    ``secret_headers``: names of headers that another server has no business with, after a redirect.
    ``is_enough`` is asked when the head of an answer is there, and each time that more of its body is: with True the
    exchange is over. ``within_s``: seconds after the check began, after which nothing more is waited for.
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
    is_enough: Callable[[HttpResponse], bool] = _always
    within_s: float = 3_600.0
    secret_headers: Collection[str] = ()


@dataclass(slots=True)
class Probe:
    """Measurements of one request; seconds are added up over redirects."""

    clock: Clock
    began_s: float
    dns_s: float = 0.0
    connect_s: float = 0.0
    tls_s: float = 0.0
    first_byte_s: float = 0.0
    enough_s: float | None = None

    def timings(self) -> dict[str, Milliseconds]:
        """Phases in ms that took place, and ``total`` up to when there was enough of an answer, or up to now."""
        total_s = (self.clock.monotonic_s() if self.enough_s is None else self.enough_s) - self.began_s
        phases = {"dns": self.dns_s, "connect": self.connect_s, "tls": self.tls_s, "first_byte": self.first_byte_s}
        return {name: round(s * 1000, 3) for name, s in phases.items() if s} | {"total": round(total_s * 1000, 3)}


@dataclass(frozen=True)
class ProxyRoute:
    """The way through a proxy: its addresses, and that of the target, which the guard has seen."""

    proxy: Proxy
    addresses: tuple[str, ...]
    target: str


@dataclass(frozen=True)
class HttpTarget:
    """Target of a request: a URL, the addresses of its host (none if that is one), and the time of the look-up.

    ``way``: how to get there, if not directly.
    """

    url: yarl.URL
    addresses: tuple[str, ...] = ()
    lookup_s: float = 0.0
    way: ProxyRoute | None = None


@dataclass(frozen=True)
class Terms:
    """Terms of transfers. ``trust``: options of libcurl with the trusted certificates."""

    guard: Guard
    trust: tuple[tuple[int, str], ...]
    keep: bool


class RequestFailed(Exception):
    """There is no answer, or none that can be used: one sentence, with ``said`` within.

    ``said``: words of the server's, which may be secrets that it was sent, and may be long. ``untrusted``: the URL
    whose certificate is not trusted, ``hung_up``: the one whose server hung up after a TLS handshake, if that is why.
    """

    def __init__(self, before: str, said: str = "", after: str = "") -> None:
        super().__init__(before + said + after)
        self.untrusted: yarl.URL | None = None
        self.hung_up: yarl.URL | None = None
        self._parts = before, said, after

    def sentence(self, rendered: Callable[[str], str]) -> str:
        """The sentence with the server's words as ``rendered`` renders them."""
        before, said, after = self._parts
        return before + (rendered(said) if said else "") + after


class RequestForbidden(RequestFailed):
    """The SSRF guard does not allow the address: nothing was sent, and the server is not to blame."""

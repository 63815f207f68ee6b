"""One HTTP request and its answer: a transfer of libcurl, through the guard, with the time each phase takes."""

import os
import re
import socket
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.message import Message
from functools import lru_cache
from http import HTTPStatus

import pycurl
import yarl

from everwatch import __version__
from everwatch.clock import Clock
from everwatch.errors import TargetForbidden
from everwatch.kinds.guard import Guard
from everwatch.kinds.reasons import address_of, explain_connection_error, explain_untrusted
from everwatch.kinds.transfers import Failed, Transfers

Milliseconds = float

# not kept for longer: longer than the usual intervals, and most servers close earlier
KEPT_S = 150
_LONGEST_CONTENT_TYPE = 256
_BROKEN_OFF = frozenset({pycurl.E_PARTIAL_FILE, pycurl.E_RECV_ERROR})
_NOT_HTTP = frozenset({pycurl.E_UNSUPPORTED_PROTOCOL, pycurl.E_FTP_WEIRD_SERVER_REPLY})
_CERTIFICATE_SAID = re.compile(r"SSL certificate (?:problem|OpenSSL verify result): (.+?)(?: \(\d+\))?")
_WRONG_NAME = "no alternative certificate subject name"
_USUAL_HEADERS = {
    "user-agent": f"User-Agent: everwatch/{__version__}".encode(),
    "accept": b"Accept: */*",
    # there is no such header unless it is wanted: libcurl would make up one, and wait for an answer to the other
    "content-type": b"Content-Type:",
    "expect": b"Expect:",
}


def _keep_from_children(fd: int, _purpose: int) -> int:
    # libcurl has a duplicate of the socket that it was given, which processes that are started would inherit
    os.set_inheritable(fd, False)
    return pycurl.SOCKOPT_OK


_OPTIONS: tuple[tuple[int, object], ...] = (
    (pycurl.NOSIGNAL, 1),
    (pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1),
    (pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS),
    # a proxy that the environment names would connect where the guard does not look
    (pycurl.PROXY, ""),
    (pycurl.PATH_AS_IS, 1),
    (pycurl.ACCEPT_ENCODING, "gzip, deflate"),
    (pycurl.SSLVERSION, pycurl.SSLVERSION_TLSv1_2),
    # each handshake is measured whole
    (pycurl.SSL_SESSIONID_CACHE, 0),
    (pycurl.MAXAGE_CONN, KEPT_S),
    (pycurl.SOCKOPTFUNCTION, _keep_from_children),
    # each transfer brings its own addresses, and looks through all that are kept
    (pycurl.DNS_CACHE_TIMEOUT, 1),
    # whoever runs the check ends it
    (pycurl.CONNECTTIMEOUT_MS, 3_600_000),
)


class RequestFailed(Exception):
    """There is no answer, or none that can be used: one sentence, with ``said`` within.

    ``said``: words of the server's, which may be secrets that it was sent, and may be long.
    """

    def __init__(self, before: str, said: str = "", after: str = "") -> None:
        super().__init__(before + said + after)
        self._parts = before, said, after

    def told(self, tell: Callable[[str], str]) -> str:
        """The sentence with the server's words as ``tell`` tells them."""
        before, said, after = self._parts
        return before + (tell(said) if said else "") + after


@dataclass(frozen=True)
class Request:
    """What is asked. ``follow``: how many redirects are followed; ``body_limit``: so much of an answer is read."""

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    verify_tls: bool = True
    follow: int = 0
    body_limit: int = 1024 * 1024
    wants_certificate: bool = False


@dataclass
class Answer:
    """What came: the status line's parts, the head, and at most ``body_limit`` bytes of the body.

    ``url`` is who answered, after redirects; ``certificate`` its certificate (DER), where the request wants it.
    """

    url: yarl.URL
    version: str = ""
    status: int = 0
    phrase: str = ""
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""
    certificate: bytes = b""
    redirected: bool = False

    def header(self, name: bytes) -> str | None:
        """The value of a header (``name`` in lower case), None if there is none."""
        return next((value.decode("latin-1") for key, value in self.headers if key.lower() == name), None)

    @property
    def location(self) -> str:
        """Where it redirects to, "" if nowhere; what is no ASCII in it is UTF-8, as browsers read it."""
        return (self.header(b"location") or "").encode("latin-1").decode(errors="replace")

    @property
    def charset(self) -> str | None:
        """The charset that the header names."""
        return _charset_of((self.header(b"content-type") or "")[:_LONGEST_CONTENT_TYPE])


@dataclass(slots=True)
class Probe:
    """What is measured of one request; seconds are added up over redirects."""

    clock: Clock
    began_s: float
    dns_s: float = 0.0
    connect_s: float = 0.0
    tls_s: float = 0.0
    first_byte_s: float = 0.0

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
        """Phases in ms that took place, and ``total`` up to now."""
        total_s = self.clock.monotonic_s() - self.began_s
        phases = {"dns": self.dns_s, "connect": self.connect_s, "tls": self.tls_s, "first_byte": self.first_byte_s}
        return {name: round(s * 1000, 3) for name, s in phases.items() if s} | {"total": round(total_s * 1000, 3)}


@dataclass(frozen=True)
class Where:
    """Who is asked: a URL, the addresses of its host (none if that is one), and how long they took to find."""

    url: yarl.URL
    addresses: tuple[str, ...] = ()
    lookup_s: float = 0.0


@dataclass(frozen=True)
class Terms:
    """How transfers go. ``trust``: options of libcurl that say where the certificates are that are trusted."""

    guard: Guard
    trust: tuple[tuple[int, str], ...]
    keep: bool


class Exchange:
    """One transfer."""

    def __init__(self, request: Request, where: Where, terms: Terms) -> None:
        self._request = request
        self._url = where.url
        self._lookup_s = where.lookup_s
        self._guard = terms.guard
        self._refusal: TargetForbidden | None = None
        self._trouble: OSError | None = None
        self._answer = Answer(where.url)
        self._body = bytearray()
        self._curl = pycurl.Curl()
        for option, value in _OPTIONS:
            self._curl.setopt(option, value)
        self._set_up(terms, where.addresses)

    async def run(self, transfers: Transfers, probe: Probe) -> Answer:
        """Send the request, and read the answer to its end or the limit; once. Raises RequestFailed."""
        try:
            return await self._perform(transfers, probe)
        finally:
            self._curl.close()  # it refers to us, as we to it

    async def _perform(self, transfers: Transfers, probe: Probe) -> Answer:
        curl, answer = self._curl, self._answer
        try:
            await transfers.perform(curl)
        except Failed as failure:
            probe.note(curl, self._lookup_s)
            if not self._is_enough(failure):
                raise self._explained(failure) from None
        else:
            probe.note(curl, self._lookup_s)
        answer.body = bytes(self._body[: self._request.body_limit])
        if self._request.wants_certificate:
            answer.certificate = _certificate(curl)
        return answer

    def _is_enough(self, failure: Failed) -> bool:
        """Whether the transfer ended early, or badly, after all that was wanted of it."""
        limit = self._request.body_limit
        if not limit:
            return self._answer.status >= HTTPStatus.OK
        return failure.code == pycurl.E_WRITE_ERROR and len(self._body) >= limit

    def _set_up(self, terms: Terms, addresses: tuple[str, ...]) -> None:
        curl, request, url = self._curl, self._request, self._url
        curl.setopt(pycurl.URL, str(url.with_fragment(None)))
        curl.setopt(pycurl.OPENSOCKETFUNCTION, self._open_socket)
        curl.setopt(pycurl.HEADERFUNCTION, self._take_header)
        curl.setopt(pycurl.WRITEFUNCTION, self._take_body)
        curl.setopt(pycurl.HTTPHEADER, _lines(request.headers, close=not terms.keep))
        if request.method == "HEAD":
            curl.setopt(pycurl.NOBODY, 1)
        elif request.body or request.method in ("POST", "PUT", "PATCH"):
            curl.setopt(pycurl.POSTFIELDS, request.body)
        if request.method not in ("GET", "HEAD") or request.body:
            curl.setopt(pycurl.CUSTOMREQUEST, request.method)
        if addresses:
            found = ",".join(map(_bracketed, addresses))
            curl.setopt(pycurl.RESOLVE, [f"+{url.raw_host}:{url.port}:{found}"])
        if url.scheme == "https":
            for option, path in terms.trust:
                curl.setopt(option, path)
            if not request.verify_tls:
                curl.setopt(pycurl.SSL_VERIFYPEER, 0)
                curl.setopt(pycurl.SSL_VERIFYHOST, 0)
            if request.wants_certificate:
                curl.setopt(pycurl.OPT_CERTINFO, 1)
        if not terms.keep:
            curl.setopt(pycurl.FRESH_CONNECT, 1)
            curl.setopt(pycurl.FORBID_REUSE, 1)

    def _open_socket(self, _purpose: int, address: tuple[int, int, int, tuple[str, int]]) -> socket.socket | int:
        # the one place that every connection passes, however its address was written or found
        family, type_, proto, (host, *_) = address
        try:
            self._guard.check(host)
        except TargetForbidden as error:
            self._refusal = error
            return pycurl.SOCKET_BAD
        try:
            return socket.socket(family, type_, proto)
        except OSError as error:  # too many open files, most likely: not the target's fault
            self._trouble = error
            return pycurl.SOCKET_BAD

    def _take_header(self, line: bytes) -> None:
        if line.startswith(b"HTTP/"):
            # an answer may have been announced by another (100 Continue, 103 Early Hints)
            version, status, phrase = (*line.decode("latin-1").strip().split(" ", 2), "", "")[:3]
            self._answer.version, self._answer.phrase, self._answer.headers = version, phrase, []
            self._answer.status = int(status) if status.isdigit() else 0
            return
        name, colon, value = line.partition(b":")
        if colon:
            self._answer.headers.append((name, value.strip()))

    def _take_body(self, data: bytes) -> int:
        if len(self._body) >= self._request.body_limit:
            return 0  # enough
        self._body += data
        return len(data)

    def _explained(self, failure: Failed) -> RequestFailed:
        """Why there is no answer, in one sentence."""
        code, said, host = failure.code, str(failure), self._url.host or ""
        if self._refusal is not None and not self._curl.getinfo(pycurl.NUM_CONNECTS):
            return RequestFailed(str(self._refusal))
        if self._trouble is not None:
            return RequestFailed(f"the executor could not open a connection: {self._trouble.strerror}")
        target = address_of(host, self._url.port)
        if code == pycurl.E_URL_MALFORMAT:
            return RequestFailed(f"name {host} does not resolve: it is not a host name")
        if code == pycurl.E_PEER_FAILED_VERIFICATION:
            return RequestFailed(_untrusted(said, host))
        if code in (pycurl.E_SSL_CONNECT_ERROR, pycurl.E_SSL_CIPHER):
            return RequestFailed(f"TLS handshake with {target} failed: {_tls_said(said)}")
        if code == pycurl.E_GOT_NOTHING:
            return RequestFailed("connection closed before an answer came")
        if code == pycurl.E_BAD_CONTENT_ENCODING:
            return RequestFailed("the body is not encoded as its Content-Encoding says")
        if code in _BROKEN_OFF and self._answer.status:
            return RequestFailed("the answer broke off before its end")
        number = self._curl.getinfo(pycurl.OS_ERRNO)
        if number and code in (pycurl.E_COULDNT_CONNECT, pycurl.E_RECV_ERROR, pycurl.E_SEND_ERROR):
            return RequestFailed(explain_connection_error(OSError(number, os.strerror(number)), host, self._url.port))
        if code in _NOT_HTTP:
            return RequestFailed("the answer is not valid HTTP: ", said)
        if code in (pycurl.E_RECV_ERROR, pycurl.E_SEND_ERROR):
            return RequestFailed(f"connection closed by {target}")
        return RequestFailed("the request failed: ", said)


@lru_cache(maxsize=1_000)
def _charset_of(content_type: str) -> str | None:
    kind = Message()
    kind["Content-Type"] = content_type
    return kind.get_content_charset()


def _lines(headers: Mapping[str, str], *, close: bool) -> list[bytes]:
    """Headers as libcurl takes them."""
    given = {name.lower() for name in headers}
    lines = [line for name, line in _USUAL_HEADERS.items() if name not in given]
    # a name with a semicolon is how libcurl is told of an empty value
    lines += [f"{name}: {value}".encode() if value else f"{name};".encode() for name, value in headers.items()]
    return [*lines, b"Connection: close"] if close else lines


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def _certificate(curl: pycurl.Curl) -> bytes:
    """The server's own certificate (DER), empty if there was none."""
    for name, value in next(iter(curl.getinfo(pycurl.INFO_CERTINFO)), ()):
        if name == "Cert":
            return ssl.PEM_cert_to_DER_cert(value)
    return b""


def _untrusted(said: str, host: str) -> str:
    if _WRONG_NAME in said:
        return explain_untrusted(host, f"certificate is not valid for '{host}'")
    found = _CERTIFICATE_SAID.fullmatch(said)
    return explain_untrusted(host, found[1] if found else said)


def _tls_said(said: str) -> str:
    # "TLS connect error: error:0A00010B:SSL routines::wrong version number" and the like
    return said.rpartition("::")[2].rpartition("error: ")[2] or said

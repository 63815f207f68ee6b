"""One HTTP request and its answer: a transfer of libcurl, through the guard, with the time each phase takes."""

import asyncio
import os
import socket
import ssl
from collections.abc import Mapping, Sequence
from functools import lru_cache
from http import HTTPStatus

import pycurl

from everwatch import __version__
from everwatch.core.errors import TargetForbidden
from everwatch.network.certificate import read_certificate
from everwatch.network.curl_transfers import Failed, Transfers
from everwatch.network.error_texts import explain_untrusted
from everwatch.network.http_errors import explain
from everwatch.network.http_request import (
    HttpTarget,
    Probe,
    ProxyRoute,
    Request,
    RequestFailed,
    RequestForbidden,
    Terms,
)
from everwatch.network.http_response import HttpResponse

# not kept for longer: longer than the usual intervals, and most servers close earlier
KEPT_S = 150
# CURLOPT_SUPPRESS_CONNECT_HEADERS and CURLE_PROXY, which pycurl does not name
_SUPPRESS_CONNECT_HEADERS, _PROXY_FAILED = 265, 97
# limits of reading the rest once all that is wanted is there, so that servers need not note a client that
# went away; a connection that is to be kept is worth more
_LINGER_S = 0.1
_LINGER_KEPT_S = 1.0
_LINGER_BYTES = 256 * 1024
_USUAL_HEADERS = {
    "user-agent": f"User-Agent: everwatch/{__version__}".encode(),
    "accept": b"Accept: */*",
    "accept-encoding": b"Accept-Encoding: gzip, deflate",
    # there is no such header unless it is wanted: libcurl would make up one, and wait for an answer to the other
    "content-type": b"Content-Type:",
    "expect": b"Expect:",
}


# "auto": HTTP/2 where a server offers it (RFC 9113, 3.2), as browsers do, which speak it over TLS alone
_VERSIONS = {
    ("http", "auto"): pycurl.CURL_HTTP_VERSION_1_1,
    ("https", "auto"): pycurl.CURL_HTTP_VERSION_2TLS,
    ("http", "1.1"): pycurl.CURL_HTTP_VERSION_1_1,
    ("https", "1.1"): pycurl.CURL_HTTP_VERSION_1_1,
    ("http", "2"): pycurl.CURL_HTTP_VERSION_2_PRIOR_KNOWLEDGE,
    ("https", "2"): pycurl.CURL_HTTP_VERSION_2TLS,
}


def _keep_from_children(fd: int, _purpose: int) -> int:
    # libcurl has a duplicate of the socket that it was given, which processes that are started would inherit
    os.set_inheritable(fd, False)
    return pycurl.SOCKOPT_OK


_OPTIONS: tuple[tuple[int, object], ...] = (
    (pycurl.NOSIGNAL, 1),
    (pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS),
    # a proxy that the environment names would connect where the guard does not look
    (pycurl.PROXY, ""),
    (pycurl.PATH_AS_IS, 1),
    # what is not coded as it says would be an error, whether or not the body matters
    (pycurl.HTTP_CONTENT_DECODING, 0),
    (pycurl.SSLVERSION, pycurl.SSLVERSION_TLSv1_2),
    # each handshake is measured whole
    (pycurl.SSL_SESSIONID_CACHE, 0),
    (pycurl.MAXAGE_CONN, KEPT_S),
    (pycurl.SOCKOPTFUNCTION, _keep_from_children),
    # each transfer brings its own addresses, and looks through all that are kept
    (pycurl.DNS_CACHE_TIMEOUT, 1),
    # the code that runs the check ends it
    (pycurl.CONNECTTIMEOUT_MS, 3_600_000),
)


class Exchange:
    """One transfer. ``cookies``: libcurl's lines of those that were set before; after a redirect, of all."""

    def __init__(self, request: Request, where: HttpTarget, terms: Terms, cookies: Sequence[bytes] = ()) -> None:
        self._request = request
        self._url = where.url
        self._lookup_s = where.lookup_s
        self._guard = terms.guard
        self._keep = terms.keep
        self._refusal: TargetForbidden | None = None
        self._trouble: OSError | None = None
        self._answer = HttpResponse(where.url, request.body_limit)
        self._probe: Probe | None = None
        self._deadline: asyncio.Timeout | None = None
        self._lingered_bytes = 0
        self._is_nameless = False
        self.cookies = cookies
        self._curl = pycurl.Curl()
        for option, value in _OPTIONS:
            self._curl.setopt(option, value)
        self._way = where.way
        self._set_up(terms, where.addresses)
        if where.way is not None:
            self._set_up_proxy(where.way)

    async def run(self, transfers: Transfers, probe: Probe) -> HttpResponse:
        """Send the request, and read the answer as far as it is wanted; once. Raises RequestFailed."""
        answer, self._probe = self._answer, probe
        probe.enough_s = None
        try:
            # the time runs once there is a head: until then the code that runs the check ends it
            async with asyncio.timeout(None) as self._deadline:
                await transfers.perform(self._curl)
            answer.is_over = True
            if probe.enough_s is None:
                answer.end_body()
        except Failed as failure:
            if probe.enough_s is None:
                raise self._explained(failure) from None
        except TimeoutError:
            if self._deadline is None or not self._deadline.expired():
                raise
        finally:
            _note_phases(probe, self._curl, self._lookup_s)
            self._read_out()
            self._curl.close()  # it refers to us, as we to it
        return answer

    def _read_out(self) -> None:
        """Return what libcurl knows of the answer besides its text."""
        if self._request.follow and self._answer.redirects:
            self.cookies = self._curl.getinfo_raw(pycurl.INFO_COOKIELIST)
        if self._request.wants_certificate:
            self._answer.certificate = _certificate(self._curl)

    def _set_up(self, terms: Terms, addresses: tuple[str, ...]) -> None:
        curl, request, url = self._curl, self._request, self._url
        curl.setopt(pycurl.URL, str(url.with_fragment(None)))
        curl.setopt(pycurl.HTTP_VERSION, _VERSIONS[url.scheme, request.http_version])
        curl.setopt(pycurl.OPENSOCKETFUNCTION, self._open_socket)
        curl.setopt(pycurl.HEADERFUNCTION, self._take_header)
        curl.setopt(pycurl.WRITEFUNCTION, self._take_body)
        curl.setopt(pycurl.HTTPHEADER, _lines(request.headers, close=not terms.keep))
        self._set_cookies()
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
            self._set_up_tls(terms)
        if not terms.keep:
            curl.setopt(pycurl.FRESH_CONNECT, 1)
            curl.setopt(pycurl.FORBID_REUSE, 1)

    def _open_socket(self, _purpose: int, address: tuple[int, int, int, tuple[str, int]]) -> socket.socket | int:
        # the one place that every connection passes, however its address was written or found
        family, type_, proto, (host, *_) = address
        try:
            # what the guard has to say of a target beyond a proxy, it has said; the proxy is the operator's choice
            if self._way is None or host not in self._way.addresses:
                self._guard.check(host)
        except TargetForbidden as error:
            self._refusal = error
            return pycurl.SOCKET_BAD
        try:
            return socket.socket(family, type_, proto)
        except OSError as error:  # too many open files, most likely: not the target's fault
            self._trouble = error
            return pycurl.SOCKET_BAD

    def _set_up_proxy(self, way: ProxyRoute) -> None:
        # a tunnel for http too, and to an address: the proxy never learns the name, nor looks it up differently from us
        curl, proxy = self._curl, way.proxy
        curl.setopt(pycurl.PROXY, f"http://{_bracketed(proxy.host)}:{proxy.port}")
        curl.setopt(pycurl.HTTPPROXYTUNNEL, 1)
        curl.setopt(_SUPPRESS_CONNECT_HEADERS, 1)
        curl.setopt(pycurl.HEADEROPT, pycurl.HEADER_SEPARATE)
        curl.setopt(pycurl.PROXYHEADER, [_USUAL_HEADERS["user-agent"]])
        if proxy.user:
            curl.setopt(pycurl.PROXYAUTH, pycurl.HTTPAUTH_BASIC)
            curl.setopt(pycurl.PROXYUSERNAME, proxy.user)
            curl.setopt(pycurl.PROXYPASSWORD, proxy.password)
        curl.setopt(pycurl.CONNECT_TO, [f"::{_bracketed(way.target)}:{self._url.port}"])
        curl.setopt(pycurl.RESOLVE, [f"+{proxy.host}:{proxy.port}:{','.join(map(_bracketed, way.addresses))}"])

    def _set_up_tls(self, terms: Terms) -> None:
        curl, tls = self._curl, self._request.tls
        if not tls.verify:
            curl.setopt(pycurl.SSL_VERIFYPEER, 0)
            curl.setopt(pycurl.SSL_VERIFYHOST, 0)
        elif tls.ca:
            curl.setopt(pycurl.CAINFO_BLOB, tls.ca.encode())
            curl.unsetopt(pycurl.CAPATH)
        else:
            for option, path in terms.trust:
                curl.setopt(option, path)
        if tls.client is not None:
            curl.setopt(pycurl.SSLCERT_BLOB, tls.client.certificate.encode())
            curl.setopt(pycurl.SSLKEY_BLOB, tls.client.key.encode())
        if tls.verify or self._request.wants_certificate:
            curl.setopt(pycurl.OPT_CERTINFO, 1)
        if tls.verify:
            curl.setopt(pycurl.PREREQFUNCTION, self._before_request)

    def _before_request(self, *_: object) -> int:
        """Refuse, before anything is sent, a certificate that names its host as common name only: libcurl takes it."""
        certificate = _certificate(self._curl)
        self._is_nameless = bool(certificate) and not _names_hosts(certificate)
        return pycurl.PREREQFUNC_ABORT if self._is_nameless else pycurl.PREREQFUNC_OK

    def _set_cookies(self) -> None:
        # as an option, given cookies and those that a redirect sets make one header
        given = next((value for name, value in self._request.headers.items() if name.lower() == "cookie"), "")
        if given:
            self._curl.setopt(pycurl.COOKIE, given.encode())
        if self._request.follow:
            self._curl.setopt(pycurl.COOKIEFILE, "")  # no file, but cookies are minded from now on
            for line in self.cookies:
                self._curl.setopt(pycurl.COOKIELIST, line)

    def _take_header(self, line: bytes) -> None:
        answer = self._answer
        if answer.head_ms:
            return  # a trailer
        if line.strip():
            answer.take_line(line)
        elif answer.status >= HTTPStatus.OK and self._probe is not None and self._deadline is not None:
            spent_s = self._probe.clock.monotonic_s() - self._probe.began_s
            answer.head_ms = spent_s * 1000
            self._end_in(self._request.within_s - spent_s)
            if self._request.follow and answer.redirects:
                self._stop_soon()
            else:
                self._stop_if_enough()

    def _take_body(self, data: bytes) -> int:
        if self._probe is not None and self._probe.enough_s is not None:
            self._lingered_bytes += len(data)
            return 0 if self._lingered_bytes > _LINGER_BYTES else len(data)
        self._answer.take_body(data)
        self._stop_if_enough()
        return len(data)

    def _stop_if_enough(self) -> None:
        answer, request = self._answer, self._request
        if request.is_enough(answer) or (request.body_limit and answer.is_full) or answer.wrong_coding:
            self._stop_soon()

    def _stop_soon(self) -> None:
        if self._probe is not None:
            self._probe.enough_s = self._probe.clock.monotonic_s()
            self._end_in(_LINGER_KEPT_S if self._keep else _LINGER_S)

    def _end_in(self, seconds: float) -> None:
        if self._deadline is not None:
            at_s = asyncio.get_running_loop().time() + seconds
            set_s = self._deadline.when()
            self._deadline.reschedule(at_s if set_s is None else min(at_s, set_s))

    def _explained(self, failure: Failed) -> RequestFailed:
        """Return why there is no answer, in one sentence."""
        if self._refusal is not None and not self._curl.getinfo(pycurl.NUM_CONNECTS):
            return RequestForbidden(str(self._refusal))
        if self._trouble is not None:
            return RequestFailed(f"the executor could not open a connection: {self._trouble.strerror}")
        if self._way is not None and (refusal := _refused_by_proxy(failure, self._curl)):
            return RequestFailed(refusal)
        if self._is_nameless:
            said = "it has no host in its subjectAltName, and a common name does not count"
            return RequestFailed(explain_untrusted(self._url.host or "", said))
        number = self._curl.getinfo(pycurl.OS_ERRNO)
        answering = self._answer.status > 0
        return explain(failure, self._url, answering=answering, number=number)


def _lines(headers: Mapping[str, str], *, close: bool) -> list[bytes]:
    """Headers as libcurl takes them."""
    given = {name.lower() for name in headers}
    headers = {name: value for name, value in headers.items() if name.lower() != "cookie"}
    lines = [line for name, line in _USUAL_HEADERS.items() if name not in given]
    # libcurl takes a name with a semicolon for an empty value
    lines += [f"{name}: {value}".encode() if value else f"{name};".encode() for name, value in headers.items()]
    return [*lines, b"Connection: close"] if close else lines


def _refused_by_proxy(failure: Failed, curl: pycurl.Curl) -> str:
    """Return the proxy's reason for a refusal, "" if there is none. It does not say where the proxy is."""
    status = curl.getinfo(pycurl.HTTP_CONNECTCODE)
    if status and not HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        return f"the outgoing proxy refuses to connect to the target (status {status})"
    if failure.code in (pycurl.E_COULDNT_CONNECT, _PROXY_FAILED) and not status:
        return "the outgoing proxy cannot be reached, or does not answer as one"
    return ""


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def _note_phases(probe: Probe, curl: pycurl.Curl, lookup_s: float) -> None:
    """Add the phases of a transfer. Where a kept connection was used, there was none to make."""
    connected_s = curl.getinfo(pycurl.PRETRANSFER_TIME)
    if curl.getinfo(pycurl.NUM_CONNECTS):
        probe.dns_s += lookup_s
        tcp_s, tls_s = curl.getinfo(pycurl.CONNECT_TIME), curl.getinfo(pycurl.APPCONNECT_TIME)
        probe.connect_s += max(0.0, tcp_s - curl.getinfo(pycurl.NAMELOOKUP_TIME))
        probe.tls_s += max(0.0, tls_s - tcp_s)
        connected_s = tls_s or tcp_s
    # counted from the (last) connection, so the phases add up to the total
    probe.first_byte_s = max(0.0, curl.getinfo(pycurl.STARTTRANSFER_TIME) - connected_s)


def _certificate(curl: pycurl.Curl) -> bytes:
    """The server's own certificate (DER), empty if there was none."""
    for name, value in next(iter(curl.getinfo(pycurl.INFO_CERTINFO)), ()):
        if name == "Cert":
            return ssl.PEM_cert_to_DER_cert(value)
    return b""


@lru_cache(maxsize=1_000)
def _names_hosts(der: bytes) -> bool:
    try:
        return read_certificate(der).names_hosts
    except ValueError:
        return False

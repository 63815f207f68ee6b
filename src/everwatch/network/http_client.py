"""The HTTP client that all checks of one executor share.

It is libcurl: a request on a new connection costs a third of the CPU that a client written in Python takes for it.
"""

import socket
import ssl
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from http import HTTPStatus
from itertools import islice
from typing import Any, NamedTuple

import pycurl
import yarl

from everwatch.core.clock import Clock
from everwatch.core.errors import TargetForbidden
from everwatch.network.curl_transfers import Transfers
from everwatch.network.egress import Egress
from everwatch.network.error_texts import explain_connection_error
from everwatch.network.guard import Guard
from everwatch.network.host_names import address_in, parse_url
from everwatch.network.http_exchange import KEPT_S, Exchange
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
from everwatch.network.resolver import Resolver

# of monitors that keep their connection; those asked least recently are closed first
MOST_KEPT = 256
# of those at each request; one more comes with each, so it is enough that there are two
_LOOKED_AT = 2
_SCHEMES = ("http", "https")
# headers that another server has no business with
_OF_ONE_ORIGIN = frozenset({"authorization", "proxy-authorization", "cookie", "host"})


class _IdleConnection(NamedTuple):
    """A connection without a request. ``used_s``: when its last one ended."""

    transfers: Transfers
    used_s: float


class HttpClient:
    """Sends requests. Each has a connection of its own, which checks measure too, unless its owner keeps one.

    ``kept_each``: how many connections are kept for one owner, that is, for its requests at once.
    """

    def __init__(self, clock: Clock, guard: Guard, resolver: Resolver, outgoing: Egress, kept_each: int = 1) -> None:
        self._clock = clock
        self._guard = guard
        self._resolver = resolver
        self.most_kept, self.kept_s = MOST_KEPT, float(KEPT_S)
        """Limits of the connections that are kept: their number, and the seconds without a request."""
        self._fresh = Transfers()
        self._kept_each = kept_each
        self._kept: OrderedDict[object, list[_IdleConnection]] = OrderedDict()
        self._number_kept = 0
        self._proxy = outgoing.proxy
        self._trust = _trust(outgoing.ca_file)

    def new_probe(self) -> Probe:
        """Begin to measure."""
        return Probe(self._clock, self._clock.monotonic_s())

    async def send(self, request: Request, probe: Probe, owner: object = None) -> HttpResponse:
        """Send a request and read the answer. Raises RequestFailed.

        The connection is kept for the next request of ``owner``, and for no other: what one user has made a server
        say must not be read by another. After an error or a redirect there is nothing to keep.
        """
        if owner is None:
            return await self._follow(request, probe, self._fresh, Terms(self._guard, self._trust, keep=False))
        transfers = self._take(owner)
        try:
            answer = await self._follow(request, probe, transfers, Terms(self._guard, self._trust, keep=True))
        except BaseException:
            transfers.close()
            raise
        if answer.redirected or not answer.is_over:
            transfers.close()
        else:
            self._keep(owner, transfers)
        return answer

    async def close(self) -> None:
        """Break off running requests and close all connections."""
        for owner in list(self._kept):
            while owner in self._kept:
                self._close_oldest(owner)
        self._fresh.close()

    def _take(self, owner: object) -> Transfers:
        """Return the connection of ``owner`` that was used last, or what makes a new one."""
        idle = self._kept.get(owner)
        if not idle:
            return Transfers(most_kept=1)
        self._number_kept -= 1
        transfers = idle.pop().transfers
        if not idle:
            del self._kept[owner]
        return transfers

    def _keep(self, owner: object, transfers: Transfers) -> None:
        now_s = self._clock.monotonic_s()
        idle = self._kept.setdefault(owner, [])
        idle.append(_IdleConnection(transfers, now_s))
        self._number_kept += 1
        # in the order of their last use
        self._kept.move_to_end(owner)
        if len(idle) > self._kept_each:
            self._close_oldest(owner)
        for other in list(islice(self._kept, _LOOKED_AT)):
            while (some := self._kept.get(other)) and (
                self._number_kept > self.most_kept or some[0].used_s < now_s - self.kept_s
            ):
                self._close_oldest(other)

    def _close_oldest(self, owner: object) -> None:
        idle = self._kept[owner]
        idle.pop(0).transfers.close()
        self._number_kept -= 1
        if not idle:
            del self._kept[owner]

    async def _follow(self, request: Request, probe: Probe, transfers: Transfers, terms: Terms) -> HttpResponse:
        url = parse_url(request.url)
        cookies: Sequence[bytes] = ()
        for followed in range(request.follow + 1):
            where = await self._look_up(url, probe)
            exchange = Exchange(request, where, terms, cookies)
            answer = await exchange.run(transfers, probe)
            if not (request.follow and answer.redirects):
                answer.redirected = followed > 0
                return answer
            cookies = exchange.cookies
            target = _joined(url, answer.location)
            request = redirected(request, answer.status, same_origin=target.origin() == url.origin())
            url = target
        raise RequestFailed(f"more than {request.follow} redirects")

    async def _look_up(self, url: yarl.URL, probe: Probe) -> HttpTarget:
        """Return where the URL's host is."""
        host = url.raw_host or ""
        if address_in(host) is not None:
            return await self._by_the_way(HttpTarget(url), host)
        began_s = self._clock.monotonic_s()
        try:
            found = await self._resolver.addresses(host, url.port or 0)
        except socket.gaierror as error:
            probe.dns_s += self._clock.monotonic_s() - began_s
            raise RequestFailed(explain_connection_error(error, host, url.port)) from None
        # for the reason: of a name with two addresses it says why the allowed one did not answer
        addresses = [info[4][0] for info in found]
        allowed = [address for address in addresses if self._allows(address)]
        where = HttpTarget(url, tuple(allowed or addresses), self._clock.monotonic_s() - began_s)
        return await self._by_the_way(where, where.addresses[0])

    async def _by_the_way(self, where: HttpTarget, target: str) -> HttpTarget:
        """``where``, by way of the proxy if there is one for ``target``. Raises RequestFailed."""
        proxy = self._proxy
        if proxy is None or not proxy.is_for(target):
            return where
        try:
            # beyond the proxy no socket of ours passes the guard, so it is asked here
            self._guard.check(target)
            found = await self._resolver.addresses(proxy.host, proxy.port)
        except TargetForbidden as error:
            raise RequestForbidden(str(error)) from None
        except socket.gaierror:
            raise RequestFailed("the outgoing proxy's name does not resolve") from None
        return replace(where, addresses=(), way=ProxyRoute(proxy, tuple(info[4][0] for info in found), target))

    def _allows(self, address: str) -> bool:
        try:
            self._guard.check(address)
        except TargetForbidden:
            return False
        return True


def _trust(ca_file: str) -> tuple[tuple[int, str], ...]:
    """libcurl's options for trusted certificates: libcurl itself may look elsewhere than OpenSSL does for Python."""
    if ca_file:
        return ((pycurl.CAINFO, ca_file),)
    paths = ssl.get_default_verify_paths()
    found = ((pycurl.CAINFO, paths.cafile), (pycurl.CAPATH, paths.capath))
    return tuple((option, path) for option, path in found if path)


def _joined(url: yarl.URL, location: str) -> yarl.URL:
    """Return the URL that a redirect leads to. Raises RequestFailed."""
    try:
        target = url.join(parse_url(location))
        scheme, host = target.scheme, target.raw_host
        target.port  # noqa: B018  (read for its ValueError)
    except ValueError:
        raise RequestFailed("redirected to a URL that is not valid: ", location) from None
    if scheme not in _SCHEMES:
        raise RequestFailed("redirected to ", location, ", which is not an http or https URL")
    if not host:
        raise RequestFailed("redirected to a URL that is not valid: ", location)
    # users and passwords in a URL are not for us to send
    return target.with_user(None)


def redirected(request: Request, status: int, *, same_origin: bool) -> Request:
    """The request for the next hop (RFC 9110, 15.4): other methods become GET where browsers do so."""
    changes: dict[str, Any] = {}
    if (status == HTTPStatus.SEE_OTHER and request.method != "HEAD") or (
        status in (HTTPStatus.MOVED_PERMANENTLY, HTTPStatus.FOUND) and request.method == "POST"
    ):
        changes = {"method": "GET", "body": b""}
    if not same_origin:
        changes["tls"] = replace(request.tls, client=None)
        private = {*_OF_ONE_ORIGIN, *map(str.lower, request.secret_headers)}
        changes["headers"] = {n: v for n, v in request.headers.items() if n.lower() not in private}
    return replace(request, **changes) if changes else request

"""The SSRF guard: which addresses checks may reach.

Users choose the targets of checks, so without a guard a check could read what only this machine's network may see.
Addresses are judged where the socket is made, after resolution: a name that resolves to something else the
second time (DNS rebinding), a redirect, and an address written as a number all end up there.

The ranges follow IANA's special-purpose address registries (RFC 6890).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from everwatch.core.errors import TargetForbidden
from everwatch.core.setting_conversion import Network
from everwatch.network.metrics import GUARD_REFUSALS

Address = IPv4Address | IPv6Address

# the first that matches gives the word in the sentence, so the particular stands before the general
_FORBIDDEN_V4 = (
    ("169.254.169.254/32", "a link-local address (cloud metadata)"),
    ("168.63.129.16/32", "a cloud metadata address"),
    ("0.0.0.0/32", "the unspecified address"),
    ("0.0.0.0/8", "an address of 'this network'"),
    ("10.0.0.0/8", "a private address"),
    ("100.64.0.0/10", "a carrier-grade NAT address"),
    ("127.0.0.0/8", "a loopback address"),
    ("169.254.0.0/16", "a link-local address"),
    ("172.16.0.0/12", "a private address"),
    ("192.0.0.0/24", "a reserved address"),
    ("192.0.2.0/24", "a documentation address"),
    ("192.88.99.0/24", "a reserved address"),
    ("192.168.0.0/16", "a private address"),
    ("198.18.0.0/15", "a benchmarking address"),
    ("198.51.100.0/24", "a documentation address"),
    ("203.0.113.0/24", "a documentation address"),
    ("224.0.0.0/4", "a multicast address"),
    ("255.255.255.255/32", "the broadcast address"),
    ("240.0.0.0/4", "a reserved address"),
)
_FORBIDDEN_V6 = (
    ("::/128", "the unspecified address"),
    ("::1/128", "a loopback address"),
    ("fd00:ec2::254/128", "a cloud metadata address"),
    ("fd20:ce::254/128", "a cloud metadata address"),
    ("64:ff9b:1::/48", "a private NAT64 address"),
    ("100::/64", "a discard-only address"),
    ("2001:db8::/32", "a documentation address"),
    ("3fff::/20", "a documentation address"),
    ("fc00::/7", "a unique local (private) address"),
    ("fe80::/10", "a link-local address"),
    ("fec0::/10", "a site-local address"),
    ("ff00::/8", "a multicast address"),
)
_IETF_PROTOCOLS = ip_network("2001::/23")
_NAT64 = ip_network("64:ff9b::/96")
_GLOBAL_UNICAST = ip_network("2000::/3")


@dataclass(frozen=True)
class _Range:
    first: int
    last: int
    what: str


def _ranges(table: tuple[tuple[str, str], ...]) -> tuple[_Range, ...]:
    networks = ((ip_network(text), what) for text, what in table)
    return tuple(_Range(int(net.network_address), int(net.broadcast_address), what) for net, what in networks)


_RANGES_V4 = _ranges(_FORBIDDEN_V4)
_RANGES_V6 = _ranges(_FORBIDDEN_V6)

_REMEMBERED = 10_000


class Guard:
    """Allows public addresses, and those in ``allowed`` whatever they are."""

    def __init__(self, allowed: tuple[Network, ...] = ()) -> None:
        self._allowed = allowed
        # the same addresses come repeatedly
        self._known = lru_cache(maxsize=_REMEMBERED)(self._objection)

    def check(self, address: str) -> None:
        """Return if a check may connect to ``address`` (an IP address; a scope id is ignored).

        Raises TargetForbidden with one sentence.
        """
        if objection := self._known(address):
            GUARD_REFUSALS.inc()
            raise TargetForbidden(objection)

    def _objection(self, address: str) -> str:
        """Return why it may not be reached, "" if it may."""
        try:
            parsed = ip_address(address.partition("%")[0])
        except ValueError:
            return f"target {address} is not an IP address"
        # ::ffff:a.b.c.d is but another way to write a.b.c.d: the system connects to the IPv4 address
        if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped:
            parsed = parsed.ipv4_mapped
        if self._is_allowed(parsed):
            return ""
        what = _forbidden_as(parsed)
        if not what:
            for inner in _embedded(parsed):
                if not self._is_allowed(inner) and (inner_what := _forbidden_as(inner)):
                    what = f"a tunnel to {inner}, {inner_what}"
                    break
        if not what:
            return ""
        return (
            f"target {address} is {what}, which checks may not reach; an operator can allow it with"
            " EVERWATCH_ALLOW_NETWORKS"
        )

    def _is_allowed(self, address: Address) -> bool:
        return any(address in network for network in self._allowed)


def _forbidden_as(address: Address) -> str:
    value = int(address)
    for range_ in _RANGES_V4 if isinstance(address, IPv4Address) else _RANGES_V6:
        if range_.first <= value <= range_.last:
            return range_.what
    if isinstance(address, IPv4Address) or address in _NAT64:
        return ""
    if address not in _GLOBAL_UNICAST or (address in _IETF_PROTOCOLS and address.teredo is None):
        return "a reserved address"
    return ""


def _embedded(address: Address) -> Iterator[IPv4Address]:
    """The IPv4 addresses that traffic to ``address`` would be tunnelled or translated to."""
    if isinstance(address, IPv4Address):
        return
    if address in _NAT64:  # RFC 6052
        yield IPv4Address(int(address) & 0xFFFFFFFF)
    if address.sixtofour:  # RFC 3056
        yield address.sixtofour
    if address.teredo:  # RFC 4380: the server and the client behind it
        yield from address.teredo

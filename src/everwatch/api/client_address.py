"""Address and scheme of a client, behind reverse proxies too. Pure."""

import ipaddress
from collections.abc import Sequence
from functools import lru_cache

from multidict import CIMultiDict, CIMultiDictProxy

from everwatch.core.setting_conversion import Network

LONGEST_ADDRESS = 128
"""Characters: an IPv6 address with zone, brackets and port has fewer."""
FORWARDED_PROTO = "X-Forwarded-Proto"


class TrustedProxies:
    """Reverse proxies whose ``X-Forwarded-`` headers are trusted; those of all others are ignored."""

    def __init__(self, networks: Sequence[Network] = ()) -> None:
        self._networks = networks
        self._is_trusted = lru_cache(maxsize=4_096)(self._in_a_network)

    def client_of(self, peer: str, forwarded: Sequence[str]) -> str:
        """Return the address that a request came from: the last one that is no trusted proxy.

        ``peer``: the address of the connection; ``forwarded``: values of ``X-Forwarded-For``, to which each proxy adds
        at the end the address that asked it. Text that is no address ends the search, as no proxy of ours wrote it.
        """
        found = peer
        hops = ",".join(forwarded).split(",")
        while hops and self._has(found):
            before = _plain(hops.pop().strip())
            if before is None:
                break
            found = before
        return found

    def believed(self, peer: str, headers: CIMultiDictProxy[str]) -> CIMultiDictProxy[str]:
        """Return the headers of a request without an ``X-Forwarded-Proto`` that no trusted proxy wrote.

        ``peer``: the address of the connection.
        """
        if FORWARDED_PROTO not in headers or self._has(peer):
            return headers
        kept = CIMultiDict(headers)
        del kept[FORWARDED_PROTO]
        return CIMultiDictProxy(kept)

    def _in_a_network(self, plain: str) -> bool:
        known = ipaddress.ip_address(plain)
        return any(known in network for network in self._networks)

    def _has(self, address: str) -> bool:
        if not self._networks or (plain := _plain(address)) is None:
            return False
        return self._is_trusted(plain)


def _plain(text: str) -> str | None:
    """Return an address in its usual form, without port and zone; None if it is none."""
    return _parsed(text) if len(text) <= LONGEST_ADDRESS else None


# requests come from the same addresses again and again, and parsing one costs a sixth of a ping
@lru_cache(maxsize=4_096)
def _parsed(text: str) -> str | None:
    host = text.partition("]")[0].removeprefix("[") if text.startswith("[") else text
    if host.count(":") == 1:
        host = host.partition(":")[0]
    try:
        known = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
    # a dual-stack socket shows IPv4 clients as ::ffff:10.0.0.1
    return str(getattr(known, "ipv4_mapped", None) or known)

"""Host names as they go over the wire: one function for DNS, TLS's server name and URLs.

IDNA 2008 (RFC 5891) after the mapping of UTS 46, non-transitional, as browsers and curl do it: ``faß.example`` is
``xn--fa-hia.example`` and not ``fass.example``. Python's own codec ``idna`` is IDNA 2003.
"""

import re
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from urllib.parse import urlsplit

import idna
import yarl

LONGEST_NAME = 253
# what DNS servers of today are asked for as hosts: letters, digits, hyphens, and by habit "_", "/" (RFC 2317) and "*"
_LABEL = re.compile(r"[A-Za-z0-9_/*-]{1,63}")
_PORT = re.compile(r"(.*?)(:\d*)?", re.DOTALL | re.ASCII)


@lru_cache(maxsize=10_000)
def to_ascii(host: str) -> str:
    """Return ``host`` (a name or an IP address) in ASCII and in lower case.

    Raises ValueError, with one sentence, if a part of it is no label of IDNA 2008.
    """
    if host.isascii():
        return host.lower()
    try:
        mapped = idna.uts46_remap(host, std3_rules=False, transitional=False)
        # alabel() refuses ASCII labels that are not of hosts, such as _dmarc
        name = ".".join(label if label.isascii() else idna.alabel(label).decode() for label in mapped.split("."))
    except (idna.IDNAError, UnicodeError) as error:
        raise ValueError(f"{host!r} is not a host name by IDNA 2008: {_told(error)}") from None
    if not is_host_name(name):
        raise ValueError(f"{host!r} is not a host name: it would be {name[:80]!r}")
    return name


def is_host_name(name: str) -> bool:
    """Tell whether ``name``, in ASCII, can be asked of a name server; one dot at its end is fine."""
    labels = name.removesuffix(".").split(".")
    return len(name) <= LONGEST_NAME + 1 and all(map(_LABEL.fullmatch, labels))


@lru_cache(maxsize=10_000)
def address_in(host: str) -> IPv4Address | IPv6Address | None:
    """The IP address that ``host`` is; None if it is a name. A scope id is ignored."""
    try:
        return ip_address(host.partition("%")[0])
    except ValueError:
        return None


def parse_url(text: str) -> yarl.URL:
    """``text`` as a URL, perhaps a relative one, with its host in ASCII. Raises ValueError with one sentence."""
    if not text.isascii():
        authority = urlsplit(text).netloc
        user, at, host_and_port = authority.rpartition("@")
        host, port = _PORT.fullmatch(host_and_port).groups()  # type: ignore[union-attr]  # matches any text
        if not host.isascii():
            # yarl falls back to IDNA 2003
            text = text.replace(authority, f"{user}{at}{to_ascii(host)}{port or ''}", 1)
    return yarl.URL(text)


def _told(error: Exception) -> str:
    said = str(error)
    return said[:1].lower() + said[1:]

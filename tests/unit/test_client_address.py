"""The address of a client: what proxies say counts as far as they are trusted."""

from ipaddress import ip_network

import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from everwatch.api.client_address import TrustedProxies

OURS = TrustedProxies([ip_network("10.0.0.0/8"), ip_network("fd00::/8")])
NONE: list[str] = []


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("10.0.0.1", NONE, "10.0.0.1"),
        ("198.51.100.7", ["203.0.113.9"], "198.51.100.7"),
        ("10.0.0.1", ["203.0.113.9"], "203.0.113.9"),
        # what the client wrote itself stands before what our proxy added
        ("10.0.0.1", ["192.0.2.1, 203.0.113.9"], "203.0.113.9"),
        ("10.0.0.1", ["192.0.2.1", "203.0.113.9, 10.0.0.2"], "203.0.113.9"),
        ("10.0.0.1", ["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        ("10.0.0.1", ["nonsense"], "10.0.0.1"),
        ("10.0.0.1", ["192.0.2.1, unknown, 10.0.0.2"], "10.0.0.2"),
        ("10.0.0.1", ["203.0.113.9:4711"], "203.0.113.9"),
        ("fd00::1", ["[2001:db8::7]:443"], "2001:db8::7"),
        ("::ffff:10.0.0.1", ["2001:DB8::7"], "2001:db8::7"),
        ("10.0.0.1", [""], "10.0.0.1"),
        ("", ["203.0.113.9"], ""),
    ],
)
def test_the_last_address_that_is_no_trusted_proxy_is_the_client(peer: str, forwarded: list[str], client: str) -> None:
    assert OURS.client_of(peer, forwarded) == client


@pytest.mark.parametrize(("peer", "counts"), [("10.0.0.1", True), ("fd00::9", True), ("192.0.2.1", False), ("", False)])
def test_only_a_trusted_proxy_says_by_which_scheme_it_was_asked(peer: str, counts: bool) -> None:
    headers = CIMultiDictProxy(CIMultiDict({"Host": "watch.example", "x-forwarded-proto": "https"}))
    believed = OURS.believed(peer, headers)
    assert ("X-Forwarded-Proto" in believed) == counts
    assert believed["Host"] == "watch.example"
    assert "X-Forwarded-Proto" not in TrustedProxies().believed(peer, headers)


def test_without_trusted_proxies_it_is_the_connections_own() -> None:
    assert TrustedProxies().client_of("10.0.0.1", ["203.0.113.9"]) == "10.0.0.1"

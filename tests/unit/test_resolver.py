"""Names to addresses, asked of a real name server on the loopback address."""

import asyncio
import ipaddress
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support.nameserver import FORMERR, NOTIMP, NXDOMAIN, REFUSED, SERVFAIL, NameServer, open_name_server
from support.waiting import PATIENCE

from everwatch.core.clock import SystemClock
from everwatch.kinds import registry
from everwatch.kinds.execution.run_context import open_run_context
from everwatch.model import Outcome, Tick
from everwatch.network.guard import Guard
from everwatch.network.hosts_file import SearchList
from everwatch.network.name_servers import TRY_S
from everwatch.network.resolver import Resolver

# their names lead to addresses that are others'
pytestmark = pytest.mark.usefixtures("own_network")


class SetClock(SystemClock):
    """Time that a test moves on."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def monotonic_s(self) -> float:
        return super().monotonic_s() + self.ahead_s


@pytest.fixture
async def server() -> AsyncIterator[NameServer]:
    async with open_name_server() as server:
        server.zone["a.example", "A"] = ["203.0.113.7"]
        yield server


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
async def resolver(server: NameServer, clock: SetClock) -> AsyncIterator[Resolver]:
    resolver = Resolver(clock, [f"127.0.0.1:{server.port}"])
    yield resolver
    await resolver.close()


async def found(resolver: Resolver, host: str) -> list[str]:
    return [info[4][0] for info in await resolver.addresses(host, 80)]


def times_asked(server: NameServer, name: str = "a.example") -> int:
    """Return how often a name's IPv4 addresses were asked for."""
    return server.names.count((name, "A"))


async def test_an_answer_is_kept_for_its_ttl_whatever_the_zone_says_meanwhile(
    resolver: Resolver, server: NameServer
) -> None:
    assert await found(resolver, "a.example") == ["203.0.113.7"]
    server.zone["a.example", "A"] = ["203.0.113.8"]
    for _ in range(10):
        assert await found(resolver, "a.example") == ["203.0.113.7"]
    assert times_asked(server) == 1


async def test_an_answer_whose_ttl_has_run_out_is_asked_for_anew(resolver: Resolver, server: NameServer) -> None:
    server.ttls["a.example"] = 1
    assert await found(resolver, "a.example") == ["203.0.113.7"]
    server.zone["a.example", "A"] = ["203.0.113.8"]
    async with asyncio.timeout(30 * PATIENCE):
        while await found(resolver, "a.example") != ["203.0.113.8"]:
            await asyncio.sleep(0.05)
    assert times_asked(server) == 2


async def test_an_answer_with_ttl_0_is_not_kept(resolver: Resolver, server: NameServer) -> None:
    server.ttls["a.example"] = 0
    for last in (7, 8, 9):
        server.zone["a.example", "A"] = [f"203.0.113.{last}"]
        assert await found(resolver, "a.example") == [f"203.0.113.{last}"]


async def test_no_answer_is_kept_for_longer_than_five_minutes(
    resolver: Resolver, server: NameServer, clock: SetClock
) -> None:
    assert await found(resolver, "a.example") == ["203.0.113.7"]
    server.zone["a.example", "A"] = ["203.0.113.8"]
    clock.ahead_s = 299
    assert await found(resolver, "a.example") == ["203.0.113.7"]
    clock.ahead_s = 300
    assert await found(resolver, "a.example") == ["203.0.113.8"]


async def test_a_lookup_under_way_when_what_is_kept_is_let_go_still_gets_its_answer(
    resolver: Resolver, server: NameServer, clock: SetClock
) -> None:
    server.silent = True
    waiting = asyncio.create_task(found(resolver, "a.example"))
    async with asyncio.timeout(30 * PATIENCE):
        while not server.names and not server.asked:
            await asyncio.sleep(0.001)
    server.silent = False
    clock.ahead_s = 300
    server.zone["b.example", "A"] = ["203.0.113.9"]
    assert await found(resolver, "b.example") == ["203.0.113.9"]
    assert await waiting == ["203.0.113.7"]  # the second try, of the resolver that is let go


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", "127.0.0.1"), ("::1", "::1"), ("127.1", "127.0.0.1"), ("2130706433", "127.0.0.1"),
        ("0x7f000001", "127.0.0.1"), ("::ffff:127.0.0.1", "::ffff:127.0.0.1"), ("localhost", "127.0.0.1"),
    ],
)  # fmt: skip
async def test_numbers_and_localhost_are_asked_of_no_name_server(
    resolver: Resolver, server: NameServer, host: str, expected: str
) -> None:
    assert expected in await found(resolver, host)
    assert server.asked == []


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["10.0.0.1 alpha", "10.0.0.2 alpha", "10.0.0.2 beta"],
         {"alpha": ["10.0.0.1", "10.0.0.2"], "beta": ["10.0.0.2"]}),
        (["127.0.0.1 localhost", "::1 two", "127.0.0.1 two"],
         {"localhost": ["127.0.0.1"], "two": ["127.0.0.1", "::1"]}),
        # as Kubernetes writes hostAliases
        (["# Entries added by HostAliases.", "127.0.0.1\tfoo.local\tbar.local", "10.1.2.3\tfoo.remote\tbar.remote"],
         {"bar.local": ["127.0.0.1"], "FOO.remote.": ["10.1.2.3"]}),
        (["10.0.0.1 alpha # 10.0.0.9 alpha", "not-an-address alpha", "10.0.0.1 alpha", "", "10.0.0.3"],
         {"alpha": ["10.0.0.1"]}),
        (["10.0.0.1 stra\u00dfe.example"],
         {"xn--strae-oqa.example": ["10.0.0.1"], "stra\u00dfe.example": ["10.0.0.1"]}),
    ],
)  # fmt: skip
async def test_a_name_of_etc_hosts_has_its_own_addresses_and_is_asked_of_no_name_server(
    server: NameServer, clock: SetClock, tmp_path: Path, lines: list[str], expected: dict[str, list[str]]
) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text("\n".join(lines))
    resolver = Resolver(clock, [f"127.0.0.1:{server.port}"], hosts)
    for name, addresses in expected.items():
        reachable = sorted(await found(resolver, name))
        assert reachable == addresses or reachable == [one for one in addresses if ":" not in one]  # without IPv6
    assert server.asked == []
    await resolver.close()


async def test_a_change_of_etc_hosts_is_seen_at_the_next_lookup(
    server: NameServer, clock: SetClock, tmp_path: Path
) -> None:
    hosts = tmp_path / "hosts"
    resolver = Resolver(clock, [f"127.0.0.1:{server.port}"], hosts)
    assert await found(resolver, "a.example") == ["203.0.113.7"]
    hosts.write_text("10.0.0.1 a.example")
    assert await found(resolver, "a.example") == ["10.0.0.1"]
    hosts.write_text("10.0.0.22 a.example")
    assert await found(resolver, "a.example") == ["10.0.0.22"]
    hosts.unlink()
    assert await found(resolver, "a.example") == ["203.0.113.7"]
    await resolver.close()


@pytest.mark.parametrize(
    ("text", "name", "expected"),
    [
        ("nameserver 127.0.0.1", "db", ["db"]),
        ("search one.example two.example", "db", ["db.one.example", "db.two.example", "db"]),
        ("search one.example\noptions ndots:5", "db.two", ["db.two.one.example", "db.two"]),
        ("search one.example", "db.two", ["db.two", "db.two.one.example"]),
        ("search one.example\noptions ndots:5", "db.two.", ["db.two"]),
        ("domain old.example\nsearch .", "db", ["db"]),
    ],
)
def test_short_names_are_looked_for_in_the_domains_of_resolv_conf(
    tmp_path: Path, text: str, name: str, expected: list[str]
) -> None:
    path = tmp_path / "resolv.conf"
    path.write_text(text)
    assert SearchList(path).candidates(name) == expected


@pytest.mark.parametrize("rcode", [FORMERR, NOTIMP])
@pytest.mark.parametrize("header_only", [False, True])
async def test_a_name_server_that_does_not_know_edns_is_asked_again_without_it(
    resolver: Resolver, server: NameServer, rcode: int, header_only: bool
) -> None:
    server.edns_rcode, server.header_only = rcode, header_only
    assert await found(resolver, "a.example") == ["203.0.113.7"]
    server.only_over_tcp = True
    server.zone["b.example", "A"] = ["203.0.113.8"]
    assert await found(resolver, "b.example") == ["203.0.113.8"]


async def test_an_address_of_another_name_is_none_of_this_one(resolver: Resolver, server: NameServer) -> None:
    server.zone["a.example", "A"] = ["@evil.example A=203.0.113.66"]
    with pytest.raises(socket.gaierror):
        await found(resolver, "a.example")
    server.ttls["b.example"] = 0
    server.zone["b.example", "A"] = ["CNAME=c.example", "@evil.example A=203.0.113.66", "@c.example A=203.0.113.8"]
    assert await found(resolver, "b.example") == ["203.0.113.8"]


async def test_an_international_name_is_asked_for_in_its_ascii_form(resolver: Resolver, server: NameServer) -> None:
    server.zone["xn--bcher-kva.example", "A"] = ["203.0.113.9"]
    assert await found(resolver, "bücher.example") == ["203.0.113.9"]
    assert await found(resolver, "BÜCHER.Example") == ["203.0.113.9"]


async def test_both_families_are_found(resolver: Resolver, server: NameServer) -> None:
    server.zone["six.example", "AAAA"] = ["2001:db8::7"]
    assert await found(resolver, "six.example") == ["2001:db8::7"]
    [info] = await resolver.addresses("six.example", 443)
    assert (info[0], info[4][:2]) == (socket.AF_INET6, ("2001:db8::7", 443))


async def check(name_server: NameServer, kind_name: str, try_s: float = TRY_S, **config: object) -> Outcome:
    loopback = (ipaddress.ip_network("127.0.0.0/8"),)
    async with open_run_context(
        SystemClock(), Guard(loopback), resolver=Resolver(SystemClock(), [f"127.0.0.1:{name_server.port}"], try_s=try_s)
    ) as context:
        kind = registry.kind_named(kind_name)
        assert not kind.inline
        tick = Tick("user", "monitor", 0, kind_name, "{}", 10_000, 1, 0)
        return await kind.run(registry.parse_config(kind, config), tick, context)


CONNECTING = [
    ("http", {"url": "http://a.example:80/"}),
    ("tcp", {"host": "a.example", "port": 80}),
    ("tls", {"host": "a.example", "port": 80}),
    ("dns", {"name": "b.example", "server": "a.example:53"}),
]


@pytest.mark.parametrize(("kind", "config"), CONNECTING, ids=[kind for kind, _ in CONNECTING])
@pytest.mark.parametrize(
    ("rcode", "reason"),
    [
        (NXDOMAIN, "name a.example does not resolve"),
        (0, "name a.example has no address"),
        (SERVFAIL, "name a.example could not be looked up: DNS server returned general failure"),
        (REFUSED, "name a.example could not be looked up: DNS server refused query"),
    ],
)
async def test_a_name_without_an_address_is_a_failure_that_says_why(
    server: NameServer, kind: str, config: dict[str, object], rcode: int, reason: str
) -> None:
    del server.zone["a.example", "A"]
    server.rcodes["a.example"] = rcode
    outcome = await check(server, kind, **config)
    assert outcome.reason.removeprefix("name server: ") == reason


async def test_a_silent_name_server_is_a_failure_that_says_so(server: NameServer) -> None:
    server.silent = True
    outcome = await check(server, "tcp", 0.05, host="a.example", port=80)
    assert outcome.reason == "name a.example could not be looked up: the name server does not answer"


async def test_the_time_of_the_lookup_is_in_the_timings(server: NameServer) -> None:
    listener = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    server.zone["a.example", "A"] = ["127.0.0.1"]
    outcome = await check(server, "tcp", host="a.example", port=port)
    assert outcome.reason == ""
    assert outcome.timings["dns"] > 0
    listener.close()


async def test_of_a_name_with_a_forbidden_and_an_allowed_address_the_reason_tells_of_the_allowed_one(
    server: NameServer,
) -> None:
    server.zone["a.example", "A"] = ["10.0.0.1", "127.0.0.1"]
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        outcome = await check(server, "http", url=f"http://a.example:{port}/")
    assert outcome.reason == f"connection refused by a.example:{port}"

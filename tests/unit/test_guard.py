"""The SSRF guard: a table of hostile targets, and real connections that must not happen."""

import ipaddress

import pytest
from aiohttp import web
from support.resolving import GivenAddresses, info

from everwatch.core.clock import SystemClock
from everwatch.core.errors import InvalidInput, TargetForbidden
from everwatch.kinds import registry
from everwatch.kinds.execution.run_context import open_run_context
from everwatch.kinds.protocol import RunContext
from everwatch.model import Outcome, Status, Tick
from everwatch.network.guard import Guard
from everwatch.network.resolver import AddressInfo

# their names lead to addresses that are others'
pytestmark = pytest.mark.usefixtures("own_network")

LOOPBACK_4 = (ipaddress.ip_network("127.0.0.1/32"),)

FORBIDDEN = [
    ("10.1.2.3", "private"), ("172.16.0.1", "private"), ("172.31.255.255", "private"), ("192.168.1.1", "private"),
    ("127.0.0.1", "loopback"), ("127.255.255.255", "loopback"), ("169.254.169.254", "link-local"),
    ("169.254.0.1", "link-local"), ("168.63.129.16", "metadata"), ("100.64.0.1", "carrier-grade"),
    ("100.100.100.200", "carrier-grade"), ("100.127.255.255", "carrier-grade"), ("0.0.0.0", "unspecified"),
    ("0.1.2.3", "this network"), ("224.0.0.1", "multicast"), ("239.255.255.255", "multicast"),
    ("240.0.0.1", "reserved"), ("255.255.255.255", "broadcast"), ("192.0.2.1", "documentation"),
    ("198.51.100.7", "documentation"), ("203.0.113.9", "documentation"), ("198.18.0.1", "benchmarking"),
    ("198.19.255.255", "benchmarking"), ("192.0.0.1", "reserved"), ("192.88.99.1", "reserved"),
    ("::", "unspecified"), ("::1", "loopback"), ("::2", "reserved"), ("fe80::1", "link-local"),
    ("fe80::1%eth0", "link-local"), ("febf::1", "link-local"), ("fec0::1", "site-local"), ("fc00::1", "private"),
    ("fd00:ec2::254", "metadata"), ("fd20:ce::254", "metadata"), ("fdff::1", "private"), ("ff02::1", "multicast"),
    ("2001:db8::1", "documentation"), ("3fff::1", "documentation"), ("100::1", "discard"),
    ("2001:2::1", "reserved"), ("4000::1", "reserved"), ("5f00::1", "reserved"), ("::127.0.0.1", "reserved"),
    ("::ffff:127.0.0.1", "loopback"), ("::ffff:10.0.0.1", "private"), ("::ffff:a9fe:a9fe", "link-local"),
    ("64:ff9b::10.0.0.1", "tunnel to 10.0.0.1"), ("64:ff9b::7f00:1", "tunnel to 127.0.0.1"),
    ("64:ff9b:1::1", "NAT64"), ("2002:7f00:1::1", "tunnel to 127.0.0.1"), ("2002:a9fe:a9fe::", "tunnel to 169.254"),
    # Teredo: a private server; a public server with a private client behind it (stored inverted)
    ("2001:0:a00:1::", "tunnel to 10.0.0.1"), ("2001:0:808:808:0:0:80ff:fffe", "tunnel to 127.0.0.1"),
    ("localhost", "not an IP address"), ("", "not an IP address"), ("127.1", "not an IP address"),
]  # fmt: skip

PUBLIC = [
    "8.8.8.8", "1.1.1.1", "100.63.255.255", "100.128.0.1", "172.15.255.255", "172.32.0.1", "169.253.1.1",
    "223.255.255.255", "2606:4700::1111", "2a00:1450::1", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8", "2002:808:808::1",
    "2001:200::1", "2001:0:808:808:0:0:f7f7:f7f7",
]  # fmt: skip


@pytest.mark.parametrize(("address", "word"), FORBIDDEN)
def test_what_is_not_public_is_refused_with_its_name(address: str, word: str) -> None:
    with pytest.raises(TargetForbidden, match=word):
        Guard().check(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_reached(address: str) -> None:
    Guard().check(address)


def test_the_sentence_says_what_an_operator_can_do() -> None:
    with pytest.raises(TargetForbidden) as caught:
        Guard().check("169.254.1.1")
    assert str(caught.value) == (
        "target 169.254.1.1 is a link-local address, which checks may not reach;"
        " an operator can allow it with EVERWATCH_ALLOW_NETWORKS"
    )


@pytest.mark.parametrize(
    ("network", "address"),
    [
        ("127.0.0.0/8", "127.0.0.1"), ("127.0.0.0/8", "::ffff:127.0.0.1"), ("10.0.0.0/8", "64:ff9b::10.0.0.1"),
        ("fc00::/7", "fd12::1"), ("fe80::/10", "fe80::1%eth0"), ("::1/128", "::1"),
    ],
)  # fmt: skip
def test_an_allowed_network_is_reached_however_its_addresses_are_written(network: str, address: str) -> None:
    Guard((ipaddress.ip_network(network),)).check(address)


def test_what_is_allowed_is_no_more_than_that() -> None:
    with pytest.raises(TargetForbidden):
        Guard((ipaddress.ip_network("10.0.0.0/8"),)).check("127.0.0.1")


# --- real connections -------------------------------------------------------------------------------------------


class Target:
    """A server that counts who reached it, and one path that redirects to wherever it is told."""

    def __init__(self) -> None:
        self.reached = 0
        self.port = 0

    async def answer(self, request: web.Request) -> web.Response:
        self.reached += 1
        return web.Response(text="secret")

    async def redirect(self, request: web.Request) -> web.Response:
        raise web.HTTPFound(request.query["to"])


@pytest.fixture
async def target():
    target = Target()
    app = web.Application()
    app.router.add_get("/", target.answer)
    app.router.add_get("/redirect", target.redirect)
    runner = web.AppRunner(app)
    await runner.setup()
    # every loopback address, so that a forbidden neighbour of the allowed one really answers
    await web.TCPSite(runner, "0.0.0.0", 0).start()
    target.port = runner.addresses[0][1]
    yield target
    await runner.cleanup()


async def run(kind_name: str, config: dict[str, object], context: RunContext) -> Outcome:
    kind = registry.kind_named(kind_name)
    assert not kind.inline
    tick = Tick("user", "monitor", 0, kind_name, "{}", 10_000, 1, 0)
    return await kind.run(registry.parse_config(kind, config), tick, context)


def is_the_guards(reason: str) -> bool:
    return reason.startswith("target ") and reason.endswith("with EVERWATCH_ALLOW_NETWORKS")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433", "0x7f000001", "127.1", "017700000001", "0"])
async def test_tcp_does_not_reach_a_forbidden_address_however_it_is_written(target: Target, host: str) -> None:
    async with open_run_context(SystemClock(), Guard()) as context:
        outcome = await run("tcp", {"host": host, "port": target.port}, context)
    assert outcome.status is Status.FAILURE
    assert is_the_guards(outcome.reason)
    assert target.reached == 0


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0x7f000001", "[::ffff:7f00:1]", "[::ffff:127.0.0.1]"])
async def test_http_does_not_reach_a_forbidden_address_however_it_is_written(target: Target, host: str) -> None:
    async with open_run_context(SystemClock(), Guard()) as context:
        outcome = await run("http", {"url": f"http://{host}:{target.port}/"}, context)
    assert outcome.status is Status.FAILURE
    assert is_the_guards(outcome.reason)
    assert target.reached == 0


@pytest.mark.parametrize("host", ["2130706433", "127.1", "017700000001", "0", "127.0.0.01"])
def test_an_address_written_as_a_number_is_refused_when_it_is_put(host: str) -> None:
    with pytest.raises(InvalidInput, match=r"neither a name nor an IP address \(at \$.config.url\)"):
        registry.parse_config(registry.kind_named("http"), {"url": f"http://{host}/"})


@pytest.mark.parametrize("host", ["127.0.0.2", "[::ffff:127.0.0.2]"])
async def test_a_redirect_to_a_forbidden_address_is_not_followed(target: Target, host: str) -> None:
    hidden = f"http://{host}:{target.port}/"
    async with open_run_context(SystemClock(), Guard(LOOPBACK_4)) as context:
        direct = await run("http", {"url": f"http://127.0.0.1:{target.port}/"}, context)
        assert direct.status is Status.SUCCESS
        redirected = await run("http", {"url": f"http://127.0.0.1:{target.port}/redirect?to={hidden}"}, context)
    assert redirected.status is Status.FAILURE
    assert is_the_guards(redirected.reason)
    assert "is a loopback address" in redirected.reason
    assert target.reached == 1


async def test_a_name_that_resolves_differently_the_second_time_is_caught(target: Target) -> None:
    """DNS rebinding: allowed when first asked, forbidden when the connection is made."""
    answers = iter(["127.0.0.1", "127.0.0.2"])

    async def rebinding(_: str, port: int) -> list[AddressInfo]:
        return [info(next(answers), port)]

    async with open_run_context(SystemClock(), Guard(LOOPBACK_4), resolver=GivenAddresses(rebinding)) as context:
        config = {"url": f"http://rebind.example:{target.port}/"}
        assert (await run("http", config, context)).status is Status.SUCCESS
        assert "127.0.0.2 is a loopback address" in (await run("http", config, context)).reason
    assert target.reached == 1

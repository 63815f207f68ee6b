"""http and webhook through the operator's proxy: a tunnel to an address that we looked up and the guard has seen."""

import asyncio
import base64
import ipaddress
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import pytest
from support.authority import Authority
from support.nameserver import NameServer, open_name_server
from support.raw_http import RawServer, answer, open_raw_server

from everwatch.core.clock import SystemClock
from everwatch.core.config import Secret, Settings
from everwatch.core.errors import SettingsError
from everwatch.kinds import registry
from everwatch.kinds.execution.run_context import open_run_context
from everwatch.model import Outcome, Tick
from everwatch.network.egress import Egress, Proxy, outgoing_of
from everwatch.network.guard import Guard
from everwatch.network.resolver import Resolver

# their names lead to addresses that are others'
pytestmark = pytest.mark.usefixtures("own_network")

LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"),)
TARGET = "93.184.216.34"  # public, and never connected to: the proxy leads to a server here


@dataclass
class ConnectProxy:
    """Leads every tunnel to ``leads_to``, a port here; ``heads`` are the requests for one."""

    leads_to: int = 0
    status: str = "200 Connection established"
    heads: list[str] = field(default_factory=list)
    port: int = 0

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            self.heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
            writer.write(f"HTTP/1.1 {self.status}\r\nX-Proxy: yes\r\n\r\n".encode())
            if self.status.startswith("200"):
                there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self.leads_to)
                await asyncio.gather(_pass(reader, there_writer), _pass(there_reader, writer))
        writer.close()


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.close()


@asynccontextmanager
async def open_proxy() -> AsyncIterator[ConnectProxy]:
    proxy = ConnectProxy()
    server = await asyncio.start_server(proxy.accept, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    yield proxy
    server.close()


@pytest.fixture
async def proxy() -> AsyncIterator[ConnectProxy]:
    async with open_proxy() as proxy:
        yield proxy


@pytest.fixture
async def server(proxy: ConnectProxy) -> AsyncIterator[RawServer]:
    async with open_raw_server() as server:
        server.answers["/"] = answer(b"ok")
        proxy.leads_to = server.port
        yield server


@pytest.fixture
async def names() -> AsyncIterator[NameServer]:
    async with open_name_server() as names:
        names.zone["a.example", "A"] = [TARGET]
        names.zone["inside.example", "A"] = ["10.0.0.1"]
        names.zone["proxy.example", "A"] = ["127.0.0.1"]
        yield names


async def check(url: str, outgoing: Egress, names: NameServer, kind_name: str = "http", **more: object) -> Outcome:
    kind = registry.kind_named(kind_name)
    assert not kind.inline
    servers = [f"127.0.0.1:{names.port}"]
    # not even the proxy's own address is allowed to checks
    async with open_run_context(
        SystemClock(), Guard(), resolver=Resolver(SystemClock(), servers), outgoing=outgoing
    ) as context:
        tick = Tick("user", "monitor", 0, kind_name, "{}", 10_000, 1, 0)
        return await kind.run(registry.parse_config(kind, {"url": url} | more), tick, context)


@pytest.mark.parametrize("kind", ["http", "webhook"])
@pytest.mark.parametrize("host", ["proxy.example", "127.0.0.1"])
async def test_a_request_goes_through_a_tunnel_to_the_address_that_we_looked_up(
    proxy: ConnectProxy, server: RawServer, names: NameServer, kind: str, host: str
) -> None:
    outgoing = Egress(proxy=Proxy(host, proxy.port, "us", "pass:word"))
    more = {"headers": {"Authorization": "Bearer secret"}}
    assert (await check("http://a.example:8080/", outgoing, names, kind, **more)).reason == ""
    first, *lines = proxy.heads[0].split("\r\n")
    assert first == f"CONNECT {TARGET}:8080 HTTP/1.1"
    assert f"Proxy-Authorization: Basic {base64.b64encode(b'us:pass:word').decode()}" in lines
    assert "secret" not in proxy.heads[0]
    assert "a.example" not in proxy.heads[0]
    assert "Host: a.example:8080" in server.requests[0]
    assert "Bearer secret" in server.requests[0]
    assert "Proxy-" not in server.requests[0]


async def test_what_the_proxy_says_is_not_the_answer(proxy: ConnectProxy, server: RawServer, names: NameServer) -> None:
    server.answers["/"] = answer(b"", status="500 Broken")
    outcome = await check("http://a.example/", Egress(proxy=Proxy("127.0.0.1", proxy.port)), names, capture=True)
    assert outcome.reason == "status 500, expected 200-299"
    assert outcome.detail.startswith("HTTP/1.1 500 Broken")
    assert "X-Proxy" not in outcome.detail


@pytest.mark.parametrize(
    ("url", "what"),
    [
        ("http://inside.example/", "10.0.0.1 is a private address"),
        ("http://169.254.169.254/", "cloud metadata"),
        ("http://127.0.0.1/", "a loopback address"),
        ("http://[::1]/", "a loopback address"),
        ("http://localhost/", "a loopback address"),
    ],
)
async def test_a_target_that_checks_may_not_reach_is_not_reached_through_the_proxy_either(
    proxy: ConnectProxy, server: RawServer, names: NameServer, url: str, what: str
) -> None:
    outgoing = Egress(proxy=Proxy("127.0.0.1", proxy.port))
    reason = (await check(url, outgoing, names)).reason
    assert what in reason
    assert "which checks may not reach" in reason
    server.answers["/"] = answer(b"", f"Location: {url}", status="302 Found")
    assert what in (await check("http://a.example/", outgoing, names)).reason
    assert [head.split("\r\n")[0] for head in proxy.heads] == [f"CONNECT {TARGET}:80 HTTP/1.1"]


async def test_the_proxy_itself_is_no_target(proxy: ConnectProxy, server: RawServer, names: NameServer) -> None:
    outgoing = Egress(proxy=Proxy("127.0.0.1", proxy.port))
    assert "may not reach" in (await check(f"http://127.0.0.1:{proxy.port}/", outgoing, names)).reason
    assert proxy.heads == []


async def test_tls_is_with_the_target_by_its_name(proxy: ConnectProxy, names: NameServer, authority: Authority) -> None:
    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer(b"ok", "Connection: close"))
        writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=authority.certificate())
    proxy.leads_to = server.sockets[0].getsockname()[1]
    outgoing = Egress(str(authority.path), Proxy("127.0.0.1", proxy.port))
    assert (await check("https://a.example/", outgoing, names)).reason == ""
    names.zone["b.example", "A"] = [TARGET]
    assert "certificate is not valid for 'b.example'" in (await check("https://b.example/", outgoing, names)).reason
    server.close()


async def test_a_proxy_that_refuses_or_is_not_there_is_told_as_that(
    proxy: ConnectProxy, names: NameServer, unused_tcp_port: int
) -> None:
    proxy.status = "403 Forbidden"
    refused = await check("http://a.example/", Egress(proxy=Proxy("127.0.0.1", proxy.port)), names)
    assert refused.reason == "the outgoing proxy refuses to connect to the target (status 403)"
    gone = await check("http://a.example/", Egress(proxy=Proxy("127.0.0.1", unused_tcp_port)), names)
    assert gone.reason == "the outgoing proxy cannot be reached, or does not answer as one"
    nameless = await check("http://a.example/", Egress(proxy=Proxy("none.example", 1)), names)
    assert nameless.reason == "the outgoing proxy's name does not resolve"


async def test_excepted_networks_are_reached_directly(server: RawServer, proxy: ConnectProxy) -> None:
    async with open_name_server() as names:
        outgoing = Egress(proxy=Proxy("127.0.0.1", proxy.port, direct=LOOPBACK))
        kind = registry.kind_named("http")
        assert not kind.inline
        async with open_run_context(
            SystemClock(),
            Guard(LOOPBACK),
            resolver=Resolver(SystemClock(), [f"127.0.0.1:{names.port}"]),
            outgoing=outgoing,
        ) as context:
            config = registry.parse_config(kind, {"url": server.url()})
            outcome = await kind.run(config, Tick("u", "m", 0, "http", "{}", 10_000, 1, 0), context)
    assert outcome.reason == ""
    assert proxy.heads == []


async def test_the_environment_names_no_proxy(
    proxy: ConnectProxy, server: RawServer, names: NameServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
    assert "may not reach" in (await check(server.url(), Egress(), names)).reason
    assert proxy.heads == []


def test_a_proxy_is_read_from_settings() -> None:
    settings = Settings(proxy=Secret("http://us%40:p%3Aw@proxy.example:3128/"), proxy_except=LOOPBACK)
    assert outgoing_of(settings).proxy == Proxy("proxy.example", 3128, "us@", "p:w", LOOPBACK)
    assert "p:w" not in repr(outgoing_of(settings))
    assert outgoing_of(Settings()) == Egress()


@pytest.mark.parametrize("url", ["proxy:3128", "https://proxy", "socks5://proxy", "http://proxy/path", "http://p:port"])
def test_a_proxy_that_is_none_is_refused_without_showing_it(url: str) -> None:
    with pytest.raises(SettingsError) as caught:
        outgoing_of(Settings(proxy=Secret(url)))
    assert "EVERWATCH_PROXY" in str(caught.value)
    assert "3128" not in str(caught.value).replace("proxy.example:3128", "")

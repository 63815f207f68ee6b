"""One name is one host for every kind: what name servers and TLS servers are asked for."""

import asyncio
import ipaddress
from collections.abc import AsyncIterator

import pytest
from support.authority import Authority
from support.nameserver import NameServer, open_name_server

from everwatch.core.clock import SystemClock
from everwatch.core.errors import InvalidInput
from everwatch.kinds import registry
from everwatch.kinds.execution.run_context import open_run_context
from everwatch.model import Outcome, Tick
from everwatch.network.guard import Guard
from everwatch.network.host_names import parse_url, to_ascii
from everwatch.network.resolver import Resolver

LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"),)
KINDS = ["http", "webhook", "tcp", "tls", "dns"]
# by IDNA 2008 and UTS 46, non-transitional: the test data of both
NAMES = {
    "fa\u00df.example": "xn--fa-hia.example",
    "stra\u00dfe.example": "xn--strae-oqa.example",
    "STRASSE.example": "strasse.example",
    "\u03ba\u03bb\u03b1\u03c1\u03b1-\u03c3\u03c9\u03bb\u03b9\u03c2.example": "xn----ylba7abgd9bnh0e.example",
    "B\u00dccher.example": "xn--bcher-kva.example",
    "b\u00fccher\u3002example": "xn--bcher-kva.example",
    "\u0646\u0627\u0645\u0647\u200c\u0627\u06cc.example": "xn--mgba3gch31f060k.example",
}


@pytest.fixture
async def names() -> AsyncIterator[NameServer]:
    async with open_name_server() as server:
        for name in NAMES.values():
            server.zone[name, "A"] = ["127.0.0.1"]
        yield server


def config_of(kind: str, host: str, port: int) -> dict[str, object]:
    match kind:
        case "http":
            return {"url": f"https://{host}:{port}/", "verify_tls": False}
        case "webhook":
            return {"url": f"https://{host}:{port}/", "verify_tls": False}
        case "dns":
            return {"name": "b.example", "server": f"{host}:{port}"}
        case "tcp":
            return {"host": host, "port": port, "tls": True, "verify_tls": False}
    return {"host": host, "port": port, "verify": False}


async def run(kind_name: str, config: dict[str, object], names: NameServer) -> Outcome:
    kind = registry.kind_named(kind_name)
    assert not kind.inline
    parsed = registry.parse_config(kind, config)
    servers = [f"127.0.0.1:{names.port}"]
    async with open_run_context(SystemClock(), Guard(LOOPBACK), resolver=Resolver(SystemClock(), servers)) as context:
        return await kind.run(parsed, Tick("user", "monitor", 0, kind_name, "{}", 5_000, 1, 0), context)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("host", NAMES)
async def test_every_kind_asks_for_the_same_host_and_names_it_to_tls(
    names: NameServer, authority: Authority, kind: str, host: str
) -> None:
    told: list[str] = []
    tls = authority.certificate()
    tls.sni_callback = lambda _session, name, _context: told.append(name)
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=tls)
    port = server.sockets[0].getsockname()[1]
    await run(kind, config_of(kind, host, port), names)
    server.close()
    assert {name for name, _ in names.names if name != "b.example"} == {NAMES[host]}
    if kind != "dns":
        assert set(told) == {NAMES[host]}  # of a server that hangs up it is asked once more why


async def test_a_redirect_leads_to_the_same_host_too(names: NameServer) -> None:
    async def redirect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        location = f"http://fa\u00df.example:{port}/".encode()
        writer.write(b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: " + location + b"\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(redirect, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    await run("http", {"url": f"http://127.0.0.1:{port}/"}, names)
    server.close()
    assert {name for name, _ in names.names} == {"xn--fa-hia.example"}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "host",
    [
        "a\u200db.example",
        "a\u200cb.example",
        "\u2615.example",
        "-\u00fc.example",
        "xn--zca\u00fc.example",
        "\u0301a.example",
    ],
)
def test_what_is_no_name_by_idna_2008_is_refused_by_every_kind(kind: str, host: str) -> None:
    with pytest.raises(InvalidInput):
        registry.parse_config(registry.kind_named(kind), config_of(kind, host, 443))


@pytest.mark.parametrize("field", ["server_name"])
@pytest.mark.parametrize("kind", ["tcp", "tls"])
def test_a_server_name_is_judged_like_a_host(kind: str, field: str) -> None:
    config = config_of(kind, "a.example", 443) | {field: "a\u200db.example"}
    with pytest.raises(InvalidInput, match="by IDNA 2008"):
        registry.parse_config(registry.kind_named(kind), config)


@pytest.mark.parametrize("name", ["_dmarc.example", "a.example.", "127.0.0.1", "::1", "xn--53h.example", ""])
def test_what_is_ascii_stays_as_it_is(name: str) -> None:
    assert to_ascii(name) == name


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("http://u:p@Fa\u00df.example:80/\u00df?\u00df", "xn--fa-hia.example"),
        ("//fa\u00df.example/x", "xn--fa-hia.example"),
        ("/fa\u00df", None),
        ("http://a.example/fa\u00df", "a.example"),
        ("http://\u0130.example/", "xn--i-9bb.example"),  # two characters in lower case
    ],
)
def test_a_url_has_its_host_in_ascii_and_the_rest_as_it_is(text: str, host: str | None) -> None:
    assert parse_url(text).raw_host == host

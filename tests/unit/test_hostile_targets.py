"""Targets that mean harm, through every kind that connects, against a listener that counts who comes.

``test_guard.py`` is about the guard's judgement; this is about every way from a config to a socket. It runs in a
network of its own, where every address is this machine's: what gets past the guard is counted, and nothing leaves.
"""

import asyncio
import contextlib
import ipaddress
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from itertools import product

import pytest
from support.nameserver import NameServer, open_name_server
from support.waiting import PATIENCE

from everwatch.core.clock import SystemClock
from everwatch.core.errors import InvalidInput
from everwatch.kinds import registry
from everwatch.kinds.execution.run_context import open_run_context
from everwatch.model import Status, Tick
from everwatch.network.guard import Guard
from everwatch.network.name_servers import TRY_S
from everwatch.network.resolver import Resolver

pytestmark = pytest.mark.usefixtures("own_network")

ALLOWED = "127.0.0.2"
ONE_ADDRESS = (ipaddress.ip_network(ALLOWED),)
GUARDS = "which checks may not reach"


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


@dataclass
class Listener(asyncio.DatagramProtocol):
    """Listens on every address, TCP and UDP; answers HTTP, by a redirect if there is one."""

    port: int = 0
    redirect_to: str = ""
    reached: list[str] = field(default_factory=list)
    marks: set[int] = field(default_factory=set)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.reached.append("udp")

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if (peer := writer.get_extra_info("peername")[1]) in self.marks:
            self.marks.remove(peer)
            writer.close()
            return
        self.reached.append(writer.get_extra_info("sockname")[0].removeprefix("::ffff:"))
        try:
            if await reader.read(4096):
                status = f"302 Found\r\nLocation: {self.redirect_to}" if self.redirect_to else "200 OK"
                writer.write(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode())
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()

    async def counted(self) -> list[str]:
        """Return which addresses were connected to, once all connections made so far have been accepted."""
        for address in (ALLOWED, "::1"):
            with contextlib.suppress(OSError), socket.socket(_family(address)) as mark:  # there may be no IPv6
                mark.bind((address, 0))
                self.marks.add(mark.getsockname()[1])
                mark.connect((address, self.port))
                async with asyncio.timeout(30 * PATIENCE):
                    while mark.getsockname()[1] in self.marks:
                        await asyncio.sleep(0)
        return self.reached

    async def forbidden(self) -> list[str]:
        return [address for address in await self.counted() if address != ALLOWED]


@pytest.fixture
async def listener() -> AsyncIterator[Listener]:
    listener = Listener()
    loop = asyncio.get_running_loop()
    async with AsyncExitStack() as stack:
        for sock in _on_one_port():
            if sock.type == socket.SOCK_STREAM:
                await stack.enter_async_context(await asyncio.start_server(listener.accept, sock=sock))
            else:
                udp, _ = await loop.create_datagram_endpoint(lambda: listener, sock=sock)
                stack.callback(udp.close)
            listener.port = sock.getsockname()[1]
        yield listener


def _on_one_port() -> list[socket.socket]:
    """Sockets for TCP and UDP on one free port of every address, IPv6 included if there is one."""
    for _ in range(100):
        bound: list[socket.socket] = []
        try:
            for family, type_ in product(_families(), (socket.SOCK_STREAM, socket.SOCK_DGRAM)):
                bound.append(socket.socket(family, type_))
                if family == socket.AF_INET6:
                    bound[-1].setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                bound[-1].bind(("", bound[0].getsockname()[1]))
        except OSError:
            for sock in bound:
                sock.close()
        else:
            return bound
    raise AssertionError("no port is free for all of them")


def _families() -> list[socket.AddressFamily]:
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET6) as probe:
        probe.bind(("::1", 0))
        return [socket.AF_INET, socket.AF_INET6]
    return [socket.AF_INET]


@pytest.fixture
async def names() -> AsyncIterator[NameServer]:
    async with open_name_server() as server:
        server.zone |= {
            ("loop.example", "A"): ["127.0.0.1"],
            ("metadata.example", "A"): ["169.254.169.254"],
            ("alias.example", "A"): ["CNAME=loop.example"],
            ("loop6.example", "AAAA"): ["::1"],
            ("mapped.example", "AAAA"): ["::ffff:127.0.0.1"],
            ("nat64.example", "AAAA"): ["64:ff9b::7f00:1"],
            ("both.example", "A"): ["127.0.0.1"],
            ("both.example", "AAAA"): ["::1"],
            ("fine.example", "A"): [ALLOWED],
        }
        yield server


NO_ADDRESS = ("does not resolve", "has no address")
# host, and what is said of it where it is not the guard's sentence
HOSTS: dict[str, tuple[str, ...]] = {
    "127.0.0.1": (), "2130706433": (), "0x7f000001": (), "0X7F000001": (), "0177.0.0.1": (), "017700000001": (),
    "127.1": (), "127.0.1": (), "0x7f.1": (), "0": (), "0.0.0.0": (),
    "::1": (), "0:0:0:0:0:0:0:1": (), "::": (), "::ffff:127.0.0.1": (), "::ffff:7f00:1": (),
    "64:ff9b::7f00:1": (), "64:ff9b::127.0.0.1": (), "2002:7f00:1::": (), "::127.0.0.1": (),
    "169.254.169.254": (), "0xa9fea9fe": (), "2852039166": (), "::ffff:169.254.169.254": (), "fd00:ec2::254": (),
    "10.0.0.1": (), "192.168.0.1": (), "100.64.0.1": (),
    "localhost": (), "LocalHost": (), "a.localhost": (),
    "loop.example": (), "LOOP.example.": (), "metadata.example": (), "loop6.example": (),
    "mapped.example": (), "nat64.example": (), "both.example": (),
    "127.0.0.1.": NO_ADDRESS, "2130706433.": NO_ADDRESS, "[::1]": (), "alias.example": NO_ADDRESS,
    "127.0.0.1 ": NO_ADDRESS, "127.0.0.1%00": NO_ADDRESS, "127.0.0.1#": (), "fine.example@127.0.0.1": (),
    "127\u30020\u30020\u30021": (), "\u24db\u24de\u24de\u24df.example": (),
}  # fmt: skip


def config_of(kind: str, host: str, port: int) -> dict[str, object]:
    bracketed = f"[{host}]" if ":" in host and "[" not in host else host
    match kind:
        case "http" | "webhook":
            return {"url": f"http://{bracketed}:{port}/"}
        case "dns":
            return {"name": "a.example", "server": f"{bracketed}:{port}"}
        case _:
            return {"host": host, "port": port}


async def reason_of(
    kind_name: str, config: dict[str, object], names: NameServer, guard: Guard, try_s: float = TRY_S
) -> str:
    """Why the check fails, or why the config is refused."""
    kind = registry.kind_named(kind_name)
    assert not kind.inline
    try:
        parsed = registry.parse_config(kind, config)
    except InvalidInput as error:
        return f"refused: {error}"
    tick = Tick("user", "monitor", 0, kind_name, "{}", 5_000, 1, 0)
    async with (
        open_run_context(
            SystemClock(), guard, resolver=Resolver(SystemClock(), [f"127.0.0.1:{names.port}"], try_s=try_s)
        ) as context,
        asyncio.timeout(30 * PATIENCE),
    ):
        outcome = await kind.run(parsed, tick, context)
    return outcome.reason if outcome.status is Status.FAILURE else ""


def names_why(reason: str, host: str) -> bool:
    refused = reason.startswith("refused: ") and "(at $.config." in reason
    number = "is not a canonical IPv4 address" in reason
    return refused or number or GUARDS in reason or any(said in reason for said in HOSTS[host])


@pytest.mark.parametrize("kind", ["http", "webhook", "tcp", "tls", "dns"])
@pytest.mark.parametrize("host", HOSTS)
async def test_no_kind_reaches_a_forbidden_address_however_it_is_named(
    listener: Listener, names: NameServer, kind: str, host: str
) -> None:
    reason = await reason_of(kind, config_of(kind, host, listener.port), names, Guard())
    assert names_why(reason, host), reason
    assert await listener.counted() == []


EVERYWHERE = (ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0"))
REACHABLE = [
    "127.0.0.1", "169.254.169.254", "10.0.0.1", "192.168.0.1", "100.64.0.1", "8.8.8.8",
    "::1", "64:ff9b::7f00:1", "2002:7f00:1::", "fd00:ec2::254", "2001:4860:4860::8888", "localhost", "metadata.example",
]  # fmt: skip


@pytest.mark.parametrize("kind", ["http", "webhook", "tcp", "tls", "dns"])
@pytest.mark.parametrize("host", REACHABLE)
async def test_without_the_guard_the_listener_is_reached(
    listener: Listener, names: NameServer, kind: str, host: str
) -> None:
    """The table counts what it should: with a guard that allows everything, nothing of it stays at 0."""
    reason = await reason_of(kind, config_of(kind, host, listener.port), names, Guard(EVERYWHERE), 0.05)
    assert await listener.counted() != [], reason


@pytest.mark.parametrize("host", HOSTS)
async def test_no_redirect_of_an_allowed_server_leads_to_a_forbidden_address(
    listener: Listener, names: NameServer, host: str
) -> None:
    listener.redirect_to = str(config_of("http", host, listener.port)["url"])
    config = {"url": f"http://fine.example:{listener.port}/"}
    reason = await reason_of("http", config, names, Guard(ONE_ADDRESS))
    assert reason
    assert names_why(reason, host) or "not valid" in reason, reason
    assert await listener.counted() == [ALLOWED]
    reason = await reason_of("webhook", config, names, Guard(ONE_ADDRESS))
    assert reason == "status 302, expected 200-299 (redirects are not followed)"
    assert await listener.counted() == [ALLOWED, ALLOWED]


@pytest.mark.parametrize(
    "url",
    [
        "http://fine.example@127.0.0.1:{port}/",
        "http://fine.example:80@127.0.0.1:{port}/",
        "http://fine.example%40127.0.0.1:{port}/",
        "http://127.0.0.1:{port}#@fine.example/",
        "http://127.0.0.1:{port}?@fine.example/",
        "http://127.0.0.1:{port}\\@fine.example/",
        "http://fine.example\\@127.0.0.1:{port}/",
        "http:127.0.0.1:{port}/",
        "http:///127.0.0.1:{port}/",
        "//127.0.0.1:{port}/",
        "http://127.0.0.1:{port}\r\nHost: fine.example/",
        "file:///etc/passwd",
        "gopher://127.0.0.1:{port}/",
    ],
)
@pytest.mark.parametrize("kind", ["http", "webhook"])
async def test_no_url_means_another_host_than_the_one_that_is_judged(
    listener: Listener, names: NameServer, kind: str, url: str
) -> None:
    reason = await reason_of(kind, {"url": url.replace("{port}", str(listener.port))}, names, Guard(ONE_ADDRESS))
    assert reason
    assert await listener.forbidden() == []


@pytest.mark.parametrize("ttl_s", [0, 60])
@pytest.mark.parametrize("kind", ["http", "webhook", "tcp"])
async def test_a_name_that_turns_to_a_forbidden_address_is_not_followed_there(
    listener: Listener, names: NameServer, kind: str, ttl_s: int
) -> None:
    """DNS rebinding, with an answer that is kept and with one that is not."""
    names.ttls["fine.example"] = ttl_s
    found = registry.kind_named(kind)
    assert not found.inline
    config = registry.parse_config(found, config_of(kind, "fine.example", listener.port))
    tick = Tick("user", "monitor", 0, kind, "{}", 5_000, 1, 0)
    servers = [f"127.0.0.1:{names.port}"]
    async with open_run_context(
        SystemClock(), Guard(ONE_ADDRESS), resolver=Resolver(SystemClock(), servers)
    ) as context:
        assert (await found.run(config, tick, context)).reason == ""
        names.zone["fine.example", "A"] = ["127.0.0.1"]
        second = await found.run(config, tick, context)
    if ttl_s:
        assert second.status is Status.SUCCESS  # what is kept is the address that was allowed
    else:
        assert "127.0.0.1 is a loopback address, which checks may not reach" in second.reason
    assert await listener.forbidden() == []


@pytest.mark.parametrize("order", [[ALLOWED, "127.0.0.1"], ["127.0.0.1", ALLOWED]])
@pytest.mark.parametrize("kind", ["http", "webhook", "tcp", "tls", "dns"])
async def test_of_a_name_with_both_only_the_allowed_address_is_reached(
    listener: Listener, names: NameServer, kind: str, order: list[str]
) -> None:
    names.zone["fine.example", "A"] = order
    await reason_of(kind, config_of(kind, "fine.example", listener.port), names, Guard(ONE_ADDRESS), 0.05)
    assert await listener.counted() != []
    if kind != "dns":
        assert await listener.forbidden() == []

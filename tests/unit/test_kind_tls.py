"""The kind tls against real servers on the loopback address, with certificates that openssl makes here."""

import asyncio
import contextlib
import ipaddress
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.authority import Authority
from support.event_loops import event_loop_policy  # noqa: F401

from everwatch.core.clock import SystemClock
from everwatch.core.errors import InvalidInput
from everwatch.kinds import registry
from everwatch.kinds.execution.run_context import open_run_context
from everwatch.kinds.protocol import RunContext
from everwatch.kinds.tls import read_certificate
from everwatch.model import Outcome, Status, Tick
from everwatch.network.guard import Guard
from everwatch.schedule.duration import DAY_MS

LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"),)
Serve = Callable[[ssl.SSLContext], Awaitable[int]]


@pytest.fixture
async def context(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[RunContext]:
    """Trusts the test's authority."""
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.path))
    async with open_run_context(SystemClock(), Guard(LOOPBACK)) as context:
        yield context


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Starts a server that only shakes hands, and gives its port."""
    servers: list[asyncio.Server] = []

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async def start(tls: ssl.SSLContext | None) -> int:
        server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=tls)
        servers.append(server)
        return int(server.sockets[0].getsockname()[1])

    yield start
    for server in servers:
        server.close()
        await server.wait_closed()


async def check(context: RunContext, **config: object) -> Outcome:
    kind = registry.kind_named("tls")
    assert not kind.inline
    tick = Tick("user", "monitor", 0, "tls", "{}", 10_000, 1, 0)
    return await kind.run(registry.parse_config(kind, config), tick, context)


async def test_a_trusted_certificate_with_days_left_is_a_success_with_timings(
    context: RunContext, serve: Serve, authority: Authority
) -> None:
    outcome = await check(context, host="localhost", server_name="a.example", port=await serve(authority.certificate()))
    assert (outcome.status, outcome.reason) == (Status.SUCCESS, "")
    assert set(outcome.timings) == {"dns", "connect", "tls", "certificate_left", "total"}
    assert min(outcome.timings["tls"], outcome.timings["connect"]) > 0


@pytest.mark.parametrize(
    ("days", "days_left", "success"), [(15, 14, True), (13, 14, False), (13, 13, False), (1, 0, True)]
)
async def test_too_few_days_left_is_a_failure_that_names_the_certificate(
    context: RunContext, serve: Serve, authority: Authority, days: int, days_left: int, success: bool
) -> None:
    port = await serve(authority.certificate(subject="/CN=a.example/O=A Shop", days=days))
    outcome = await check(context, host="127.0.0.1", port=port, days_left=days_left)
    assert (outcome.status is Status.SUCCESS) == success
    assert days - 0.5 < outcome.timings["certificate_left"] / DAY_MS <= days
    left = "12 days left"
    assert outcome.reason == (
        ""
        if success
        else "certificate of 127.0.0.1 expires soon: subject 'a.example, A Shop', issuer 'Test Root, Everwatch Tests',"
        f" {left}, expected at least {days_left}"
    )


@pytest.mark.parametrize(
    ("names", "days", "because"),
    [
        ("IP:127.0.0.1", -3.5, "certificate has expired (subject 'a.example', issuer 'Test Root, Everwatch Tests',"
         " expired 3 days ago)"),
        ("DNS:b.example", 90, "IP address mismatch, certificate is not valid for '127.0.0.1' (subject 'a.example',"),
    ],
)  # fmt: skip
async def test_an_expired_or_foreign_certificate_is_a_failure_that_says_whose_it_is(
    context: RunContext, serve: Serve, authority: Authority, names: str, days: float, because: str
) -> None:
    outcome = await check(context, host="127.0.0.1", port=await serve(authority.certificate(names, days=days)))
    assert outcome.status is Status.FAILURE
    assert outcome.reason.startswith(f"certificate of 127.0.0.1 is not trusted: {because}")


async def test_an_untrusted_certificate_is_a_failure_and_fine_where_nobody_verifies(
    serve: Serve, authority: Authority, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "others").mkdir()
    monkeypatch.setenv("SSL_CERT_FILE", str(Authority(tmp_path / "others").path))
    port = await serve(authority.certificate(days=13.5))
    async with open_run_context(SystemClock(), Guard(LOOPBACK)) as context:
        outcome = await check(context, host="127.0.0.1", port=port)
        assert outcome.reason == (
            "certificate of 127.0.0.1 is not trusted: unable to get local issuer certificate"
            " (subject 'a.example', issuer 'Test Root, Everwatch Tests', 13 days left)"
        )
        assert (await check(context, host="127.0.0.1", port=port, verify=False, days_left=13)).reason == ""
        soon = await check(context, host="127.0.0.1", port=port, verify=False)
        assert soon.reason.startswith("certificate of 127.0.0.1 expires soon: subject 'a.example'")


async def test_an_expired_certificate_that_nobody_verifies_has_no_days_left(
    context: RunContext, serve: Serve, authority: Authority
) -> None:
    port = await serve(authority.certificate(days=-2.5))
    outcome = await check(context, host="127.0.0.1", port=port, verify=False, days_left=0)
    assert outcome.reason == (
        "certificate of 127.0.0.1 has expired: subject 'a.example', issuer 'Test Root, Everwatch Tests',"
        " expired 2 days ago"
    )


async def test_a_certificate_without_a_subject_is_named_after_what_it_is_for(
    context: RunContext, serve: Serve, authority: Authority
) -> None:
    port = await serve(authority.certificate("IP:127.0.0.1,DNS:shop.example,DNS:b.example", subject="/", days=5))
    assert "subject 'shop.example'" in (await check(context, host="127.0.0.1", port=port)).reason


async def test_the_server_is_asked_for_the_server_name(context: RunContext, serve: Serve, authority: Authority) -> None:
    asked = []
    tls = authority.certificate()
    tls.sni_callback = lambda _socket, name, _context: asked.append(name)
    port = await serve(tls)
    assert (await check(context, host="127.0.0.1", port=port, server_name="a.example.")).reason == ""
    outcome = await check(context, host="127.0.0.1", port=port, server_name="other.example")
    assert "certificate is not valid for 'other.example'" in outcome.reason
    # the second look at what is not trusted asks for the same name
    assert asked == ["a.example", "other.example", "other.example"]


@pytest.mark.parametrize(
    ("minimum", "reason"), [("1.2", ""), ("1.3", "127.0.0.1 speaks TLS 1.2, expected at least 1.3")]
)
async def test_an_old_version_of_tls_is_a_failure(
    context: RunContext, serve: Serve, authority: Authority, minimum: str, reason: str
) -> None:
    tls = authority.certificate()
    tls.maximum_version = ssl.TLSVersion.TLSv1_2
    outcome = await check(context, host="127.0.0.1", port=await serve(tls), minimum_version=minimum)
    assert outcome.reason == reason


async def test_a_server_without_tls_is_a_failure_of_the_handshake(context: RunContext) -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example ESMTP\r\n")
        await reader.read(1)
        writer.close()

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.close()

    for handler in (greet, hang_up):
        server = await asyncio.start_server(handler, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            outcome = await check(context, host="127.0.0.1", port=port)
        assert outcome.status is Status.FAILURE
        assert outcome.reason.startswith(f"TLS handshake with 127.0.0.1:{port} failed: ")


async def test_a_server_at_a_forbidden_address_is_not_reached(serve: Serve, authority: Authority) -> None:
    async with open_run_context(SystemClock(), Guard()) as context:
        outcome = await check(context, host="localhost", port=await serve(authority.certificate()))
    assert "is a loopback address, which checks may not reach" in outcome.reason
    assert set(outcome.timings) == {"dns", "total"}


@pytest.mark.parametrize(
    ("config", "path"),
    [
        ({}, "$.config"), ({"host": ""}, "$.config.host"), ({"host": "https://a.example"}, "$.config.host"),
        ({"host": "a.example", "port": 0}, "$.config.port"),
        ({"host": "a.example", "days_left": -1}, "$.config.days_left"),
        ({"host": "a.example", "minimum_version": "1.1"}, "$.config.minimum_version"),
        ({"host": "a.example", "server_name": "a b"}, "$.config.server_name"),
        ({"host": "a.example", "server_name": ".a.example"}, "$.config.server_name"),
        ({"host": "a.example", "server_name": "x" * 64 + ".example"}, "$.config.server_name"),
    ],
)  # fmt: skip
def test_a_wrong_config_is_refused_with_its_path(config: dict[str, object], path: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        registry.parse_config(registry.kind_named("tls"), config)
    assert caught.value.path == path


@given(st.data())
def test_bytes_that_are_no_certificate_are_refused_and_nothing_else_happens(
    authority: Authority, data: st.DataObject
) -> None:
    """Random bytes, and a real certificate that breaks off or is written over."""
    real = ssl.PEM_cert_to_DER_cert(authority.path.read_text())
    at = data.draw(st.integers(0, len(real)))
    over = data.draw(st.binary(max_size=9))
    hostile = data.draw(
        st.one_of(st.binary(max_size=200), st.just(real[:at]), st.just(real[:at] + over + real[at + len(over) :]))
    )
    with contextlib.suppress(ValueError):
        assert read_certificate(hostile).expires_at

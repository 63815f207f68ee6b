"""Trusted certificates, the same for every kind; the reason where one is not trusted; certificates of clients."""

import asyncio
import ipaddress
import ssl
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from rich.pretty import pretty_repr
from support.authority import Authority
from support.event_loops import event_loop_policy  # noqa: F401
from support.tls_server import TlsServer
from support.waiting import PATIENCE

from everwatch.core.clock import SystemClock
from everwatch.core.config import Settings
from everwatch.core.errors import InvalidInput, SettingsError
from everwatch.kinds import registry
from everwatch.kinds.execution.run_context import open_run_context
from everwatch.kinds.protocol import RunContext
from everwatch.model import Outcome, Status, Tick
from everwatch.network.connections import (
    connect,
    longest_refusal_s,
    looks_within,
    open_streams,
    tls_context,
    wait_for_refusal,
)
from everwatch.network.egress import Egress, outgoing_of
from everwatch.network.guard import Guard
from everwatch.network.tls_options import ClientCertificate, TlsOptions

LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"),)
KINDS = ["http", "webhook", "tcp", "tls"]
Serve = Callable[..., TlsServer]


@pytest.fixture
async def context(authority: Authority) -> AsyncIterator[RunContext]:
    """Trusts the test's authority, by the setting."""
    outgoing = Egress(str(authority.path))
    async with open_run_context(SystemClock(), Guard(LOOPBACK), outgoing=outgoing) as context:
        yield context


@pytest.fixture
async def plain() -> AsyncIterator[RunContext]:
    """Trusts whom the machine trusts."""
    async with open_run_context(SystemClock(), Guard(LOOPBACK)) as context:
        yield context


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts a server that answers HTTP."""
    servers: list[TlsServer] = []

    def start(tls: ssl.SSLContext, answer: bytes = b"") -> TlsServer:
        servers.append(TlsServer(tls, answer))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


async def check(context: RunContext, kind_name: str, port: int, **more: object) -> Outcome:
    kind = registry.kind_named(kind_name)
    assert not kind.inline
    config: dict[str, object] = {"host": "127.0.0.1", "port": port}
    if kind_name in ("http", "webhook"):
        config = {"url": f"https://127.0.0.1:{port}/"}
    elif kind_name == "tcp":
        config |= {"tls": True}
    parsed = registry.parse_config(kind, config | more)
    return await kind.run(parsed, Tick("user", "monitor", 0, kind_name, "{}", 10_000, 1, 0), context)


async def reason_of_failure(context: RunContext, kind_name: str, port: int, **more: object) -> str:
    outcome = await check(context, kind_name, port, **more)
    assert outcome.status is Status.FAILURE
    return outcome.reason


# --- trust ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
async def test_whom_the_setting_names_is_trusted_and_nobody_else(
    context: RunContext, plain: RunContext, serve: Serve, authority: Authority, kind: str
) -> None:
    port = serve(authority.certificate()).port
    assert (await check(context, kind, port)).reason == ""
    assert "is not trusted: " in (await check(plain, kind, port)).reason


@pytest.mark.parametrize("kind", KINDS)
async def test_an_authority_of_the_config_is_trusted_in_place_of_all_others(
    context: RunContext, plain: RunContext, serve: Serve, authority: Authority, tmp_path: Path, kind: str
) -> None:
    port = serve(authority.certificate()).port
    assert (await check(plain, kind, port, ca=authority.path.read_text())).reason == ""
    other = Authority(tmp_path).path.read_text()
    assert "is not trusted: " in (await check(context, kind, port, ca=other)).reason


def test_a_file_of_authorities_that_is_not_there_is_told_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="EVERWATCH_CA_FILE: there is no file"):
        outgoing_of(Settings(ca_file=tmp_path / "none.pem"))


@pytest.mark.parametrize("kind", KINDS)
async def test_a_certificate_that_names_its_host_as_common_name_only_is_not_trusted_and_is_sent_nothing(
    context: RunContext, serve: Serve, authority: Authority, kind: str
) -> None:
    for names in ("", "email:a@a.example"):
        server = serve(authority.certificate(names=names, subject="/CN=127.0.0.1"))
        outcome = await check(context, kind, server.port)
        assert outcome.reason.startswith("certificate of 127.0.0.1 is not trusted: ")
        assert server.heard == []


@pytest.mark.parametrize("kind", KINDS)
async def test_of_a_chain_the_certificate_that_has_expired_is_named(
    context: RunContext, serve: Serve, authority: Authority, kind: str
) -> None:
    port = serve(authority.certificate(days=89, signer=authority.intermediate(days=-3.5))).port
    assert (await check(context, kind, port)).reason == (
        "certificate of 127.0.0.1 is not trusted: certificate has expired"
        " (of its chain: subject 'Test Intermediate', issuer 'Test Root, Everwatch Tests', expired 3 days ago)"
    )
    port = serve(authority.certificate(signer=authority.intermediate(days=90, begins_in_days=2.5))).port
    reason = (await check(context, kind, port)).reason
    assert "certificate is not yet valid (of its chain: subject 'Test Intermediate'" in reason
    assert reason.endswith("valid in 2 days)")
    port = serve(authority.certificate(days=-3.5, signer=authority.intermediate(days=90))).port
    assert "certificate has expired (subject 'a.example'" in (await check(context, kind, port)).reason


@pytest.mark.parametrize("kind", KINDS)
async def test_a_chain_that_is_fine_is_fine(context: RunContext, serve: Serve, authority: Authority, kind: str) -> None:
    port = serve(authority.certificate(signer=authority.intermediate(days=90))).port
    assert (await check(context, kind, port)).reason == ""


# --- certificates of clients ------------------------------------------------------------------------------------------


def wanting(authority: Authority, version: ssl.TLSVersion) -> ssl.SSLContext:
    server = authority.certificate()
    server.verify_mode = ssl.CERT_REQUIRED
    server.load_verify_locations(authority.path)
    server.minimum_version = server.maximum_version = version
    return server


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_server_that_wants_a_certificate_gets_it(
    context: RunContext, serve: Serve, authority: Authority, kind: str, version: ssl.TLSVersion
) -> None:
    port = serve(wanting(authority, version)).port
    outcome = await check(context, kind, port, client_certificate=authority.pair().config)
    assert (outcome.status, outcome.reason) == (Status.SUCCESS, "")


@pytest.mark.parametrize("kind", KINDS)
async def test_a_server_that_wants_a_certificate_under_tls_1_3_is_told_as_that(
    context: RunContext, serve: Serve, authority: Authority, kind: str
) -> None:
    port = serve(wanting(authority, ssl.TLSVersion.TLSv1_3)).port
    assert await reason_of_failure(context, kind, port) == f"127.0.0.1:{port} wants a client certificate"


@pytest.mark.parametrize("is_read", [True, False], ids=["it is read", "the loop stood still"])
async def test_a_refusal_that_comes_before_it_is_waited_for_is_told(
    context: RunContext, serve: Serve, authority: Authority, is_read: bool
) -> None:
    server = serve(wanting(authority, ssl.TLSVersion.TLSv1_3))
    reader, writer = await opened(context, server.port)
    # uvloop sends at the end of a turn
    await asyncio.sleep(0)
    assert server.refused.wait(60 * PATIENCE)
    async with asyncio.timeout(60 * PATIENCE):
        while is_read and reader.exception() is None:
            await asyncio.sleep(0)
    with pytest.raises(ssl.SSLError, match="certificate required"):
        await wait_for_refusal(reader, writer, longest_s=0)
    writer.transport.abort()


async def test_a_server_that_has_sent_a_ticket_is_not_waited_for(
    context: RunContext, serve: Serve, authority: Authority
) -> None:
    reader, writer = await opened(context, serve(authority.certificate()).port)
    async with asyncio.timeout(60 * PATIENCE):
        await wait_for_refusal(reader, writer, longest_s=86_400)
    writer.transport.abort()


@pytest.mark.parametrize("kind", ["tcp", "tls"])
async def test_a_server_that_sends_no_tickets_and_refuses_nobody_is_fine(
    context: RunContext, serve: Serve, authority: Authority, kind: str
) -> None:
    tls = authority.certificate()
    tls.num_tickets = 0
    outcome = await check(context, kind, serve(tls).port)
    assert (outcome.status, outcome.reason) == (Status.SUCCESS, "")


@pytest.mark.parametrize("longest_s", [0.0, 0.004, 0.25, 0.651, 1.0])
def test_looks_for_a_refusal_last_no_longer_than_they_may(longest_s: float) -> None:
    assert sum(looks_within(longest_s)) == pytest.approx(longest_s)


@pytest.mark.parametrize(
    ("opened_ms", "left_s", "longest_s"), [(100, 9, 0.45), (2_000, 9, 1), (400, 0.6, 0.45), (10, 0.2, 0.15), (9, -1, 0)]
)
def test_a_refusal_is_waited_for_within_what_is_left_of_the_timeout(
    opened_ms: float, left_s: float, longest_s: float
) -> None:
    assert longest_refusal_s(opened_ms, left_s) == pytest.approx(longest_s)


async def opened(context: RunContext, port: int) -> tuple[StreamReader, StreamWriter]:
    """Connect without a certificate of the client's."""
    tls = tls_context(TlsOptions(), context.outgoing)
    return await open_streams(await connect("127.0.0.1", port, context, {}), tls, "127.0.0.1")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_certificate_that_the_server_does_not_trust_is_a_failure_of_tls(
    context: RunContext, serve: Serve, authority: Authority, tmp_path: Path, kind: str, version: ssl.TLSVersion
) -> None:
    port = serve(wanting(authority, version)).port
    stranger = Authority(tmp_path).pair().config
    outcome = await check(context, kind, port, client_certificate=stranger)
    assert outcome.reason.startswith(f"TLS handshake with 127.0.0.1:{port} failed: ")
    assert "unknown ca" in outcome.reason


@pytest.mark.parametrize("kind", KINDS)
async def test_a_certificate_without_its_own_key_says_so_and_shows_nothing_of_it(
    context: RunContext, serve: Serve, authority: Authority, kind: str
) -> None:
    one, other = authority.pair().config, authority.pair().config
    port = serve(authority.certificate()).port
    outcome = await check(context, kind, port, client_certificate=one | {"key": other["key"]})
    assert outcome.reason.startswith("the client certificate of this monitor cannot be used: ")
    assert "BEGIN" not in outcome.reason


async def test_a_redirect_to_another_server_does_not_take_the_certificate_along(
    context: RunContext, serve: Serve, authority: Authority
) -> None:
    target = serve(wanting(authority, ssl.TLSVersion.TLSv1_3)).port

    location = f"https://127.0.0.1:{target}/"
    redirect = f"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: {location}\r\n\r\n".encode()
    port = serve(authority.certificate(), redirect).port
    reason = await reason_of_failure(context, "http", port, client_certificate=authority.pair().config)
    assert reason == f"127.0.0.1:{target} wants a client certificate"


def test_neither_configs_nor_refusals_show_a_key(authority: Authority) -> None:
    pair = authority.pair().config
    secret = pair["key"].splitlines()[1]
    for kind_name in KINDS:
        kind = registry.kind_named(kind_name)
        config = {"url": "https://a.example/"} if kind_name in ("http", "webhook") else {"host": "a.example", "port": 1}
        if kind_name == "tcp":
            config |= {"tls": True}
        parsed = registry.parse_config(kind, config | {"client_certificate": pair})
        assert secret not in repr(parsed)
        assert secret not in pretty_repr(parsed)
        assert registry.parse_config(kind, registry.canonical_config(kind, parsed)) == parsed
        for wrong in (
            {"certificate": pair["key"], "key": pair["key"]},
            {"certificate": pair["certificate"], "key": pair["key"][:-40]},
            {"certificate": pair["certificate"], "key": pair["key"].replace("PRIVATE", "ENCRYPTED PRIVATE")},
            {"certificate": pair["certificate"].replace("M", "N", 3), "key": pair["key"]},
        ):
            with pytest.raises(InvalidInput) as caught:
                registry.parse_config(kind, config | {"client_certificate": wrong})
            assert caught.value.path.startswith("$.config.client_certificate.")
            assert secret not in str(caught.value)


def test_the_key_is_marked_as_a_secret() -> None:
    marked = ClientCertificate.__annotations__["key"].__metadata__[0].extra
    assert marked == {"secret": True}


@pytest.mark.parametrize(
    ("kind", "config", "path"),
    [
        ("http", {"url": "https://a.example", "ca": "no"}, "$.config.ca"),
        ("tcp", {"host": "a.example", "port": 1, "ca": "no", "tls": True}, "$.config.ca"),
        ("tls", {"host": "a.example", "ca": "no", "verify": False}, "$.config.ca"),
        ("tcp", {"host": "a.example", "port": 1, "ca": "no"}, "$.config.ca"),
    ],
)
def test_an_authority_that_is_none_or_not_needed_is_refused(kind: str, config: dict[str, object], path: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        registry.parse_config(registry.kind_named(kind), config)
    assert caught.value.path == path

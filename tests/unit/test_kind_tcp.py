"""The kind tcp against real ports on the loopback address."""

import asyncio
import ipaddress
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.event_loops import event_loop_policy  # noqa: F401
from support.resolving import at, failing
from support.waiting import PATIENCE

from everwatch.core.clock import SystemClock
from everwatch.core.errors import InvalidInput
from everwatch.kinds import registry
from everwatch.kinds.execution.run_context import open_run_context
from everwatch.kinds.protocol import RunContext
from everwatch.kinds.tcp import ANSWER_LIMIT_BYTES, unescape
from everwatch.model import Outcome, Status, Tick
from everwatch.network.guard import Guard

LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"),)
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Serve = Callable[..., Awaitable[int]]


@pytest.fixture
async def context() -> AsyncIterator[RunContext]:
    async with open_run_context(SystemClock(), Guard(LOOPBACK)) as context:
        yield context


@pytest.fixture
async def port() -> AsyncIterator[int]:
    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Starts a server for a handler and gives its port."""
    servers: list[asyncio.Server] = []

    async def start(handler: Handler, tls: ssl.SSLContext | None = None) -> int:
        server = await asyncio.start_server(handler, "127.0.0.1", 0, ssl=tls)
        servers.append(server)
        return int(server.sockets[0].getsockname()[1])

    yield start
    for server in servers:
        server.close()


async def check(context: RunContext, timeout_ms: int = 10_000, **config: object) -> Outcome:
    kind = registry.kind_named("tcp")
    assert not kind.inline
    tick = Tick("user", "monitor", 0, "tcp", "{}", timeout_ms, 1, 0)
    # the kind gives its answer within the tick's time; a busy machine may give the answer later
    async with asyncio.timeout(timeout_ms / 1000 + 30 * PATIENCE):
        return await kind.run(registry.parse_config(kind, config), tick, context)


def info(address: str, port: int) -> tuple[object, ...]:
    return (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port))


async def test_an_open_port_is_a_success_with_timings(context: RunContext, port: int) -> None:
    outcome = await check(context, host="localhost", port=port)
    assert (outcome.status, outcome.reason) == (Status.SUCCESS, "")
    assert set(outcome.timings) == {"dns", "connect", "total"}


async def test_a_closed_port_is_a_failure_that_names_it(context: RunContext) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        outcome = await check(context, host="127.0.0.1", port=port)
    assert (outcome.status, outcome.reason) == (Status.FAILURE, f"connection refused by 127.0.0.1:{port}")


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (socket.EAI_NONAME, "name nowhere.invalid does not resolve"),
        (socket.EAI_AGAIN, "name nowhere.invalid could not be looked up: the name server does not answer"),
    ],
)
async def test_a_name_without_address_is_a_failure(context: RunContext, code: int, reason: str) -> None:
    context = replace(context, resolver=failing(socket.gaierror(code, "?")))
    assert (await check(context, host="nowhere.invalid", port=80)).reason == reason


async def test_a_label_too_long_for_a_name_does_not_resolve(context: RunContext) -> None:
    host = "x" * 64 + ".example"
    assert (await check(context, host=host, port=80)).reason == f"name {host} does not resolve"


async def test_the_name_is_resolved_once_and_only_checked_addresses_are_tried(context: RunContext, port: int) -> None:
    resolver = at("10.0.0.1", "127.0.0.1")
    outcome = await check(replace(context, resolver=resolver), host="mixed.example", port=port)
    assert outcome.status is Status.SUCCESS, outcome.reason
    assert resolver.asked == ["mixed.example"]


async def test_a_second_address_is_tried_when_the_first_refuses(context: RunContext, port: int) -> None:
    # the server listens on 127.0.0.1 alone
    context = replace(context, resolver=at("127.0.0.9", "127.0.0.1"))
    assert (await check(context, host="two.example", port=port)).status is Status.SUCCESS


# --- talking ------------------------------------------------------------------------------------------------------


def saying(*pieces: bytes, to: bytes = b"", then_hang_up: bool = False) -> Handler:
    """A server that waits for ``to``, says ``pieces`` one by one, and stays or hangs up."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.readexactly(len(to)) == to
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            # so that the pieces arrive one by one
            for _ in range(10):
                await asyncio.sleep(0)
        if not then_hang_up:
            await reader.read()
        writer.close()

    return handler


@pytest.mark.parametrize(
    ("handler", "config"),
    [
        (saying(b"+PONG\r\n", to=b"PING\r\n"), {"send": "PING\\r\\n", "expect": "+PONG\\r\\n"}),
        (saying(b"22", b"0 mail ES", b"MTP\r\n"), {"expect_start": "220 ", "expect": "ESMTP"}),
        (saying(b"* +PO", b"NG\r\n", to=b"PING"), {"send": "PING", "expect": "+PONG"}),
        (saying(b"SSH-2.0-OpenSSH_9\r\n"), {"expect_start": "SSH-2.0-"}),
        (saying(b"\x00\xffok\\", to=b"\x01\\"), {"send": "\\x01\\\\", "expect": "\\xFFok\\\\"}),
        (saying("größe".encode()), {"expect": "öß"}),
        (saying(b"x" * (ANSWER_LIMIT_BYTES - 1), b"y"), {"expect": "xy"}),
    ],
)
async def test_an_answer_as_expected_is_a_success(
    context: RunContext, serve: Serve, handler: Handler, config: dict[str, object]
) -> None:
    outcome = await check(context, host="127.0.0.1", port=await serve(handler), **config)
    assert (outcome.status, outcome.reason) == (Status.SUCCESS, "")
    assert set(outcome.timings) == {"dns", "connect", "answer", "total"}
    # at once, not when the time is up
    assert outcome.timings["answer"] < 5_000


async def test_without_an_expectation_it_is_enough_that_the_text_was_sent(context: RunContext, serve: Serve) -> None:
    arrived = asyncio.get_running_loop().create_future()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        arrived.set_result(await reader.read())
        writer.close()

    outcome = await check(context, host="127.0.0.1", port=await serve(handler), send="hello\\n")
    assert outcome.status is Status.SUCCESS, outcome.reason
    assert await asyncio.wait_for(arrived, 5 * PATIENCE) == b"hello\n"


@pytest.mark.parametrize(
    ("handler", "config", "reason"),
    [
        (
            saying(b"-ERR unknown\r\n"), {"expect_start": "+"},
            "the answer of {target} does not start with '+'; it is '-ERR unknown'",
        ),
        (
            saying(b"-ERR un", b"known\r\n"), {"expect": "+PONG"},
            "{target} did not send '+PONG' within 2 s; it sent '-ERR unknown'",
        ),
        (saying(), {"expect": "+PONG"}, "{target} sent nothing within 2 s"),
        (saying(b"+PO"), {"expect_start": "+PONG"}, "{target} did not send '+PONG' within 2 s; it sent '+PO'"),
        (saying(then_hang_up=True), {"expect": "+PONG"}, "{target} sent nothing before it closed the connection"),
        (
            saying(b"busy\x07\n", then_hang_up=True), {"expect": "ready"},
            "{target} did not send 'ready' before it closed the connection; it sent 'busy'",
        ),
    ],
)  # fmt: skip
async def test_another_answer_is_a_failure_that_says_what_came(
    context: RunContext, serve: Serve, handler: Handler, config: dict[str, object], reason: str
) -> None:
    port = await serve(handler)
    outcome = await check(context, timeout_ms=2_000, host="127.0.0.1", port=port, **config)
    assert (outcome.status, outcome.reason) == (Status.FAILURE, reason.format(target=f"127.0.0.1:{port}"))


async def test_an_answer_without_end_is_read_only_so_far(context: RunContext, serve: Serve) -> None:
    sent = 0

    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        while not writer.is_closing():
            writer.write(b"x" * 65_536)
            sent += 65_536
            await writer.drain()

    port = await serve(endless)
    async with asyncio.timeout(30 * PATIENCE):
        outcome = await check(context, host="127.0.0.1", port=port, expect="y")
    assert outcome.reason.startswith(f"127.0.0.1:{port} did not send 'y' in its first 64 KiB; it sent 'xxx")
    assert len(outcome.reason) < 300
    # what the sockets' buffers hold was sent too, but no more than that
    assert sent < 320 * ANSWER_LIMIT_BYTES


async def test_a_check_that_is_cancelled_hangs_up(context: RunContext, serve: Serve) -> None:
    connected, gone = asyncio.Event(), asyncio.Event()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connected.set()
        await reader.read()
        gone.set()
        writer.close()

    running = asyncio.create_task(check(context, host="127.0.0.1", port=await serve(handler), expect="never"))
    async with asyncio.timeout(30 * PATIENCE):
        await connected.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        await gone.wait()


@given(st.binary(max_size=50))
def test_every_byte_can_be_written_with_an_escape(data: bytes) -> None:
    assert unescape("".join(f"\\x{byte:02x}" for byte in data)) == data


@given(st.text(max_size=50))
def test_text_whose_backslashes_are_doubled_stays_as_it_is(text: str) -> None:
    assert unescape(text.replace("\\", "\\\\")) == text.encode()


# --- TLS ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for a.example and its key, in one file."""
    path = tmp_path_factory.mktemp("tls") / "own.pem"
    key = path.with_name("key.pem")
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-keyout", str(key), "-out", str(path), "-subj", "/CN=a.example", "-days", "30"]
    subprocess.run([*command, "-addext", "subjectAltName=DNS:a.example"], check=True, capture_output=True)
    path.write_text(path.read_text() + key.read_text())
    return path


@pytest.fixture
def tls(certificate: Path) -> ssl.SSLContext:
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate)
    return server


async def test_it_talks_over_tls_to_a_server_whose_certificate_is_trusted(
    serve: Serve, tls: ssl.SSLContext, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    port = await serve(saying(b"* OK IMAP4rev1 ready\r\n"), tls)
    talk = {"host": "127.0.0.1", "port": port, "tls": True, "expect_start": "* OK"}
    async with open_run_context(SystemClock(), Guard(LOOPBACK)) as context:
        outcome = await check(context, **talk, server_name="a.example")
        assert (outcome.status, outcome.reason) == (Status.SUCCESS, "")
        assert set(outcome.timings) == {"dns", "connect", "tls", "answer", "total"}
        foreign = await check(context, **talk)
    assert foreign.reason == (
        "certificate of 127.0.0.1 is not trusted: IP address mismatch, certificate is not valid for '127.0.0.1'"
    )


async def test_a_certificate_that_nobody_signed_is_a_failure_unless_not_verified(
    context: RunContext, serve: Serve, tls: ssl.SSLContext
) -> None:
    port = await serve(saying(), tls)
    outcome = await check(context, host="127.0.0.1", port=port, tls=True)
    assert outcome.reason == "certificate of 127.0.0.1 is not trusted: self-signed certificate"
    assert (await check(context, host="127.0.0.1", port=port, tls=True, verify_tls=False)).reason == ""


async def test_a_server_without_tls_is_a_failure_of_the_handshake(context: RunContext, serve: Serve) -> None:
    port = await serve(saying(b"220 mail.example\r\n"))
    outcome = await check(context, host="127.0.0.1", port=port, tls=True)
    assert outcome.reason.startswith(f"TLS handshake with 127.0.0.1:{port} failed: ")


# --- configs --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "path"),
    [
        ({"host": "a.example", "port": 0}, "$.config.port"), ({"host": "a.example", "port": 65536}, "$.config.port"),
        ({"host": "", "port": 1}, "$.config.host"), ({"host": "http://a.example", "port": 1}, "$.config.host"),
        ({"host": "[::1]", "port": 1}, "$.config.host"), ({"port": 1}, "$.config"),
        ({"host": "a.example", "port": "80"}, "$.config.port"),
        ({"host": "a.example", "port": 1, "send": "\\q"}, "$.config.send"),
        ({"host": "a.example", "port": 1, "expect": "\\x4"}, "$.config.expect"),
        ({"host": "a.example", "port": 1, "expect_start": "end\\"}, "$.config.expect_start"),
        ({"host": "a.example", "port": 1, "expect": "x" * 4097}, "$.config.expect"),
        ({"host": "a.example", "port": 1, "server_name": "b.example"}, "$.config.server_name"),
        ({"host": "a.example", "port": 1, "verify_tls": False}, "$.config.verify_tls"),
        ({"host": "a.example", "port": 1, "tls": True, "server_name": "b c"}, "$.config.server_name"),
    ],
)  # fmt: skip
def test_a_wrong_config_is_refused_with_its_path(config: dict[str, object], path: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        registry.parse_config(registry.kind_named("tcp"), config)
    assert caught.value.path == path

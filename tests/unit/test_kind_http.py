"""The kind http against real servers on the loopback address."""

import asyncio
import ipaddress
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from everwatch.clock import SystemClock
from everwatch.errors import InvalidInput
from everwatch.kinds import registry
from everwatch.kinds.guard import Guard
from everwatch.kinds.http import BODY_LIMIT_BYTES, MOST_REDIRECTS
from everwatch.kinds.protocol import RunContext, open_run_context
from everwatch.model import Outcome, Status, Tick

LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))


@pytest.fixture
async def context() -> AsyncIterator[RunContext]:
    async with open_run_context(SystemClock(), Guard(LOOPBACK)) as context:
        yield context


@pytest.fixture
async def serve():
    """Starts a server for a handler and gives its base URL."""
    runners: list[web.AppRunner] = []

    async def start(handler, tls: ssl.SSLContext | None = None) -> str:
        app = web.Application()
        app.router.add_route("*", "/{tail:.*}", handler)
        runner = web.AppRunner(app)
        await runner.setup()
        runners.append(runner)
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
        return f"{'https' if tls else 'http'}://127.0.0.1:{runner.addresses[0][1]}"

    yield start
    for runner in runners:
        await runner.cleanup()


async def check(context: RunContext, **config: object) -> Outcome:
    kind = registry.kind_named("http")
    assert not kind.inline
    tick = Tick("user", "monitor", 0, "http", "{}", 10_000, 1, 0)
    return await kind.run(registry.parse_config(kind, config), tick, context)


async def ok(request: web.Request) -> web.Response:
    return web.Response(text="all is well")


async def test_an_answer_as_expected_is_a_success_with_timings(context: RunContext, serve) -> None:
    url = (await serve(ok)).replace("127.0.0.1", "localhost")
    outcome = await check(context, url=url)
    assert (outcome.status, outcome.reason) == (Status.SUCCESS, "")
    assert set(outcome.timings) == {"dns", "connect", "first_byte", "total"}
    phases = sum(ms for phase, ms in outcome.timings.items() if phase != "total")
    assert 0 < phases <= outcome.timings["total"] + 0.01


async def test_the_request_is_sent_as_configured(context: RunContext, serve) -> None:
    async def echo(request: web.Request) -> web.Response:
        return web.Response(text=f"{request.method} {request.headers['X-Token']} {await request.text()}", status=201)

    url = await serve(echo)
    outcome = await check(
        context, url=url, method="POST", headers={"X-Token": "t"}, body="né", expected_status=201,
        body_contains="POST t né",
    )  # fmt: skip
    assert outcome.status is Status.SUCCESS, outcome.reason


async def test_every_check_has_a_connection_of_its_own_and_no_cookies_of_others(context: RunContext, serve) -> None:
    peers, cookies = set(), []

    async def handler(request: web.Request) -> web.Response:
        peers.add(request.transport.get_extra_info("peername"))
        cookies.append(dict(request.cookies))
        answer = web.Response()
        answer.set_cookie("session", "secret")
        return answer

    # by name: aiohttp's own cookie jar would keep none for an IP address
    url = (await serve(handler)).replace("127.0.0.1", "localhost")
    for _ in range(3):
        assert (await check(context, url=url)).status is Status.SUCCESS
    assert len(peers) == 3
    assert cookies == [{}, {}, {}]


@pytest.mark.parametrize(
    ("status", "expected", "reason"),
    [
        (500, "200-299", "status 500, expected 200-299"), (404, [200, "300-399"], "status 404, expected 200,300-399"),
        (404, 404, ""), (503, ["200-299", 503], ""),
    ],
)  # fmt: skip
async def test_the_status_decides(context: RunContext, serve, status: int, expected: object, reason: str) -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.Response(status=status)

    outcome = await check(context, url=await serve(handler), expected_status=expected)
    assert outcome.reason == reason
    assert outcome.status is (Status.FAILURE if reason else Status.SUCCESS)


async def test_a_body_without_the_text_is_a_failure(context: RunContext, serve) -> None:
    outcome = await check(context, url=await serve(ok), body_contains="in stock")
    assert (outcome.status, outcome.reason) == (Status.FAILURE, "body does not contain 'in stock'")


async def test_text_is_found_in_the_charset_of_the_answer(context: RunContext, serve) -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.Response(body="größe".encode("latin-1"), content_type="text/plain", charset="latin-1")

    outcome = await check(context, url=await serve(handler), body_contains="größe")
    assert outcome.status is Status.SUCCESS, outcome.reason


async def test_a_body_without_end_is_read_only_so_far(context: RunContext, serve) -> None:
    sent = 0

    async def endless(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        answer = web.StreamResponse()
        await answer.prepare(request)
        while True:
            await answer.write(b"x" * 65_536)
            sent += 65_536

    async with asyncio.timeout(10):
        outcome = await check(context, url=await serve(endless), body_contains="y")
    assert outcome.reason == "first 1024 KiB of the body does not contain 'y'"
    # what the socket's buffers hold was sent too, but no more than that
    assert sent < 20 * BODY_LIMIT_BYTES


async def test_redirects_are_followed_or_not(context: RunContext, serve) -> None:
    async def handler(request: web.Request) -> web.Response:
        if request.path == "/old":
            raise web.HTTPMovedPermanently("/new")
        return web.Response(text="moved here")

    url = await serve(handler) + "/old"
    assert (await check(context, url=url, body_contains="moved here")).status is Status.SUCCESS
    assert (await check(context, url=url, follow_redirects=False)).reason == "status 301, expected 200-299"


@pytest.mark.parametrize(("hops", "reason"), [(MOST_REDIRECTS, ""), (MOST_REDIRECTS + 1, "more than 10 redirects")])
async def test_so_many_redirects_and_no_more(context: RunContext, serve, hops: int, reason: str) -> None:
    async def handler(request: web.Request) -> web.Response:
        done = int(request.path.strip("/") or 0)
        if done < hops:
            raise web.HTTPFound(f"/{done + 1}")
        return web.Response()

    assert (await check(context, url=await serve(handler))).reason == reason


async def test_a_redirect_away_from_http_is_a_failure(context: RunContext, serve) -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": "file:///etc/passwd"})

    outcome = await check(context, url=await serve(handler))
    assert outcome.reason == "redirected to file:///etc/passwd, which is not an http or https URL"


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def test_a_closed_port_is_a_failure_that_names_it(context: RunContext) -> None:
    port = closed_port()
    outcome = await check(context, url=f"http://127.0.0.1:{port}/")
    assert outcome.reason == f"connection refused by 127.0.0.1:{port}"
    by_name = await check(context, url=f"http://localhost:{port}/")
    assert by_name.reason == f"connection refused by localhost:{port}"


async def test_a_name_that_does_not_exist_is_a_failure_that_names_it(context: RunContext, monkeypatch) -> None:
    async def no_such_name(host: str, port: int, family: int = 0):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(context.resolver, "addresses", no_such_name)
    outcome = await check(context, url="http://example.invalid/")
    assert outcome.reason == "name example.invalid does not resolve"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"", "connection closed before an answer came"),
        (b"SSH-2.0-OpenSSH_9\r\n\r\n", "the answer is not valid HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", "the answer broke off before its end"),
    ],
)  # fmt: skip
async def test_an_answer_that_is_none_says_what_came(context: RunContext, answer: bytes, reason: str) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(handler, "127.0.0.1", 0)
    async with server:
        outcome = await check(context, url=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
    assert outcome.status is Status.FAILURE
    assert outcome.reason.startswith(reason)


# --- TLS ----------------------------------------------------------------------------------------------------------


# 'openssl ca' rather than 'req -x509': only it gives a certificate dates in the past on every OpenSSL 3
CA_CONFIG = """
[ca]
default_ca = own
[own]
database = {folder}/index
new_certs_dir = {folder}
rand_serial = yes
default_md = sha256
policy = policy
x509_extensions = extensions
[policy]
commonName = supplied
[extensions]
subjectAltName = {san}
"""


def certificate(folder: Path, name: str, end: str = "20490101000000Z") -> ssl.SSLContext:
    """A server's context with a self-signed certificate for ``name``, which is at ``folder``/cert.pem, too."""
    cert, key, request, config = (folder / file for file in ("cert.pem", "key.pem", "request.pem", "ca.conf"))
    san = f"IP:{name}" if name[0].isdigit() else f"DNS:{name}"
    config.write_text(CA_CONFIG.format(folder=folder, san=san))
    (folder / "index").touch()
    for command in (
        ["req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", key,
         "-out", request, "-subj", f"/CN={name}"],
        ["ca", "-batch", "-selfsign", "-notext", "-config", config, "-in", request, "-keyfile", key, "-out", cert,
         "-startdate", "20200101000000Z", "-enddate", end],
    ):  # fmt: skip
        subprocess.run(["openssl", *command], check=True, capture_output=True)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(cert, key)
    return server


async def test_a_trusted_certificate_is_a_success_with_tls_timed_by_itself(
    serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tls = certificate(tmp_path, "127.0.0.1")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))
    async with open_run_context(SystemClock(), Guard(LOOPBACK)) as context:
        outcome = await check(context, url=await serve(ok, tls))
    assert outcome.status is Status.SUCCESS, outcome.reason
    assert set(outcome.timings) == {"connect", "tls", "first_byte", "total"}
    # a handshake computes, a connect on the loopback address does not
    assert outcome.timings["tls"] > outcome.timings["connect"] > 0


async def test_a_certificate_that_nobody_signed_is_a_failure_unless_not_verified(
    context: RunContext, serve, tmp_path: Path
) -> None:
    url = await serve(ok, certificate(tmp_path, "127.0.0.1"))
    outcome = await check(context, url=url)
    assert outcome.reason == "certificate of 127.0.0.1 is not trusted: self-signed certificate"
    assert (await check(context, url=url, verify_tls=False)).status is Status.SUCCESS


@pytest.mark.parametrize(
    ("name", "end", "part"),
    [
        ("127.0.0.1", "20200201000000Z", "certificate has expired"),
        ("other.example", "20490101000000Z", "certificate is not valid for '127.0.0.1'"),
    ],
)
async def test_an_expired_or_foreign_certificate_says_so(
    serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, end: str, part: str
) -> None:
    tls = certificate(tmp_path, name, end=end)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))
    async with open_run_context(SystemClock(), Guard(LOOPBACK)) as context:
        outcome = await check(context, url=await serve(ok, tls))
    assert outcome.status is Status.FAILURE
    assert outcome.reason.startswith("certificate of 127.0.0.1 is not trusted: ")
    assert part in outcome.reason


async def test_a_server_without_tls_is_a_failure_of_the_handshake(context: RunContext, serve) -> None:
    url = (await serve(ok)).replace("http://", "https://")
    assert (await check(context, url=url)).reason.startswith("TLS handshake with 127.0.0.1:")


# --- configs --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "path", "reason"),
    [
        ({}, "$.config", "needs the field 'url'"),
        ({"url": "ftp://example.com/"}, "$.config.url", "starts with http:// or https://"),
        ({"url": "example.com"}, "$.config.url", "starts with http:// or https://"),
        ({"url": "http:///path"}, "$.config.url", ""),
        ({"url": "http://user:secret@example.com/"}, "$.config.url", "use headers instead"),
        ({"url": "http://user@example.com/"}, "$.config.url", "use headers instead"),
        ({"url": "http://example.com/a b"}, "$.config.url", "spaces"),
        ({"url": "http://example.com/\n"}, "$.config.url", "control characters"),
        ({"url": "http://example.com:99999/"}, "$.config.url", "not a valid URL"),
        ({"url": "http://example.com/" + "x" * 2048}, "$.config.url", "2048"),
        ({"url": 5}, "$.config.url", "expected str, got int"),
        ({"url": "http://a.b/", "method": "TRACE"}, "$.config.method", "TRACE"),
        ({"url": "http://a.b/", "methd": "GET"}, "$.config.methd", "no field 'methd'; known fields: url, method"),
        ({"url": "http://a.b/", "expected_status": "2xx"}, "$.config.expected_status", "'2xx' is not a status"),
        ({"url": "http://a.b/", "expected_status": []}, "$.config.expected_status", "empty"),
        ({"url": "http://a.b/", "expected_status": "299-200"}, "$.config.expected_status", "its end comes before"),
        ({"url": "http://a.b/", "headers": {"X\r\nY": "1"}}, "$.config.headers", "not a header's name"),
        ({"url": "http://a.b/", "headers": {"X": "1\r\nY: 2"}}, "$.config.headers", "line break"),
        ({"url": "http://a.b/", "headers": {"Content-Length": "1"}}, "$.config.headers", "the client's own"),
        ({"url": "http://a.b/", "method": "HEAD", "body_contains": "x"}, "$.config.body_contains", "no body"),
    ],
)
def test_a_wrong_config_is_refused_with_reason_and_path(config: dict[str, object], path: str, reason: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        registry.parse_config(registry.kind_named("http"), config)
    assert caught.value.path == path
    assert reason in caught.value.reason
    assert "secret" not in str(caught.value)

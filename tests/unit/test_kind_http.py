"""The kind http against real servers on the loopback address.

All in one file: one kind and its servers.
"""

import asyncio
import base64
import gc
import ipaddress
import os
import re
import socket
import ssl
import stat
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import rich.pretty
from aiohttp import web
from support.authority import Authority
from support.event_loops import event_loop_policy  # noqa: F401
from support.kinds import kind_given
from support.resolving import failing
from support.waiting import PATIENCE

from everwatch.core.clock import SystemClock
from everwatch.core.errors import InvalidInput
from everwatch.kinds import registry
from everwatch.kinds.execution.run_context import open_run_context
from everwatch.kinds.http import BODY_LIMIT_BYTES, MOST_REDIRECTS, HttpKind
from everwatch.kinds.protocol import RunContext
from everwatch.model import Outcome, Status, Tick
from everwatch.network.guard import Guard
from everwatch.schedule.duration import DAY_MS

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


async def check(context: RunContext, monitor: str = "monitor", **config: object) -> Outcome:
    kind = registry.kind_named("http")
    assert not kind.inline
    tick = Tick("user", monitor, 0, "http", "{}", 10_000, 1, 0)
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

    async with asyncio.timeout(30 * PATIENCE):
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


async def test_a_redirect_is_followed_as_browsers_do(context: RunContext, serve) -> None:
    """Characters beyond ASCII are escaped as they came, and another server is not asked by the first one's name."""
    hosts: list[str] = []

    async def elsewhere(request: web.Request) -> web.Response:
        hosts.append(request.headers["Host"])
        return web.Response(text=request.raw_path)

    target = await serve(elsewhere)

    async def here(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 302 Found\r\nLocation: {target}/föö?a=%20b\r\nContent-Length: 0\r\n\r\n".encode())
        writer.close()

    server = await asyncio.start_server(here, "127.0.0.1", 0)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        outcome = await check(context, url=url, headers={"Host": "shop.example"}, body_contains="/f%C3%B6%C3%B6?a=%20b")
    assert outcome.reason == ""
    assert hosts == [target.removeprefix("http://")]


async def test_a_body_that_is_not_encoded_as_it_says_is_told(context: RunContext, serve) -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.Response(body=b"plain", headers={"Content-Encoding": "gzip"})

    url = await serve(handler)
    outcome = await check(context, url=url, body_contains="plain")
    assert outcome.reason == "the body is not encoded as its Content-Encoding says"
    assert (await check(context, url=url)).reason == ""  # nobody asked about the body


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


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port that refuses connections: it is taken, so that nobody else gets it, and nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield int(taken.getsockname()[1])


async def test_a_closed_port_is_a_failure_that_names_it(context: RunContext, closed_port: int) -> None:
    outcome = await check(context, url=f"http://127.0.0.1:{closed_port}/")
    assert outcome.reason == f"connection refused by 127.0.0.1:{closed_port}"
    by_name = await check(context, url=f"http://localhost:{closed_port}/")
    assert by_name.reason == f"connection refused by localhost:{closed_port}"


async def test_a_name_that_does_not_exist_is_a_failure_that_names_it() -> None:
    nowhere = failing(socket.gaierror(socket.EAI_NONAME, "Name or service not known"))
    async with open_run_context(SystemClock(), Guard(LOOPBACK), resolver=nowhere) as context:
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
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        outcome = await check(context, url=url, body_not_contains="x")
    assert outcome.status is Status.FAILURE
    assert outcome.reason.startswith(reason)


# --- assertions -----------------------------------------------------------------------------------------------------


async def health(request: web.Request) -> web.Response:
    return web.json_response({"status": "ok", "parts": [{"name": "db", "up": True}], "version": "1.25"})


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"body_not_contains": "error"}, ""),
        ({"body_not_contains": "status"}, "body contains 'status'"),
        ({"body_matches": r'"version": "1\.\d+"'}, ""),
        ({"body_matches": "^ok"}, "body does not match '^ok'"),
        ({"json_equals": {"$.status": "ok", "$.parts[0]['up']": True}}, ""),
        ({"json_equals": {"$.parts[-1].name": "cache"}}, "$.parts[-1].name is 'db', expected 'cache'"),
        ({"json_equals": {"$.parts[1].name": "db"}}, "the JSON of the body has no '$.parts[1].name'"),
        ({"expected_status": 500, "body_not_contains": "status"}, "status 200, expected 500"),
        ({"max_latency": "9s"}, ""),
    ],
)  # fmt: skip
async def test_the_body_is_judged(context: RunContext, serve, config: dict[str, object], reason: str) -> None:
    outcome = await check(context, url=await serve(health), **config)
    assert outcome.reason == reason
    assert outcome.status is (Status.FAILURE if reason else Status.SUCCESS)


async def test_json_that_is_too_long_is_a_failure_and_a_long_text_is_searched_at_its_beginning(
    context: RunContext, serve
) -> None:
    async def long(request: web.Request) -> web.Response:
        return web.Response(text='{"a": "' + "x" * BODY_LIMIT_BYTES + '"}')

    url = await serve(long)
    outcome = await check(context, url=url, json_equals={"$.b": 1})
    assert outcome.reason == "the body has 1024 KiB or more, too much to be read as JSON"
    assert (await check(context, url=url, body_matches="y")).reason == "first 256 KiB of the body does not match 'y'"


async def test_an_answer_that_took_too_long_is_a_failure_though_right(context: RunContext, serve) -> None:
    async def slow(request: web.Request) -> web.Response:
        await asyncio.sleep(0.06)
        return web.Response()

    outcome = await check(context, url=await serve(slow), max_latency="50ms")
    assert outcome.status is Status.FAILURE
    took = re.fullmatch(r"took (\d+) ms, expected at most 50 ms", outcome.reason)
    assert took is not None, outcome.reason
    assert int(took[1]) > 50
    assert outcome.timings["total"] > 50


async def test_a_pattern_that_takes_long_holds_no_other_check_up_and_ends_with_its_tick(
    context: RunContext, serve
) -> None:
    began, go_on = threading.Event(), threading.Event()

    class SlowKind(HttpKind):
        @staticmethod
        def matches(*_: object) -> bool:
            began.set()
            return go_on.wait(10 * PATIENCE)

    url = await serve(ok)
    with kind_given(SlowKind()):
        try:
            searching = asyncio.create_task(check(context, url=url, body_matches="x"))
            assert await asyncio.to_thread(began.wait, 5 * PATIENCE)
            assert (await check(context, url=url)).status is Status.SUCCESS
            searching.cancel()
            with pytest.raises(asyncio.CancelledError):
                await searching
        finally:
            go_on.set()


# --- secrets --------------------------------------------------------------------------------------------------------

PASSWORD = "pässword:2"
TOKEN = "eyJhbGciOiJub25lIn0.e30."
BASIC = base64.b64encode(f"me:{PASSWORD}".encode()).decode()
SECRETS = [
    ({"basic_auth": {"user": "me", "password": PASSWORD}}, f"Basic {BASIC}"), ({"bearer": TOKEN}, f"Bearer {TOKEN}"),
]  # fmt: skip


@pytest.mark.parametrize(("config", "header"), SECRETS)
async def test_user_and_password_or_a_token_are_sent(
    context: RunContext, serve, config: dict[str, object], header: str
) -> None:
    async def guarded(request: web.Request) -> web.Response:
        return web.Response(status=200 if request.headers.get("Authorization") == header else 401)

    url = await serve(guarded)
    assert (await check(context, url=url, headers={"X": "1"}, **config)).status is Status.SUCCESS
    assert (await check(context, url=url)).reason == "status 401, expected 200-299"


@pytest.mark.parametrize(("config", "header"), SECRETS)
async def test_secrets_follow_a_redirect_on_one_server_and_do_not_leave_it(
    context: RunContext, serve, config: dict[str, object], header: str
) -> None:
    seen: dict[str, str | None] = {}

    async def elsewhere(request: web.Request) -> web.Response:
        seen["elsewhere"] = request.headers.get("Authorization")
        return web.Response()

    target = await serve(elsewhere)

    async def here(request: web.Request) -> web.Response:
        seen[request.path] = request.headers.get("Authorization")
        raise web.HTTPFound("/second" if request.path == "/first" else target)

    assert (await check(context, url=await serve(here) + "/first", **config)).status is Status.SUCCESS
    assert seen == {"/first": header, "/second": header, "elsewhere": None}


@pytest.mark.parametrize(("config", "header"), SECRETS)
async def test_a_server_that_sends_a_secret_back_does_not_get_it_into_the_reason(
    context: RunContext, serve, config: dict[str, object], header: str
) -> None:
    async def echo(request: web.Request) -> web.Response:
        return web.json_response({"at": header, "raw": PASSWORD})

    async def redirect(request: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": f"gopher://{header.split()[1]}/"})

    async def garbage(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 200 OK\r\nno colon {header}\r\n\r\n".encode())
        writer.close()

    server = await asyncio.start_server(garbage, "127.0.0.1", 0)
    async with server:
        urls = [await serve(echo), await serve(redirect), f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"]
        for url in urls:
            for path in ("$.at", "$.raw"):
                outcome = await check(context, url=url, json_equals={path: "x"}, **config)
                assert outcome.status is Status.FAILURE
                for secret in (header.split()[1], *([PASSWORD] if "basic_auth" in config else [])):
                    assert secret not in outcome.reason
                    assert secret[:12] not in outcome.reason


@pytest.mark.parametrize(("config", "header"), SECRETS)
def test_a_config_shows_no_secret(config: dict[str, object], header: str) -> None:
    given = {"url": "https://a.example/", "headers": {"X-Key": "k-secret"}, **config}
    parsed = registry.parse_config(registry.kind_named("http"), given)
    for shown in (repr(parsed), str(parsed), rich.pretty.pretty_repr(parsed), f"{parsed}"):
        assert "https://a.example/" in shown
        assert "X-Key" in shown
        for secret in (TOKEN, PASSWORD, BASIC, "k-secret"):
            assert secret not in shown
    # but it is kept: the executor needs it
    assert TOKEN in (text := registry.canonical_config(registry.kind_named("http"), parsed)) or PASSWORD in text


# --- kept connections -----------------------------------------------------------------------------------------------


async def test_a_kept_connection_is_asked_again_by_its_monitor_and_by_no_other(context: RunContext, serve) -> None:
    peers: list[object] = []

    async def handler(request: web.Request) -> web.Response:
        peers.append(request.transport.get_extra_info("peername"))
        return web.Response()

    url = (await serve(handler)).replace("127.0.0.1", "localhost")
    first = await check(context, url=url, keep_alive=True)
    second = await check(context, url=url, keep_alive=True)
    other = await check(context, url=url, keep_alive=True, monitor="other")
    fresh = await check(context, url=url)
    assert peers[0] == peers[1]
    assert len(set(peers)) == 3
    assert set(second.timings) == {"first_byte", "total"}
    assert set(first.timings) == set(other.timings) == set(fresh.timings) == {"dns", "connect", "first_byte", "total"}


async def test_a_kept_connection_that_the_server_closes_is_opened_anew(context: RunContext) -> None:
    connections = 0

    async def closes_early(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        # it said nothing of closing, and does so only when it is asked again
        await reader.read(1)
        writer.close()

    server = await asyncio.start_server(closes_early, "127.0.0.1", 0)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        for asked in range(1, 4):
            outcome = await check(context, url=url, keep_alive=True)
            assert (outcome.status, outcome.reason) == (Status.SUCCESS, "")
            assert connections == asked
    assert set(outcome.timings) == {"connect", "first_byte", "total"}


async def test_connections_are_kept_for_so_many_monitors_and_none_after_a_redirect_or_an_error(
    context: RunContext, serve, monkeypatch: pytest.MonkeyPatch, closed_port: int
) -> None:
    peers: list[object] = []

    async def handler(request: web.Request) -> web.Response:
        peers.append(request.transport.get_extra_info("peername"))
        if request.path == "/old":
            raise web.HTTPFound("/new")
        if request.path == "/away":
            raise web.HTTPFound(f"http://127.0.0.1:{closed_port}/")
        if request.path == "/bad":
            request.transport.close()
        return web.Response()

    async def connections(*asked: tuple[str, str]) -> int:
        peers.clear()
        for monitor, path in asked:
            await check(context, url=url + path, keep_alive=True, monitor=monitor)
        return len(set(peers))

    context.http.most_kept = 2
    url = await serve(handler)
    assert await connections(("a", "/"), ("b", "/"), ("a", "/"), ("b", "/")) == 2
    assert await connections(("c", "/"), ("b", "/"), ("c", "/")) == 2  # b's is the old one
    assert await connections(("a", "/"), ("b", "/")) == 2  # a's had made room for c's
    assert await connections(("r", "/old"), ("r", "/old")) == 2  # within one check a hop may share it
    assert await connections(("e", "/"), ("e", "/bad"), ("e", "/")) == 3  # /bad is asked twice: GET may be
    assert await connections(("h", "/away"), ("h", "/")) == 2


async def test_a_monitor_that_asks_twice_at_once_has_two_connections_and_keeps_one(
    context: RunContext, serve, caplog: pytest.LogCaptureFixture
) -> None:
    peers: list[object] = []
    both = asyncio.Barrier(2)

    async def handler(request: web.Request) -> web.Response:
        peers.append(request.transport.get_extra_info("peername"))
        if request.path == "/together":
            await both.wait()
        return web.Response()

    url = await serve(handler)
    await asyncio.gather(*(check(context, url=url + "/together", keep_alive=True) for _ in range(2)))
    assert len(set(peers)) == 2
    await check(context, url=url, keep_alive=True)
    await check(context, url=url, keep_alive=True)
    assert len(set(peers)) == 2
    gc.collect()
    assert not caplog.records  # aiohttp says so where a session was forgotten instead of closed


async def test_a_connection_that_nobody_uses_any_more_is_closed_in_time(context: RunContext, serve) -> None:
    peers: list[object] = []

    async def handler(request: web.Request) -> web.Response:
        peers.append(request.transport.get_extra_info("peername"))
        return web.Response()

    url = await serve(handler)
    await check(context, url=url, keep_alive=True, monitor="gone")
    usual_s, context.http.kept_s = context.http.kept_s, -1
    await check(context, url=url, keep_alive=True, monitor="other")
    context.http.kept_s = usual_s
    await check(context, url=url, keep_alive=True, monitor="gone")
    assert len(set(peers)) == 3


async def test_no_process_that_is_started_meanwhile_inherits_a_connection(context: RunContext) -> None:
    asked, answer = asyncio.Event(), asyncio.Event()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.set()
        await answer.wait()
        writer.close()

    server = await asyncio.start_server(handler, "127.0.0.1", 0)
    async with server:
        checking = asyncio.create_task(check(context, url=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"))
        await asked.wait()
        assert [fd for fd in map(int, os.listdir("/proc/self/fd")) if is_socket(fd) and os.get_inheritable(fd)] == []
        answer.set()
        await checking


def is_socket(fd: int) -> bool:
    try:
        return stat.S_ISSOCK(os.fstat(fd).st_mode)
    except OSError:
        return False  # closed since


# --- TLS ----------------------------------------------------------------------------------------------------------


def self_signed(folder: Path, name: str = "127.0.0.1", days: float = 90) -> Authority:
    """A certificate for ``name`` that is signed by nobody else, and ends in ``days`` from now."""
    return Authority(folder, f"/CN={name}", f"IP:{name}" if name[0].isdigit() else f"DNS:{name}", days)


async def test_a_trusted_certificate_is_a_success_with_tls_timed_by_itself(
    serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = self_signed(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.path))
    async with open_run_context(SystemClock(), Guard(LOOPBACK)) as context:
        outcome = await check(context, url=await serve(ok, authority.own))
    assert outcome.status is Status.SUCCESS, outcome.reason
    assert set(outcome.timings) == {"connect", "tls", "first_byte", "total"}
    assert outcome.timings["connect"] > 0
    # the signatures of a handshake take their time on any machine
    assert outcome.timings["tls"] > 0.1


async def test_a_certificate_that_nobody_signed_is_a_failure_unless_not_verified(
    context: RunContext, serve, tmp_path: Path
) -> None:
    url = await serve(ok, self_signed(tmp_path).own)
    outcome = await check(context, url=url)
    assert outcome.reason == "certificate of 127.0.0.1 is not trusted: self-signed certificate"
    assert (await check(context, url=url, verify_tls=False)).status is Status.SUCCESS


@pytest.mark.parametrize(
    ("name", "days", "part"),
    [
        ("127.0.0.1", -1, "certificate has expired"),
        ("other.example", 90, "certificate is not valid for '127.0.0.1'"),
    ],
)
async def test_an_expired_or_foreign_certificate_says_so(
    serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, days: float, part: str
) -> None:
    authority = self_signed(tmp_path, name, days)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.path))
    async with open_run_context(SystemClock(), Guard(LOOPBACK)) as context:
        outcome = await check(context, url=await serve(ok, authority.own))
    assert outcome.status is Status.FAILURE
    assert outcome.reason.startswith("certificate of 127.0.0.1 is not trusted: ")
    assert part in outcome.reason


async def test_a_certificate_that_ends_too_soon_is_a_failure(context: RunContext, serve, tmp_path: Path) -> None:
    url = await serve(ok, self_signed(tmp_path, days=10.5).own)
    config = {"url": url, "verify_tls": False}
    outcome = await check(context, **config, certificate_days_left=11)
    assert outcome.status is Status.FAILURE
    assert outcome.reason == (
        "certificate of 127.0.0.1 expires soon: subject '127.0.0.1', issuer '127.0.0.1', 10 days left,"
        " expected at least 11"
    )
    enough = await check(context, **config, certificate_days_left=10)
    assert enough.status is Status.SUCCESS
    assert 10 < enough.timings["certificate_left"] / DAY_MS <= 10.5
    unasked = await check(context, **config)
    assert unasked.status is Status.SUCCESS
    assert "certificate_left" not in unasked.timings


async def test_an_expired_certificate_has_no_days_left_even_where_trust_is_not_asked_for(
    context: RunContext, serve, tmp_path: Path
) -> None:
    url = await serve(ok, self_signed(tmp_path, days=-2.5).own)
    outcome = await check(context, url=url, verify_tls=False, certificate_days_left=1)
    assert outcome.reason.startswith("certificate of 127.0.0.1 has expired: ")
    assert "expired 2 days ago" in outcome.reason


async def test_after_a_redirect_the_certificate_of_the_answer_counts(
    context: RunContext, serve, tmp_path: Path
) -> None:
    folders = [tmp_path / "new", tmp_path / "old"]
    for folder in folders:
        folder.mkdir()
    new, old = (self_signed(f, days=d).own for f, d in zip(folders, (400, 3), strict=True))
    target = await serve(ok, old)

    async def elsewhere(request: web.Request) -> web.Response:
        raise web.HTTPFound(target)

    outcome = await check(context, url=await serve(elsewhere, new), verify_tls=False, certificate_days_left=14)
    assert "2 days left, expected at least 14" in outcome.reason


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
        ({"url": "http://a.b/", "method": "HEAD", "json_equals": {"$": 1}}, "$.config.json_equals", "no body"),
        ({"url": "http://a.b/", "body_matches": "("}, "$.config.body_matches", "missing )"),
        ({"url": "http://a.b/", "body_matches": r"\w{1000}"}, "$.config.body_matches", "too costly"),
        ({"url": "http://a.b/", "body_matches": "x" * 513}, "$.config.body_matches", "512"),
        ({"url": "http://a.b/", "json_equals": {"status": "ok"}}, "$.config.json_equals", "does not begin with $"),
        ({"url": "http://a.b/", "json_equals": {"$.a": {}}}, "$.config.json_equals[...]", "got object"),
        (
            {"url": "http://a.b/", "json_equals": {f"$[{i}]": i for i in range(33)}},
            "$.config.json_equals",
            "at most 32",
        ),
        ({"url": "http://a.b/", "max_latency": "fast"}, "$.config.max_latency", "not a duration"),
        ({"url": "http://a.b/", "max_latency": 0}, "$.config.max_latency", "between 1 ms and"),
        ({"url": "http://a.b/", "max_latency": "11m"}, "$.config.max_latency", "between 1 ms and"),
        ({"url": "http://a.b/", "certificate_days_left": 5}, "$.config.certificate_days_left", "only https"),
        (
            {"url": "https://a.b/", "certificate_days_left": 5, "keep_alive": True},
            "$.config.certificate_days_left",
            "leave out 'keep_alive'",
        ),
        ({"url": "http://a.b/", "keep_alive": True, "method": "POST"}, "$.config.keep_alive", "may not be repeated"),
        ({"url": "http://a.b/", "bearer": "a sesame"}, "$.config.bearer", "no spaces"),
        ({"url": "http://a.b/", "bearer": "sesame\n"}, "$.config.bearer", "visible ASCII"),
        (
            {"url": "http://a.b/", "bearer": "sesame", "basic_auth": {"user": "u", "password": "sesame"}},
            "$.config.bearer",
            "only one",
        ),
        ({"url": "http://a.b/", "bearer": "sesame", "headers": {"authorization": "x"}}, "$.config.headers", "'bearer'"),
        (
            {"url": "http://a.b/", "basic_auth": {"user": "a:b", "password": "sesame"}},
            "$.config.basic_auth.user",
            "colon",
        ),
        (
            {"url": "http://a.b/", "basic_auth": {"user": "a", "password": "sesame\r"}},
            "$.config.basic_auth",
            "control characters",
        ),
        ({"url": "http://a.b/", "basic_auth": {"user": "a", "pass": "sesame"}}, "$.config.basic_auth.pass", ""),
        ({"url": "http://a.b/", "basic_auth": {"user": "a"}}, "$.config.basic_auth", "password"),
    ],
)
def test_a_wrong_config_is_refused_with_reason_and_path(config: dict[str, object], path: str, reason: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        registry.parse_config(registry.kind_named("http"), config)
    assert caught.value.path == path
    assert reason in caught.value.reason
    assert "sesame" not in str(caught.value)


@pytest.mark.parametrize(
    ("config", "text"),
    [
        ({"max_latency": 1.5, "json_equals": {"$.b": 1.0, "$.a": None}, "basic_auth": {"password": "p", "user": "u"}},
         '{"basic_auth":{"password":"p","user":"u"},"json_equals":{"$.a":null,"$.b":1},"max_latency":"1s500ms",'
         '"url":"https://a.b/"}'),
        ({"bearer": "", "keep_alive": False, "certificate_days_left": 0, "json_equals": {}, "max_latency": ""},
         '{"url":"https://a.b/"}'),
        ({"body_matches": "a|b", "keep_alive": True, "json_equals": {"$": 0.1}, "basic_auth": None},
         '{"body_matches":"a|b","json_equals":{"$":0.1},"keep_alive":true,"url":"https://a.b/"}'),
    ],
)  # fmt: skip
def test_configs_of_one_meaning_have_one_text(config: dict[str, object], text: str) -> None:
    kind = registry.kind_named("http")
    parsed = registry.parse_config(kind, {"url": "https://a.b/", **config})
    assert registry.canonical_config(kind, parsed) == text
    assert registry.parse_config(kind, text) == parsed
    assert registry.canonical_config(kind, registry.parse_config(kind, text)) == text


# --- capture ----------------------------------------------------------------------------------------------------------


def saying(body: bytes, status: int = 503, **headers: str):
    async def handler(request: web.Request) -> web.Response:
        return web.Response(status=status, body=body, headers={"X-Request": "r-17"} | headers)

    return handler


async def test_an_answer_that_is_a_failure_is_kept_with_status_head_and_body(context: RunContext, serve) -> None:
    outcome = await check(context, url=await serve(saying("zu größe\r\n".encode())), capture=True)
    assert outcome.reason == "status 503, expected 200-299"
    first, *lines = outcome.detail.split("\n")
    assert first == "HTTP/1.1 503 Service Unavailable"
    assert "X-Request: r-17" in lines
    assert lines[-2:] == ["", "zu größe"]


async def test_nothing_is_kept_of_a_success_or_without_being_asked_to(
    context: RunContext, serve, closed_port: int
) -> None:
    assert (await check(context, url=await serve(ok), capture=True)).detail == ""
    assert (await check(context, url=await serve(saying(b"sorry")))).detail == ""
    assert (await check(context, url=f"http://127.0.0.1:{closed_port}/", capture=True)).detail == ""


async def test_any_expectation_that_fails_keeps_the_answer(context: RunContext, serve) -> None:
    outcome = await check(context, url=await serve(ok), capture=True, body_contains="in stock")
    assert outcome.detail.endswith("\n\nall is well")


async def test_so_much_of_a_body_is_kept_and_no_half_character(context: RunContext, serve) -> None:
    outcome = await check(context, url=await serve(saying(b"x" + "ä".encode() * 10_000)), capture=True)
    _, _, body = outcome.detail.partition("\n\n")
    assert (len(body.encode()), body) == (4095, "x" + "ä" * 2047)


async def test_what_cannot_be_printed_is_kept_escaped(context: RunContext, serve) -> None:
    outcome = await check(context, url=await serve(saying(b"\x00\xff\x1b[2Jgone\ttab")), capture=True)
    assert outcome.detail.endswith("\n\n\\x00\\xff\\x1b[2Jgone\ttab")
    assert all(character.isprintable() or character in "\n\t" for character in outcome.detail)


@pytest.mark.parametrize(
    ("charset", "body"),
    [("latin-1", b"gr\xf6\xdfe"), ("utf-16", "größe".encode("utf-16")), ("nonsense", "größe".encode())],
)
async def test_the_body_is_read_in_the_charset_that_the_server_names(
    context: RunContext, serve, charset: str, body: bytes
) -> None:
    headers = {"Content-Type": f"text/plain; charset={charset}"}
    outcome = await check(context, url=await serve(saying(body, **headers)), capture=True)
    assert outcome.detail.endswith("\n\ngröße")


@pytest.mark.parametrize("before", [0, 4_000, 4_096 - 20, 4_096 - 5])
async def test_secrets_that_a_server_sends_back_are_not_kept_even_where_the_text_is_cut(
    context: RunContext, serve, before: int
) -> None:
    token = "eyJhbGciOiJIUzI1NiJ9.secret-token"

    async def echo(request: web.Request) -> web.Response:
        said = request.headers["Authorization"].removeprefix("Bearer ")
        return web.Response(status=500, text="." * before + said + "." * 5_000, headers={"X-Echo": said})

    outcome = await check(context, url=await serve(echo), capture=True, bearer=token)
    assert "eyJh" not in outcome.detail
    assert "X-Echo: …" in outcome.detail


async def test_a_password_is_not_kept_in_either_form(context: RunContext, serve) -> None:
    async def echo(request: web.Request) -> web.Response:
        said = request.headers["Authorization"]
        return web.Response(status=500, text=f"{said} {base64.b64decode(said.removeprefix('Basic ')).decode()}")

    outcome = await check(
        context, url=await serve(echo), capture=True, basic_auth={"user": "anna", "password": "hünter2"}
    )
    assert outcome.detail.endswith("\n\nBasic … anna:…")

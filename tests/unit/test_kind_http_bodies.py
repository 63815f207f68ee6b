"""The kind http and what servers do to bodies: codings, answers without end, heads without end, charsets, cookies."""

import asyncio
import gzip
import ipaddress
import json
import zlib
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.event_loops import event_loop_policy  # noqa: F401
from support.raw_http import RawServer, answer, endless, open_raw_server
from support.waiting import PATIENCE

from everwatch.core.clock import SystemClock
from everwatch.kinds import registry
from everwatch.kinds.execution.run_context import open_run_context
from everwatch.kinds.protocol import RunContext
from everwatch.model import Outcome, Status, Tick
from everwatch.network.content_coding import Decoder, WrongCoding
from everwatch.network.guard import Guard

LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"),)
TEXT = b"all is well, " * 100
MIB = 1024 * 1024


@pytest.fixture
async def context() -> AsyncIterator[RunContext]:
    async with open_run_context(SystemClock(), Guard(LOOPBACK)) as context:
        yield context


@pytest.fixture
async def server() -> AsyncIterator[RawServer]:
    async with open_raw_server() as server:
        yield server


async def check(context: RunContext, url: str, timeout_ms: int = 20_000, **config: object) -> Outcome:
    kind = registry.kind_named("http")
    assert not kind.inline
    tick = Tick("user", "monitor", 0, "http", "{}", timeout_ms, 1, 0)
    # the kind ends its reading within the tick's time; a busy machine may give the answer later
    async with asyncio.timeout(timeout_ms / 1000 + 30 * PATIENCE):
        return await kind.run(registry.parse_config(kind, {"url": url} | config), tick, context)


# --- codings ----------------------------------------------------------------------------------------------------------


def zipped(data: bytes) -> bytes:
    return gzip.compress(data, mtime=0)


def raw_deflate(data: bytes) -> bytes:
    return zlib.compress(data, wbits=-15)


CODED = {
    "none": ("identity", TEXT),
    "a charset in the wrong place": ("UTF-8", TEXT),
    "unknown": ("x-made-up", TEXT),
    "brotli, which nobody asked for": ("br", TEXT),
    "gzip": ("gzip", zipped(TEXT)),
    "gzip in capitals": ("GZIP", zipped(TEXT)),
    "as S3 says it": ("gzip, aws-chunked", zipped(TEXT)),
    "zeros behind the end": ("gzip", zipped(TEXT) + b"\0" * 600),
    "something else behind the end": ("gzip", zipped(TEXT) + b"\0\0padding"),
    "many members": ("gzip", b"".join(zipped(TEXT[at : at + 100]) for at in range(0, len(TEXT), 100))),
    "members and zeros": ("gzip", zipped(TEXT[:5]) + zipped(TEXT[5:]) + b"\0" * 7),
    "zlib": ("deflate", zlib.compress(TEXT)),
    "raw deflate": ("deflate", raw_deflate(TEXT)),
    "twice": ("gzip, gzip", zipped(zipped(TEXT))),
    "deflate in gzip": ("deflate, gzip", zipped(zlib.compress(TEXT))),
    "an empty body": ("gzip", b""),
}


@pytest.mark.parametrize("case", CODED)
async def test_a_body_is_read_however_it_is_coded(context: RunContext, server: RawServer, case: str) -> None:
    coding, body = CODED[case]
    server.answers["/"] = answer(body, f"Content-Encoding: {coding}")
    assert (await check(context, server.url())).reason == ""
    if body:
        assert (await check(context, server.url(), body_matches=f"^({TEXT[:13].decode()})+$")).reason == ""
        assert "Accept-Encoding: gzip, deflate" in server.requests[-1]


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
async def test_a_coding_of_an_answer_without_a_body_is_not_judged(
    context: RunContext, server: RawServer, status: str
) -> None:
    server.answers["/"] = f"HTTP/1.1 {status}\r\nContent-Encoding: gzip\r\n\r\n".encode()
    expected = int(status[:3])
    assert (await check(context, server.url(), expected_status=expected, body_not_contains="x")).reason == ""


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("gzip", b"no gzip"),
        ("gzip", b"\x1f"),
        ("gzip", zipped(TEXT)[:-20]),
        ("deflate", b"\x78\x9cno deflate"),
        ("gzip,gzip,gzip,gzip,gzip", zipped(TEXT)),
    ],
    ids=["none", "one byte", "cut off", "no deflate", "five times"],
)
async def test_a_coding_that_is_wrong_matters_only_to_who_looks_into_the_body(
    context: RunContext, server: RawServer, coding: str, body: bytes
) -> None:
    server.answers["/"] = answer(body, f"Content-Encoding: {coding}")
    assert (await check(context, server.url())).reason == ""
    outcome = await check(context, server.url(), body_not_contains="error")
    assert outcome.reason == "the body is not encoded as its Content-Encoding says"


async def test_a_body_that_decodes_to_very_much_is_read_up_to_the_limit(context: RunContext, server: RawServer) -> None:
    bomb = zipped(zipped(b"\0" * (50 * MIB)))
    server.answers["/"] = answer(bomb, "Content-Encoding: gzip, gzip")
    assert (await check(context, server.url(), body_not_contains="error")).reason == ""


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=4), st.integers(0, 40), st.integers(1, 50))
def test_members_are_one_body_wherever_it_is_cut(members: list[bytes], zeros: int, size: int) -> None:
    coded = b"".join(map(zipped, members)) + b"\0" * zeros
    decoder = Decoder("gzip")
    found = b"".join(piece for at in range(0, len(coded), size) for piece in decoder.pieces(coded[at : at + size]))
    decoder.check_end()
    assert found == b"".join(members)


@given(st.binary(max_size=200), st.sampled_from(["gzip", "deflate", "gzip, deflate", "deflate, gzip, gzip"]))
def test_no_bytes_are_anything_but_a_body_or_wrong(data: bytes, coding: str) -> None:
    decoder = Decoder(coding)
    with suppress(WrongCoding):
        list(decoder.pieces(data))
        decoder.check_end()


# --- heads ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "head",
    [
        b"X-Large: " + b"a" * (100 * MIB) + b"\r\n",
        b"X-Large: " + b"a" * 110_000 + b"\r\n",
        b"X-Many: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n" * 10_000,
    ],
    ids=["100 MB", "110 KB", "500 KB of lines"],
)
async def test_a_head_that_is_too_large_is_told_as_that(context: RunContext, server: RawServer, head: bytes) -> None:
    server.answers["/"] = b"HTTP/1.1 200 OK\r\n" + head + b"\r\n"
    outcome = await check(context, server.url())
    assert outcome.reason == "the head of the answer is too large: at most 300 KiB are read, and 100 KiB of a line"


async def test_a_head_of_less_is_fine(context: RunContext, server: RawServer) -> None:
    server.answers["/"] = answer(b"", *[f"X-{n}: {'a' * 90_000}" for n in range(3)])
    assert (await check(context, server.url())).reason == ""


# --- answers without end ----------------------------------------------------------------------------------------------

STREAMS = {
    "events": endless(b"data: tick\n\n", "Content-Type: text/event-stream"),
    "radio": endless(b"", "Content-Type: audio/mpeg", again=b"\xff\xfb" * 4_000),
}


@pytest.mark.parametrize("stream", STREAMS)
@pytest.mark.parametrize("keep_alive", [False, True])
async def test_an_answer_without_end_is_a_success_at_its_head(
    context: RunContext, server: RawServer, stream: str, keep_alive: bool
) -> None:
    server.answers["/"] = STREAMS[stream]
    outcome = await check(context, server.url(), keep_alive=keep_alive)
    assert (outcome.status, outcome.reason) == (Status.SUCCESS, "")
    assert outcome.timings["total"] < 15_000  # of a timeout of 20 s


async def test_text_in_a_stream_is_a_success_as_soon_as_it_is_found(context: RunContext, server: RawServer) -> None:
    server.answers["/"] = endless(b"x" * 70_000 + b"data: tick\n\n")
    outcome = await check(context, server.url(), body_contains="data: tick")
    assert (outcome.status, outcome.reason) == (Status.SUCCESS, "")
    outcome = await check(context, server.url(), body_not_contains="tick")
    assert outcome.reason == "body contains 'tick'"


async def test_text_cut_in_two_is_found(context: RunContext, server: RawServer) -> None:
    async def in_pieces(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        for byte in b"data: tick":
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0.002)
        await asyncio.Event().wait()

    server.answers["/"] = in_pieces
    assert (await check(context, server.url(), body_contains="data: tick")).reason == ""


async def test_what_only_the_end_settles_waits_for_it_and_says_that_it_did_not_come(
    context: RunContext, server: RawServer
) -> None:
    server.answers["/"] = endless(b"data: tick\n\n")
    unsettled: list[tuple[dict[str, object], str]] = [
        ({"body_contains": "never"}, " and had not contained 'never'"),
        ({"body_not_contains": "never"}, ""),
        ({"body_matches": "nev+er"}, " and had not matched 'nev+er'"),
        ({"json_equals": {"$.a": 1}}, ""),
        ({"max_latency": "5m"}, ""),
    ]
    matching = {"body_matches": "t[a-z]ck"}
    configs = [config for config, _ in unsettled]
    # side by side: each takes all of its time
    checks = (check(context, server.url(), timeout_ms=3_000, **config) for config in [matching, *configs])
    matched, *outcomes = await asyncio.gather(*checks)
    assert matched.reason == ""
    for outcome, (config, rest) in zip(outcomes, unsettled, strict=True):
        came, _, unfinished = outcome.reason.partition(";")
        assert came.startswith("200 came after "), config
        assert came.endswith(" ms")
        assert unfinished == f" its body had not ended after 3 s{rest}"


async def test_a_wrong_status_of_an_answer_without_end_is_told_at_once_and_kept(
    context: RunContext, server: RawServer
) -> None:
    server.answers["/"] = endless(b"", status="503 Busy")
    assert (await check(context, server.url())).reason == "status 503, expected 200-299"
    server.answers["/"] = endless(b"busy" * 2_000, status="503 Busy")
    outcome = await check(context, server.url(), capture=True)
    assert outcome.detail.endswith("busy")


async def test_a_redirect_without_end_is_followed(context: RunContext, server: RawServer) -> None:
    server.answers["/"] = endless(b"moved", "Location: /there", status="302 Found")
    server.answers["/there"] = answer(b"here")
    assert (await check(context, server.url(), body_contains="here")).reason == ""


@pytest.mark.parametrize("size", [0, 10, 100_000])
async def test_an_ordinary_answer_is_taken_to_its_end_though_only_its_status_matters(
    context: RunContext, server: RawServer, size: int
) -> None:
    """A server would note a client that went away."""
    taken = asyncio.Event()

    async def write(writer: asyncio.StreamWriter) -> None:
        writer.write(answer(b"x" * size, "Connection: close"))
        await writer.drain()
        writer.write_eof()
        taken.set()

    server.answers["/"] = write
    assert (await check(context, server.url())).reason == ""
    assert taken.is_set()


# --- statuses, charsets -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 299, 600, 700, 999])
async def test_any_status_of_three_digits_can_be_expected(context: RunContext, server: RawServer, status: int) -> None:
    server.answers["/"] = answer(b"", status=f"{status} Odd")
    assert (await check(context, server.url(), expected_status=status)).reason == ""
    assert (await check(context, server.url(), expected_status="100-999")).reason == ""
    if status > 599:
        assert (await check(context, server.url())).reason == f"status {status}, expected 200-299"


@pytest.mark.parametrize("charset", ["iso-8859-1", "ISO-8859-1", "utf-8", "utf-16", "utf-16-le", "windows-1252", "x"])
async def test_json_is_read_in_its_charset(context: RunContext, server: RawServer, charset: str) -> None:
    body = json.dumps({"name": "größe"}, ensure_ascii=False).encode("utf-8" if charset == "x" else charset)
    server.answers["/"] = answer(body, f"Content-Type: application/json; charset={charset}")
    assert (await check(context, server.url(), json_equals={"$.name": "größe"})).reason == ""


async def test_json_that_is_not_in_its_charset_says_so(context: RunContext, server: RawServer) -> None:
    server.answers["/"] = answer(b'{"a": "\xe4"}', "Content-Type: application/json; charset=ascii")
    outcome = await check(context, server.url(), json_equals={"$.a": "x"})
    assert outcome.reason == "the body is not text in its charset 'ascii'"


# --- cookies ----------------------------------------------------------------------------------------------------------


def cookies_of(head: str) -> set[str]:
    lines = [line.partition(": ")[2] for line in head.split("\r\n") if line.lower().startswith("cookie:")]
    assert len(lines) < 2  # RFC 6265, 5.4
    return set("; ".join(lines).split("; ")) - {""}


def redirect(to: str, *cookies: str) -> bytes:
    return answer(b"", f"Location: {to}", *(f"Set-Cookie: {cookie}" for cookie in cookies), status="302 Found")


async def test_cookies_that_redirects_set_are_kept_for_the_chain_and_no_longer(
    context: RunContext, server: RawServer
) -> None:
    server.answers["/"] = redirect("/a", "session=1; Path=/; HttpOnly", "gone=1; Path=/elsewhere")
    server.answers["/a"] = redirect("/b", "more=2", "session=3; Path=/")
    server.answers["/b"] = redirect("/c", "more=; Max-Age=0")
    server.answers["/c"] = answer(b"")
    for _ in range(2):
        server.requests.clear()
        assert (await check(context, server.url())).reason == ""
        sent = [cookies_of(head) for head in server.requests]
        assert sent == [set(), {"session=1"}, {"session=3", "more=2"}, {"session=3"}]


async def test_a_cookie_of_the_config_goes_along_with_those_of_redirects_and_to_no_other_server(
    context: RunContext, server: RawServer
) -> None:
    async with open_raw_server() as other:
        server.answers["/"] = redirect("/a", "session=1")
        other.answers["/"] = answer(b"")
        server.answers["/a"] = redirect(other.url("/"))
        assert (await check(context, server.url(), headers={"Cookie": "own=ü"})).reason == ""
        first, second = map(cookies_of, server.requests)
        assert {cookie.encode("latin-1").decode() for cookie in first} == {"own=ü"}
        assert {cookie.encode("latin-1").decode() for cookie in second} == {"own=ü", "session=1"}
        assert not any("own" in cookie for cookie in cookies_of(other.requests[0]))


async def test_a_login_that_redirects_back_with_a_cookie_ends(context: RunContext, server: RawServer) -> None:
    async def home(writer: asyncio.StreamWriter) -> None:
        is_known = "session=1" in cookies_of(server.requests[-1])
        writer.write(answer(b"welcome") if is_known else redirect("/login"))

    server.answers["/"] = home
    server.answers["/login"] = redirect("/", "session=1; Path=/")
    assert (await check(context, server.url(), body_contains="welcome")).reason == ""


async def test_without_following_redirects_no_cookies_are_minded(context: RunContext, server: RawServer) -> None:
    server.answers["/"] = redirect("/", "session=1")
    outcome = await check(context, server.url(), follow_redirects=False, expected_status=302)
    assert outcome.reason == ""
    assert len(server.requests) == 1

"""No failure is without a reason, whatever a server, a library or a kind does."""

import asyncio
import errno
import ipaddress
import socket
import ssl
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

import aiodns.error
import pycurl
import pytest
import yarl
from hypothesis import given, settings
from hypothesis import strategies as st
from support.raw_http import open_raw_server

from everwatch.core.clock import SystemClock
from everwatch.core.errors import TargetForbidden
from everwatch.kinds import registry
from everwatch.kinds.dns import DnsConfig, explain_code
from everwatch.kinds.execution.config_secrets import ConfigSecrets
from everwatch.kinds.execution.kind_runner import Job, job_of, run_job
from everwatch.kinds.execution.run_context import open_run_context
from everwatch.kinds.protocol import RunContext
from everwatch.model import Outcome, Status, Tick
from everwatch.network.curl_transfers import Failed
from everwatch.network.error_texts import explain_connection_error
from everwatch.network.guard import Guard
from everwatch.network.http_errors import explain

LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"),)
texts = st.text(max_size=20)


def says_something(reason: str) -> bool:
    """Tell whether a sentence is whole: none ends where what the library says should stand."""
    return bool(reason.strip()) and not reason.rstrip().endswith(":")


@st.composite
def errors(draw: st.DrawFn) -> OSError:
    number = draw(st.sampled_from([0, *errno.errorcode, 99_999]))
    said = draw(st.sampled_from(["", "it failed"]))
    made: list[Callable[[], OSError]] = [
        lambda: OSError(number, said),
        lambda: OSError(said),
        OSError,
        TimeoutError,
        ConnectionResetError,
        ConnectionError,
        lambda: ssl.SSLError(number, said),
        ssl.SSLError,
        ssl.SSLZeroReturnError,
        lambda: ssl.SSLCertVerificationError(number, said),
        lambda: socket.gaierror(draw(st.sampled_from([-2, -3, -4, -5, -11, 0])), said),
        socket.gaierror,
        lambda: TargetForbidden("target 10.0.0.1 is a private address"),
    ]
    return draw(st.sampled_from(made))()


@given(errors(), st.sampled_from([None, 1, 443]))
def test_every_error_of_a_connection_is_told(error: OSError, port: int | None) -> None:
    assert says_something(explain_connection_error(error, "a.example", port))


CODES = [getattr(pycurl, name) for name in dir(pycurl) if name.startswith("E_")]


@given(
    st.sampled_from(CODES) | st.integers(0, 200),
    st.sampled_from(["", "TLS connect error: ", "error:0A00045C:SSL routines::", "SSL certificate problem: ", "x"]),
    st.booleans(),
    st.sampled_from([0, errno.ECONNREFUSED, 99_999]),
    st.sampled_from(["http://a.example/", "https://a.example/"]),
)
def test_every_error_of_libcurl_is_told(code: int, said: str, answering: bool, number: int, url: str) -> None:
    failed = explain(Failed(code, said), yarl.URL(url), answering=answering, number=number)
    assert says_something(str(failed))
    assert says_something(failed.sentence(lambda text: text))


@pytest.mark.parametrize(
    "code", [value for name, value in vars(aiodns.error).items() if name.startswith("ARES_")], ids=str
)
def test_every_error_of_a_name_server_is_told(code: int) -> None:
    assert says_something(explain_code(code, DnsConfig("a.example")))


def tick_of(kind: str, config: dict[str, object]) -> Tick:
    found = registry.kind_named(kind)
    text = registry.canonical_config(found, registry.parse_config(found, config))
    return Tick("user", "monitor", 0, kind, text, 2_000, 1, 0)


async def outcome_of(tick: Tick, context: RunContext) -> Outcome:
    def unexpected(error: BaseException) -> None:
        raise error

    return await run_job(job_of(tick, ConfigSecrets()), tick, context, unexpected)


async def outcomes_of(answers: list[bytes], ticks: Callable[[int], list[Tick]]) -> list[Outcome]:
    """The outcomes of ticks about a server of each answer, all side by side: many wait until their time is over."""
    async with AsyncExitStack() as stack:
        context = await stack.enter_async_context(open_run_context(SystemClock(), Guard(LOOPBACK)))
        running = []
        for answer in answers:
            server = await stack.enter_async_context(open_raw_server())
            server.answers["/"] = answer
            running += [outcome_of(tick, context) for tick in ticks(server.port)]
        return await asyncio.gather(*running)


def check_reasons(outcomes: list[Outcome]) -> None:
    for outcome in outcomes:
        assert (outcome.status is Status.FAILURE) == bool(outcome.reason)
        assert not outcome.reason or says_something(outcome.reason)


STATUS_LINES = [b"HTTP/1.1 200 OK", b"HTTP/1.1 503", b"HTTP/1.1 099 x", b"HTTP/2 200", b"HTTP/1.1", b"ICY 200 OK", b""]
HEADERS = [
    b"Content-Length: 3", b"Content-Length: -1", b"Content-Length: 99999", b"Transfer-Encoding: chunked",
    b"Content-Encoding: gzip", b"Content-Encoding: \xff", b"Location: /", b"Location: http://\xff/", b": x", b"\0: \0",
    b"Set-Cookie: \xff=\xff", b"Content-Type: text/html; charset=\xff", b"Connection: close",
]  # fmt: skip
answers = st.builds(
    lambda first, headers, body: b"\r\n".join([first, *headers]) + b"\r\n\r\n" + body,
    st.sampled_from(STATUS_LINES),
    st.lists(st.sampled_from(HEADERS), max_size=4),
    st.binary(max_size=40) | st.sampled_from([b"3\r\nabc\r\n0\r\n\r\n", b"zz\r\n", b'{"a": 1}']),
)


@settings(max_examples=60, deadline=None)
@given(
    answers | st.binary(max_size=60),
    st.sampled_from([{}, {"body_contains": "abc"}, {"json_equals": {"$.a": 1}}, {"body_matches": "b+"}]),
)
def test_whatever_a_server_answers_a_failure_of_http_has_its_reason(answer: bytes, more: dict[str, Any]) -> None:
    def ticks(port: int) -> list[Tick]:
        return [tick_of("http", {"url": f"http://127.0.0.1:{port}/"} | more)]

    check_reasons(asyncio.run(outcomes_of([answer], ticks)))


@settings(max_examples=5, deadline=None)
@given(st.lists(st.binary(max_size=60), min_size=4, max_size=12))
def test_whatever_a_server_sends_a_failure_of_any_other_kind_has_its_reason(answers: list[bytes]) -> None:
    def ticks(port: int) -> list[Tick]:
        return [
            tick_of("webhook", {"url": f"http://127.0.0.1:{port}/"}),
            tick_of("tcp", {"host": "127.0.0.1", "port": port, "send": "GET / HTTP/1.1\\r\\n\\r\\n", "expect": "abc"}),
            tick_of("tls", {"host": "127.0.0.1", "port": port}),
        ]

    check_reasons(asyncio.run(outcomes_of(answers, ticks)))


@pytest.mark.parametrize("status", [Status.FAILURE, Status.LATE])
@pytest.mark.parametrize("reason", ["", " ", "\n"])
async def test_a_kind_that_gives_no_reason_is_told_as_that(status: Status, reason: str) -> None:
    class Kind:
        name, inline = "silent", False

        async def run(self, config: object, tick: Tick, context: object) -> Outcome:
            return Outcome(status, reason)

    tick = Tick("u", "m", 0, "silent", "{}", 1_000, 1, 0)
    async with open_run_context(SystemClock(), Guard()) as context:
        outcome = await run_job(Job(Kind()), tick, context, lambda _: None)  # type: ignore[arg-type]
    assert outcome.reason == "the kind 'silent' gave no reason"

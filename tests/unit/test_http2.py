"""The kind http and HTTP/2."""

import ipaddress
from collections.abc import AsyncIterator

import pytest
from support.authority import Authority
from support.http2_server import open_http2_server
from support.raw_http import answer, open_raw_server

from everwatch.core.clock import SystemClock
from everwatch.core.errors import InvalidInput
from everwatch.kinds import registry
from everwatch.kinds.execution.run_context import open_run_context
from everwatch.kinds.protocol import RunContext
from everwatch.model import Outcome, Tick
from everwatch.network.egress import Egress
from everwatch.network.guard import Guard

LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"),)


@pytest.fixture
async def context(authority: Authority) -> AsyncIterator[RunContext]:
    outgoing = Egress(str(authority.path))
    async with open_run_context(SystemClock(), Guard(LOOPBACK), outgoing=outgoing) as context:
        yield context


async def check(context: RunContext, **config: object) -> Outcome:
    kind = registry.kind_named("http")
    assert not kind.inline
    tick = Tick("user", "monitor", 0, "http", "{}", 10_000, 1, 0)
    return await kind.run(registry.parse_config(kind, config), tick, context)


@pytest.mark.parametrize("version", ["auto", "2"])
@pytest.mark.parametrize("keep_alive", [False, True])
async def test_a_server_that_speaks_http_2_alone_is_asked_in_it(
    context: RunContext, authority: Authority, version: str, keep_alive: bool
) -> None:
    async with open_http2_server(authority.certificate()) as server:
        config = {"url": f"https://127.0.0.1:{server.port}/x", "headers": {"X-Token": "t"}, "keep_alive": keep_alive}
        for _ in range(2):
            outcome = await check(context, **config, http_version=version, body_contains="ok", capture=True)
            assert outcome.reason == ""
            assert {"connect", "tls"} <= set(outcome.timings) or keep_alive
        assert server.requests[0][":path"] == "/x"
        assert server.requests[0]["x-token"] == "t"
        assert "connection" not in server.requests[0]
        failed = await check(context, **config, http_version=version, body_contains="no", capture=True)
        assert failed.detail.startswith("HTTP/2 200")


async def test_without_tls_http_2_is_spoken_only_where_it_is_asked_for(context: RunContext) -> None:
    async with open_http2_server(None) as server:
        url = f"http://127.0.0.1:{server.port}/"
        assert (await check(context, url=url, http_version="2")).reason == ""
        assert (await check(context, url=url)).reason != ""


async def test_a_server_that_does_not_speak_http_2_fails_only_who_expects_it(context: RunContext) -> None:
    async with open_raw_server() as server:
        server.answers["/"] = answer(b"ok")
        assert (await check(context, url=server.url())).reason == ""
        assert (await check(context, url=server.url(), http_version="2")).reason != ""


async def test_over_tls_the_reason_says_what_the_server_speaks(context: RunContext, authority: Authority) -> None:
    async with open_raw_server(authority.certificate()) as server:
        server.answers["/"] = answer(b"ok")
        url = server.url().replace("http:", "https:")
        assert (await check(context, url=url)).reason == ""
        assert (await check(context, url=url, http_version="1.1")).reason == ""
        outcome = await check(context, url=url, http_version="2")
        assert outcome.reason == "the server speaks HTTP/1.1, expected HTTP/2"


async def test_a_stream_that_the_server_resets_is_a_failure_with_a_reason(
    context: RunContext, authority: Authority
) -> None:
    async with open_http2_server(authority.certificate()) as server:
        server.reset = True
        outcome = await check(context, url=f"https://127.0.0.1:{server.port}/")
        assert outcome.reason.startswith("the answer is not valid HTTP: ")
        assert len(outcome.reason) > len("the answer is not valid HTTP: ")


def test_there_are_two_versions_and_the_choice_of_the_server() -> None:
    with pytest.raises(InvalidInput):
        registry.parse_config(registry.kind_named("http"), {"url": "https://a.example/", "http_version": "3"})

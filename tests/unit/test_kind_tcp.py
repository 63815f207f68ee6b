"""The kind tcp against real ports on the loopback address."""

import asyncio
import ipaddress
import socket
from collections.abc import AsyncIterator

import pytest

from everwatch.clock import SystemClock
from everwatch.errors import InvalidInput
from everwatch.kinds import registry
from everwatch.kinds.guard import Guard
from everwatch.kinds.protocol import RunContext, open_run_context
from everwatch.model import Outcome, Status

LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"),)


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


async def check(context: RunContext, **config: object) -> Outcome:
    kind = registry.kind_named("tcp")
    assert not kind.inline
    return await kind.run(registry.parse_config(kind, config), context)


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
async def test_a_name_without_address_is_a_failure(context: RunContext, monkeypatch, code: int, reason: str) -> None:
    async def fail(host: str, port: int, family: int = 0):
        raise socket.gaierror(code, "?")

    monkeypatch.setattr(context.resolver, "addresses", fail)
    assert (await check(context, host="nowhere.invalid", port=80)).reason == reason


async def test_a_label_too_long_for_a_name_does_not_resolve(context: RunContext) -> None:
    host = "x" * 64 + ".example"
    assert (await check(context, host=host, port=80)).reason == f"name {host} does not resolve"


async def test_the_name_is_resolved_once_and_only_checked_addresses_are_tried(
    context: RunContext, port: int, monkeypatch
) -> None:
    asked = []

    async def addresses(host: str, port: int, family: int = 0):
        asked.append(host)
        return [info("10.0.0.1", port), info("127.0.0.1", port)]

    monkeypatch.setattr(context.resolver, "addresses", addresses)
    outcome = await check(context, host="mixed.example", port=port)
    assert outcome.status is Status.SUCCESS, outcome.reason
    assert asked == ["mixed.example"]


async def test_a_second_address_is_tried_when_the_first_refuses(context: RunContext, port: int, monkeypatch) -> None:
    async def addresses(host: str, port: int, family: int = 0):
        # the server listens on 127.0.0.1 alone
        return [info("127.0.0.9", port), info("127.0.0.1", port)]

    monkeypatch.setattr(context.resolver, "addresses", addresses)
    assert (await check(context, host="two.example", port=port)).status is Status.SUCCESS


@pytest.mark.parametrize(
    ("config", "path"),
    [
        ({"host": "a.example", "port": 0}, "$.config.port"), ({"host": "a.example", "port": 65536}, "$.config.port"),
        ({"host": "", "port": 1}, "$.config.host"), ({"host": "http://a.example", "port": 1}, "$.config.host"),
        ({"host": "[::1]", "port": 1}, "$.config.host"), ({"port": 1}, "$.config"),
        ({"host": "a.example", "port": "80"}, "$.config.port"),
    ],
)  # fmt: skip
def test_a_wrong_config_is_refused_with_its_path(config: dict[str, object], path: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        registry.parse_config(registry.kind_named("tcp"), config)
    assert caught.value.path == path

"""Live events of the API: what a client gets, what it is told was dropped, and when its stream ends."""

import asyncio
import socket
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NoReturn

import aiohttp
import pytest
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict, CIMultiDictProxy
from support.api import START, Api, api
from support.waiting import PATIENCE

from everwatch.api import live as live_module
from everwatch.api.permissions import Role
from everwatch.api.queries import LiveQuery
from everwatch.api.routing import Call
from everwatch.core.config import load_settings
from everwatch.core.output_format import OutputFormat
from everwatch.encoding import codec
from everwatch.kafka.consumed_record import Record
from everwatch.kafka.topics import Topics
from everwatch.model import State, Transition

IDLE = 100


@pytest.fixture
async def server() -> AsyncIterator[Api]:
    async with api() as running:
        yield running


def changed(user_id: str, offset: int, monitor_id: str = "m") -> Record:
    transition = Transition(user_id, monitor_id, START + offset, State.NEW, State.UP, "", 1)
    value = codec.encode_transition(transition, OutputFormat.AVRO)
    return Record("transitions", 0, offset, START, user_id.encode(), value)


@asynccontextmanager
async def stream(
    server: Api, query: str = "", token: str = "", last_event_id: str = ""
) -> AsyncIterator[aiohttp.StreamReader]:
    headers = {"Authorization": f"Bearer {token or server.texts[Role.VIEWER]}"}
    if last_event_id:
        headers["Last-Event-ID"] = last_event_id
    async with server.session.get(f"{server.url}/v1/live{query}", headers=headers) as response:
        assert response.status == 200, await response.text()
        async with asyncio.timeout(30 * PATIENCE):
            assert await response.content.readuntil(b"\n\n") == b": everwatch\n\n"
            yield response.content


async def test_a_client_gets_what_it_asked_for_and_no_more(server: Api) -> None:
    hers = server.token(Role.VIEWER, "ann")
    async with stream(server) as everything, stream(server, "?monitor=b", hers) as one:
        server.taker([changed("ann", 1, "a"), changed("bob", 2), changed("ann", 3, "b")])
        for offset in (1, 2, 3):
            event = await everything.readuntil(b"\n\n")
            name, where, data = event.splitlines()[:3]
            assert (name, where.partition(b";")[0]) == (b"event: transition", b"id: transition/0/%d" % offset)
            assert data.startswith(b"data: {")
        assert b'"monitor_id":"b"' in await one.readuntil(b"\n\n")
    await left(server)


async def left(server: Api) -> None:
    """Wait until no client is there."""
    async with asyncio.timeout(30 * PATIENCE):
        while server.live.clients or server.taker is not None:
            await asyncio.sleep(0.01)


async def test_a_monitor_without_its_user_is_refused_and_so_is_a_stream_without_its_events(server: Api) -> None:
    assert (await server.call("GET", "/v1/live?monitor=b")).code == "invalid_parameter"
    assert (await server.call("HEAD", "/v1/live")).status == 405


async def test_a_stream_that_kafka_does_not_let_begin_is_given_up_at_its_deadline(server: Api) -> None:
    async def never(_: object) -> NoReturn:
        await asyncio.Event().wait()
        raise AssertionError

    live = live_module.Live(Topics.of(load_settings()), never, lambda _: (), lambda _: True, server.clock)
    call = Call({}, CIMultiDictProxy(CIMultiDict()), deadline_s=asyncio.get_running_loop().time())
    async with asyncio.timeout(30 * PATIENCE) as limit:
        with pytest.raises(TimeoutError):
            await live.stream(call, LiveQuery(), make_mocked_request("GET", "/v1/live"))
        assert not limit.expired()
        await live.stop()


async def test_pages_of_an_origin_that_is_configured_get_events() -> None:
    origin = "https://app.example"
    async with api(origins=frozenset({origin})) as running:
        headers = {"Authorization": f"Bearer {running.texts[Role.VIEWER]}", "Origin": origin}
        for path in ("/v1/live", "/nowhere"):
            async with running.session.get(running.url + path, headers=headers) as response:
                assert response.headers["Access-Control-Allow-Origin"] == origin, path


async def test_a_stream_of_another_user_is_refused(server: Api) -> None:
    refused = await server.call("GET", "/v1/live?user=bob", token=server.token(Role.VIEWER, "ann"))
    assert (refused.status, refused.code) == (403, "forbidden")


async def test_tokens_of_one_user_have_few_of_all_streams(server: Api) -> None:
    server.live.most_of_user = 1
    hers, also_hers = server.token(Role.VIEWER, "ann"), server.token(Role.VIEWER, "ann")
    async with stream(server, token=hers):
        refused = await server.call("GET", "/v1/live", token=also_hers)
        assert (refused.status, refused.code) == (429, "too_many_streams")
        assert int(refused.headers["Retry-After"]) > 0
        async with (
            stream(server, token=server.token(Role.VIEWER, "bob")),
            stream(server, "?user=ann"),
            stream(server, "?user=ann"),
        ):
            pass
    await left(server)
    async with stream(server, token=also_hers):
        pass


async def test_one_stream_more_than_a_process_takes_is_refused_until_one_ends(server: Api) -> None:
    assert server.live.most_clients == live_module.MOST_CLIENTS == 10_000
    server.live.most_clients = 2
    async with stream(server):
        async with stream(server):
            refused = await server.call("GET", "/v1/live")
            assert (refused.status, refused.code) == (503, "overloaded")
            assert "Retry-After" in refused.headers
        async with asyncio.timeout(30 * PATIENCE):
            while server.live.clients == 2:
                await asyncio.sleep(0.01)
        async with stream(server):
            pass


async def test_what_a_client_does_not_get_is_counted_for_it(server: Api) -> None:
    async with stream(server) as events:
        server.taker([changed("ann", number) for number in range(200)])
        got = [await events.readuntil(b"\n\n") for _ in range(live_module.PER_S + 1)]
    assert got[-1] == b'event: dropped\ndata: {"dropped":150}\n\n'


async def test_a_stream_ends_when_its_token_is_revoked_and_when_the_process_stops(server: Api) -> None:
    token = server.token(Role.VIEWER)
    async with stream(server, token=token) as events, stream(server) as other:
        principal = server.tokens.principal(token, START)
        assert principal is not None
        server.tokens.revoke(principal.token_id)
        server.taker([changed("ann", 1)])
        assert await events.read() == b""
        assert await other.readuntil(b"\n\n")
        await server.live.stop()
        assert await other.read() == b""


async def test_a_client_that_does_not_read_is_left_behind_with_a_bounded_queue() -> None:
    client = live_module.LiveClient("", "", None)
    for second in range(100):
        client.offer([("transition", changed("ann", number)) for number in range(60)], float(second))
    assert client.dropped == 100 * 60 - live_module.MOST_QUEUED


async def test_a_client_that_comes_back_gets_what_it_missed_and_nothing_twice(server: Api) -> None:
    server.ends = {("transitions", 0): 10, ("results", 0): 4}
    async with stream(server) as events:
        server.taker([changed("ann", 10), changed("bob", 11)])
        last = (await events.readuntil(b"\n\n")).splitlines()[1].removeprefix(b"id: ")
    assert last == b"transition/0/10;r=4;t=11"
    await left(server)
    server.held = [changed("ann", number) for number in range(10, 14)]
    server.ends = {("transitions", 0): 14, ("results", 0): 4}
    async with stream(server, last_event_id=last.decode()) as events:
        got = [await events.readuntil(b"\n\n") for _ in range(3)]
        server.taker([changed("ann", 14)])
        got.append(await events.readuntil(b"\n\n"))
    assert [each.splitlines()[1].partition(b";")[0] for each in got] == [
        b"id: transition/0/%d" % number for number in (11, 12, 13, 14)
    ]


async def test_a_client_that_comes_back_sees_nothing_of_another_user(server: Api) -> None:
    server.held = [changed("bob", 0), changed("ann", 1)]
    server.ends = {("transitions", 0): 2, ("results", 0): 0}
    hers = server.token(Role.VIEWER, "ann")
    async with stream(server, token=hers, last_event_id="transition/0/0;r=0;t=0") as events:
        assert b'"user_id":"ann"' in await events.readuntil(b"\n\n")


async def test_of_what_a_client_missed_for_long_the_newest_is_read_again_and_the_rest_counted(
    server: Api,
) -> None:
    server.live.most_replayed = 4
    server.held = [changed("ann", number) for number in range(10)]
    server.ends = {("transitions", 0): 10, ("results", 0): 0}
    async with stream(server, last_event_id=";r=0;t=1") as events:
        got = [await events.readuntil(b"\n\n") for _ in range(5)]
    assert got[0].splitlines()[1].startswith(b"id: transition/0/6;")
    assert got[-1] == b'event: dropped\ndata: {"dropped":5}\n\n'


@pytest.mark.parametrize("wrong", ["x", "transition/0/5", ";t=99", ";t=1.2.3.4;r=5", ";t=-1", ";t=" + "1" * 30, ";q=1"])
async def test_an_id_that_says_nothing_of_use_begins_now(server: Api, wrong: str) -> None:
    async with stream(server, last_event_id=wrong) as events:
        server.taker([changed("ann", 0)])
        assert b"id: transition/0/0;" in await events.readuntil(b"\n\n")


async def test_an_idle_stream_keeps_little_memory(server: Api) -> None:
    host, port = server.url.removeprefix("http://").split(":")
    head = f"GET /v1/live?user=ann HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {server.texts[Role.VIEWER]}\r\n\r\n"
    loop = asyncio.get_running_loop()

    async def opened() -> socket.socket:
        # a bare socket: the client is in this process, too, and is not what is measured
        sock = socket.socket()
        sock.setblocking(False)
        await loop.sock_connect(sock, (host, int(port)))
        await loop.sock_sendall(sock, head.encode())
        async with asyncio.timeout(30 * PATIENCE):
            assert (await loop.sock_recv(sock, 4_096)).startswith(b"HTTP/1.1 200")
        return sock

    socks = [await opened()]
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        socks += [await opened() for _ in range(IDLE)]
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        for each in socks:
            each.close()
    # 10,000 of them, the most that a process takes, have less than 300 MB
    assert (after - before) / IDLE < 30_000

"""Limits of the API: requests of a token, with the headers that say what is left, and sizes of bodies."""

import asyncio
import gzip
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from support.api import api
from support.waiting import PATIENCE

from everwatch.api.batch import BODY_LIMIT, MOST_LINES
from everwatch.api.permissions import Role
from everwatch.api.rate_limiting import WINDOW_S, RateLimiter


async def test_a_token_is_told_what_is_left_and_refused_what_is_too_much() -> None:
    async with api(requests_per_min=3) as running:
        left = [await running.call("GET", "/v1/me") for _ in range(3)]
        told = [each.headers["RateLimit"] for each in left]
        assert told == ['"token";r=2;t=20', '"token";r=1;t=40', '"token";r=0;t=60']
        assert left[0].headers["RateLimit-Policy"] == '"token";q=3;w=60'
        refused = await running.call("GET", "/v1/users/nobody")
        assert (refused.status, refused.code, refused.headers["Retry-After"]) == (429, "rate_limited", "20")
        assert refused.headers["RateLimit"] == '"token";r=0;t=60'
        # another token has its own, and what takes no token none
        assert (await running.call("GET", "/v1/me", token=running.token(Role.VIEWER))).status == 200
        assert "RateLimit" not in (await running.call("GET", "/healthz", token=None)).headers
        running.clock.advance(20_000)
        again = await running.call("GET", "/v1/users/nobody")
        assert (again.status, again.headers["RateLimit"]) == (404, '"token";r=0;t=60')


async def test_without_a_limit_nothing_is_said_of_one() -> None:
    async with api() as running:
        assert "RateLimit" not in (await running.call("GET", "/v1/me")).headers


@given(st.integers(1, 50), st.lists(st.floats(0, 30), min_size=1, max_size=200))
def test_no_token_makes_more_than_the_limit_and_its_refill_allow(limit: int, pauses: list[float]) -> None:
    limiter, now_s, allowed = RateLimiter(limit), 1_000.0, 0
    for pause_s in pauses:
        now_s += pause_s
        found = limiter.take("t", now_s)
        assert found is not None
        allowed += not found.retry_in_s
        assert 0 <= found.remaining <= limit
        assert allowed <= limit + (now_s - 1_000) * limit / WINDOW_S + 1e-6
        if found.retry_in_s:
            later = limiter.take("t", now_s + found.retry_in_s + 1e-6)
            assert later is not None
            assert not later.retry_in_s
            allowed += 1
            now_s += found.retry_in_s + 1e-6


async def test_bodies_that_are_held_at_once_have_a_limit_and_leave_room_when_they_are_over() -> None:
    async with api(most_body_bytes=3_000) as server:
        held, go_on = asyncio.Event(), asyncio.Event()
        ask = server.worker.ask

        async def waits(*given: Any) -> Any:
            held.set()
            await go_on.wait()
            return await ask(*given)

        server.worker.ask = waits  # type: ignore[method-assign]
        body = {"attributes": {"text": "x" * 2_000}}
        first = asyncio.create_task(server.call("PUT", "/v1/users/ann", body=body))
        await held.wait()
        refused = await server.call("PUT", "/v1/users/bob", body=body)
        assert (refused.status, refused.code) == (503, "overloaded")
        assert "Retry-After" in refused.headers
        assert (await server.call("GET", "/v1/users")).status == 200, "what has no body goes on"
        go_on.set()
        assert (await first).status == 201
        assert (await server.call("PUT", "/v1/users/bob", body=body)).status == 201


async def test_a_body_that_trickles_and_a_broker_that_does_not_answer_are_waited_for_until_the_deadline() -> None:
    async with api(deadline_s=0.3) as server:
        host, port = server.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        head = f"POST /v1/signals HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {server.texts[Role.ADMIN]}\r\n"
        writer.write(f"{head}Content-Length: 1000\r\n\r\n{{".encode())

        async def trickle() -> None:
            while True:
                writer.write(b" ")
                await asyncio.sleep(0.05)

        trickling = asyncio.create_task(trickle())
        async with asyncio.timeout(20 * PATIENCE):
            assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 503")
            assert b"application/problem+json" in await reader.readuntil(b"\r\n\r\n")
            assert b'"code":"deadline"' in await reader.readuntil(b'deadline"')
        trickling.cancel()
        writer.close()
        assert not server.worker.inputs
        never = asyncio.Event()
        server.worker.send = lambda _: never.wait()  # type: ignore[method-assign, assignment]
        signals = {"signals": [{"user_id": "ann", "monitor_id": "m"}]}
        key = server.ping_keys.key_of("ann")
        async with asyncio.timeout(20 * PATIENCE):
            for late in (
                await server.call("POST", "/v1/signals", body=signals),
                await server.call("POST", f"/ping/{key}/m", token=None),
            ):
                assert (late.status, late.code, "Retry-After" in late.headers) == (503, "deadline", True)


async def test_a_batch_of_too_many_lines_or_bytes_is_refused_however_it_is_packed() -> None:
    batch = {"Content_Type": "application/x-ndjson"}
    async with api() as server:
        line = b'{"command":"pause","user_id":"ann","monitor_id":"m"}\n'
        many = await server.call("POST", "/v1/batch", body=line * (MOST_LINES + 1), **batch)
        assert (many.status, many.code) == (413, "too_many")
        assert f"at most {MOST_LINES}" in many.json["detail"]
        # of what it announces nothing needs to be sent
        host, port = server.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        head = f"POST /v1/batch HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {server.texts[Role.ADMIN]}\r\n"
        writer.write(f"{head}Content-Length: {BODY_LIMIT + 1}\r\n\r\n".encode())
        async with asyncio.timeout(20 * PATIENCE):
            assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 413")
            assert b'"code":"too_large"' in await reader.readuntil(b'too_large"')
        writer.close()
        bomb = gzip.compress(bytes(BODY_LIMIT + 1), compresslevel=1)
        assert len(bomb) < BODY_LIMIT // 10
        unpacked = await server.call("POST", "/v1/batch", body=bomb, Content_Encoding="gzip", **batch)
        assert (unpacked.status, unpacked.code) == (413, "too_large")
        assert str(BODY_LIMIT) in unpacked.json["detail"]
        assert not server.worker.inputs

"""Promises of the API with several processes: a write is read through any of them, and no edit of many is lost."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from uuid import uuid4

import aiohttp

from bench.errors import Unmeasured
from everwatch.core.clock import SystemClock

AT_ONCE = 64
EDITORS, MONITORS = 4, 10
"""Who edits one monitor at once, and how many monitors are edited at once."""
_TRIES = 50
_SCHEDULE = {"kind": "noop", "schedule": {"every": "1d"}}


@dataclass
class Kept:
    """``right``: writes that were seen, or edits that were kept; ``refused``: those that had to be made again."""

    right: int = 0
    refused: int = 0
    took_s: float = 0.0
    reads_s: list[float] = field(default_factory=list)


class _Balancer:
    """Sends each request to the next of some processes, and to another one where none answers, as a balancer does."""

    def __init__(self, urls: list[str], session: aiohttp.ClientSession) -> None:
        self._urls = urls
        self._session = session
        self._turn = count()

    async def ask(self, method: str, path: str, body: object = None, **headers: str) -> aiohttp.ClientResponse:
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        for attempt in range(_TRIES):
            url = self._urls[next(self._turn) % len(self._urls)]
            with suppress(aiohttp.ClientError):
                answer = await self._session.request(method, url + path, json=body, headers=given)
                await answer.read()
                if answer.status != 503:
                    return answer
            await asyncio.sleep(0.05 * min(attempt + 1, 10))
        raise Unmeasured(f"{method} {path} was not answered in {_TRIES} attempts.")


def _session(token: str) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        headers={"Authorization": f"Bearer {token}"}, connector=aiohttp.TCPConnector(limit=4 * AT_ONCE)
    )


async def read_what_was_written(urls: list[str], token: str, writes: int, kill: Callable[[], None]) -> Kept:
    """Write users and read each through the next process; ``kill`` ends one of them after half of the writes."""
    kept, turn, clock = Kept(), iter(range(writes)), SystemClock()
    began_s = clock.monotonic_s()
    async with _session(token) as session:
        balancer = _Balancer(urls, session)

        async def one() -> None:
            for number in turn:
                if number == writes // 2:
                    await asyncio.to_thread(kill)
                path = f"/v1/users/rw-{number}"
                # sent again under the same key to another process, it is carried out once
                key = {"Idempotency_Key": f"rw-{number}", "Prefer": "wait=30"}
                wrote = await balancer.ask("PUT", path, {"attributes": {"n": number}}, **key)
                if wrote.status not in (200, 201):
                    raise Unmeasured(f"A write was answered with {wrote.status}: {(await wrote.text())[:300]}")
                asked_s = clock.monotonic_s()
                read = await balancer.ask("GET", path, Everwatch_After=wrote.headers["Everwatch-Position"])
                kept.reads_s.append(clock.monotonic_s() - asked_s)
                kept.right += read.status == 200 and (await read.json())["attributes"] == {"n": number}

        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(one())
    kept.took_s = clock.monotonic_s() - began_s
    return kept


async def edit_at_once(urls: list[str], token: str, edits: int) -> Kept:
    """Let several editors count up one monitor's name with If-Match, on some monitors; count the changes that are left
    at the end.

    An edit that overwrote another one would leave the count short.
    """
    kept = Kept()
    each = edits // (EDITORS * MONITORS)
    async with _session(token) as session:
        balancer = _Balancer(urls, session)
        begun: dict[str, str] = {}
        paths = [f"/v1/users/edited/monitors/m-{number}" for number in range(MONITORS)]
        await balancer.ask("PUT", "/v1/users/edited", {}, Prefer="wait=30")
        for path in paths:
            made = await balancer.ask("PUT", path, {**_SCHEDULE, "name": "0"}, Prefer="wait=30")
            begun[path] = made.headers["Everwatch-Position"]

        async def edit(path: str) -> None:
            done = 0
            after = {"Everwatch_After": begun[path]}
            while done < each:
                seen = await balancer.ask("GET", path, **after)
                name = str(int((await seen.json())["spec"]["name"]) + 1)
                # sent again under the same key, it counts once
                edit_of = {"If_Match": seen.headers["ETag"], "Idempotency_Key": uuid4().hex, "Prefer": "wait=30"}
                changed = await balancer.ask("PATCH", path, {"name": name}, **edit_of)
                if changed.status == 200:
                    done += 1
                    after = {"Everwatch_After": changed.headers["Everwatch-Position"]}
                elif changed.status == 412:
                    kept.refused += 1
                else:
                    raise Unmeasured(f"An edit was answered with {changed.status}: {(await changed.text())[:300]}")

        began_s = SystemClock().monotonic_s()
        async with asyncio.TaskGroup() as group:
            for path in paths:
                for _ in range(EDITORS):
                    group.create_task(edit(path))
        kept.took_s = SystemClock().monotonic_s() - began_s
        for path in paths:
            kept.right += await _settled(balancer, path, each * EDITORS)
    return kept


async def _settled(balancer: _Balancer, path: str, wanted: int) -> int:
    """The count of a monitor once the database has all edits; it may be behind for a moment."""
    found = 0
    for _ in range(_TRIES):
        found = int((await (await balancer.ask("GET", path)).json())["spec"]["name"])
        if found >= wanted:
            break
        await asyncio.sleep(0.2)
    return found

"""Requests over kept connections, as fast as they are answered or at a rate: ready bytes, and a look at each head.

A client library would cost more than the server that is measured, on the same two cores.
"""

import asyncio
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from math import ceil
from typing import cast
from urllib.parse import urlsplit

from everwatch.core.clock import SystemClock

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
NextRequest = Callable[[], bytes | None]
"""Gives the next request; None once there is none."""


@dataclass
class Answers:
    """Answers so far: by status, how long each took (s), and the largest body (bytes)."""

    statuses: Counter[int] = field(default_factory=Counter)
    took_s: list[float] = field(default_factory=list)
    largest: int = 0

    def took_ms(self, share: float) -> float:
        """Time within which this share of the requests was answered, ms."""
        return quantile_ms(self.took_s, share)


def quantile_ms(took_s: Sequence[float], share: float) -> float:
    """Return the least value at or below which ``share`` of all values lie, in ms; 0 if there is none."""
    ordered = sorted(took_s)
    return 1000 * ordered[max(0, ceil(share * len(ordered)) - 1)] if ordered else 0.0


def request_of(method: str, url: str, token: str = "", body: bytes = b"", **headers: str) -> bytes:
    """Return a request as it is sent."""
    parts = urlsplit(url)
    path = parts.path + (f"?{parts.query}" if parts.query else "")
    lines = [f"{method} {path} HTTP/1.1", f"Host: {parts.netloc}"]
    if token:
        lines.append(f"Authorization: Bearer {token}")
    if body:
        lines.append(f"Content-Length: {len(body)}")
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


async def load(url: str, next_request: NextRequest, connections: int, rate: float = 0) -> Answers:
    """Send requests over a number of connections, one at a time on each, until none is left. Raises OSError.

    With a ``rate`` (a second) a request is due at an instant of its own, and what it took counts from there: one that
    finds no free connection is late.
    """
    parts = urlsplit(url)
    answers = Answers()
    began_s = SystemClock().monotonic_s()
    turns = count()

    def next_due_s() -> float:
        return began_s + next(turns) / rate if rate else 0.0

    async def one() -> None:
        loop = asyncio.get_running_loop()
        host, port = parts.hostname or "127.0.0.1", parts.port or 80
        _, client = await loop.create_connection(lambda: _Client(next_request, next_due_s, answers), host, port)
        await client.ended

    async with asyncio.TaskGroup() as group:
        for _ in range(connections):
            group.create_task(one())
    return answers


class _Client(asyncio.Protocol):
    def __init__(self, next_request: NextRequest, next_due_s: Callable[[], float], answers: Answers) -> None:
        self._next = next_request
        self._next_due_s = next_due_s
        self._answers = answers
        self._clock = SystemClock()
        self._data = bytearray()
        self._sent_s = 0.0
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's is none of asyncio's classes
        self._transport = cast(asyncio.Transport, transport)
        self._send()

    def data_received(self, data: bytes) -> None:
        self._data += data
        head, gap, body = self._data.partition(b"\r\n\r\n")
        if not gap:
            return
        found = _LENGTH.search(head)
        length = int(found[1]) if found else 0
        if len(body) < length:
            return
        self._answers.statuses[int(head[9:12])] += 1
        self._answers.took_s.append(self._clock.monotonic_s() - self._sent_s)
        self._answers.largest = max(self._answers.largest, length)
        self._data.clear()
        self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.ended.done():
            self.ended.set_exception(exc or ConnectionError("the server closed the connection"))

    def _send(self) -> None:
        request = self._next()
        if request is None:
            self.ended.set_result(None)
            self._transport.close()
            return
        now_s = self._clock.monotonic_s()
        self._sent_s = self._next_due_s() or now_s
        if self._sent_s > now_s:
            asyncio.get_running_loop().call_later(self._sent_s - now_s, self._transport.write, request)
        else:
            self._transport.write(request)

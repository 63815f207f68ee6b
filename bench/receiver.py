"""Receiver of webhooks and PagerDuty events on loopback, in a process of its own."""

import asyncio
import json
import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from multiprocessing.connection import Connection
from multiprocessing.sharedctypes import Synchronized
from typing import NamedTuple, cast

import uvloop

from bench.errors import Unmeasured

_START_WITHIN_S = 20.0
_ACCEPTED = b"HTTP/1.1 204 No Content\r\n\r\n"
_AWAY = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"


class Arrival(NamedTuple):
    """An accepted message: its id (or incident and action), when it arrived and when its newest alert was; ms.

    ``incidents``: ids of its incidents.
    """

    key: str
    arrived_at: int
    at: int
    incidents: tuple[str, ...] = ()


class Receiver:
    """The parent's side of a receiver: its URL and what it has accepted. While ``away`` is set, it answers 503."""

    def __init__(self, port: int, asking: Connection, count: "Synchronized[int]", away: "Synchronized[int]") -> None:
        self.url = f"http://127.0.0.1:{port}/"
        self._asking = asking
        self._count = count
        self._away = away

    @property
    def count(self) -> int:
        """Number of messages accepted so far."""
        return self._count.value

    def go_away(self, away: bool) -> None:
        """Refuse all messages with 503, or accept them again."""
        self._away.value = int(away)

    def arrivals(self) -> list[Arrival]:
        """Return the messages accepted since the last call."""
        self._asking.send("")
        return [Arrival(*each) for each in self._asking.recv()]


class _HttpServer(asyncio.Protocol):
    def __init__(self, got: list[Arrival], count: "Synchronized[int]", away: "Synchronized[int]") -> None:
        self._got, self._count, self._away = got, count, away
        self._data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)

    def data_received(self, data: bytes) -> None:
        self._data += data
        while True:
            head, end, rest = self._data.partition(b"\r\n\r\n")
            if not end:
                return
            headers = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
            length = int(headers.get(b"content-length", b"0"))
            if b"100-continue" in headers.get(b"expect", b"") and not rest:
                self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            if len(rest) < length:
                return
            self._data = rest[length:]
            if self._away.value:
                self._transport.write(_AWAY)
                continue
            self._transport.write(_ACCEPTED)
            self._count.value += 1
            self._got.append(_arrival(headers, json.loads(rest[:length])))


def _arrival(headers: dict[bytes, bytes], body: dict[str, object]) -> Arrival:
    now = time.time_ns() // 1_000_000
    if "dedup_key" in body:
        return Arrival(f"{body['dedup_key']} {body['event_action']}", now, 0)
    alerts = cast(dict[str, list[dict[str, str]]], body["data"])["alerts"]
    newest = max(datetime.fromisoformat(alert["at"]).timestamp() for alert in alerts)
    incidents = tuple(alert["incident_id"] for alert in alerts)
    return Arrival(headers[b"webhook-id"].decode(), now, round(newest * 1000), incidents)


@contextmanager
def receiver() -> Iterator[Receiver]:
    """Run a receiver while the context lasts. Raises Unmeasured if it does not start."""
    context = multiprocessing.get_context("spawn")
    count, away = context.Value("q", 0, lock=False), context.Value("q", 0, lock=False)
    ours, theirs = context.Pipe()
    process = context.Process(target=_run, args=(theirs, count, away), daemon=True, name="bench-receiver")
    process.start()
    try:
        if not ours.poll(_START_WITHIN_S):
            raise Unmeasured(f"The bench's own receiver did not start within {_START_WITHIN_S:g} s.")
        yield Receiver(ours.recv(), ours, count, away)
    finally:
        process.terminate()
        process.join()


def _run(asked: Connection, count: "Synchronized[int]", away: "Synchronized[int]") -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle

    async def serve() -> None:
        loop = asyncio.get_running_loop()
        got: list[Arrival] = []

        def answer() -> None:
            # uvloop made it non-blocking, and many arrivals are more than a pipe holds
            os.set_blocking(asked.fileno(), True)
            asked.recv()
            asked.send([tuple(each) for each in got])
            got.clear()
            os.set_blocking(asked.fileno(), False)

        server = await loop.create_server(lambda: _HttpServer(got, count, away), "127.0.0.1", 0, backlog=1_024)
        loop.add_reader(asked.fileno(), answer)
        asked.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    uvloop.run(serve())

"""Probe target: a web server on loopback that answers 200 and closes (``/hang``: never), in a process of its own."""

import asyncio
import multiprocessing
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.sharedctypes import Synchronized
from typing import cast

import uvloop

from bench.errors import Unmeasured

_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"
_BACKLOG = 4_096
_START_WITHIN_S = 20.0


@dataclass(frozen=True)
class Target:
    """Address of the target, its process, and the number of its connections."""

    port: int
    process_id: int
    _connections: "Synchronized[int]"

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}/"

    @property
    def hanging_url(self) -> str:
        """An address that never answers."""
        return f"{self.url}hang"

    @property
    def connections(self) -> int:
        """Number of connections so far."""
        return self._connections.value


class _Answering(asyncio.Protocol):
    def __init__(self, connections: "Synchronized[int]") -> None:
        self._connections = connections

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)  # uvloop's is none by inheritance
        self._connections.value += 1  # no other process writes it

    def data_received(self, data: bytes) -> None:
        if data.endswith(b"\r\n\r\n") and not data.startswith(b"GET /hang"):
            self._transport.write(_ANSWER)
            self._transport.close()


@contextmanager
def target() -> Iterator[Target]:
    """Run the server until left."""
    context = multiprocessing.get_context("spawn")
    connections = context.Value("q", 0, lock=False)
    ours, theirs = context.Pipe()
    process = context.Process(target=_run, args=(theirs, connections), daemon=True, name="bench-target")
    process.start()
    try:
        if not ours.poll(_START_WITHIN_S):
            raise Unmeasured(f"The bench's own web server did not start within {_START_WITHIN_S:g} s.")
        yield Target(ours.recv(), process.pid or 0, connections)
    finally:
        process.terminate()
        process.join()


def _run(started: Connection, connections: "Synchronized[int]") -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle

    async def serve() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: _Answering(connections), "127.0.0.1", 0, backlog=_BACKLOG)
        started.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    uvloop.run(serve())

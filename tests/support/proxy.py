"""A way to a broker that loses what is sent over it, when it is told to."""

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import Enum
from types import TracebackType
from typing import Self

HOST = "127.0.0.1"
PRODUCE = 0


class Loss(Enum):
    """Fate of a produce request: carried out, but its answer never comes; or it never arrives.

    The connection is cut then; with SILENCE the answer does not come either, and the connection stays.
    """

    ANSWER = "answer"
    REQUEST = "request"
    SILENCE = "silence"


class Proxy:
    """Forwards Kafka's frames to one broker, and makes clients come this way again by rewriting its address."""

    def __init__(self, bootstrap_servers: str) -> None:
        self._broker = int(bootstrap_servers.rpartition(":")[2])
        self._server = socket.create_server((HOST, 0))
        self._port: int = self._server.getsockname()[1]
        self._lock = threading.Lock()
        self._losses: list[tuple[bytes, Loss]] = []
        self._open: set[socket.socket] = set()
        self.lost = 0

    @property
    def bootstrap_servers(self) -> str:
        """Return where clients connect to."""
        return f"{HOST}:{self._port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, name="proxy", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for connection in (self._server, *list(self._open)):
            _hang_up(connection)

    def lose(self, topic: str, *losses: Loss) -> None:
        """Lose so many of the next produce requests for this topic, each in its way."""
        with self._lock:
            self.lost = 0
            self._losses = [(topic.encode(), loss) for loss in losses]

    @property
    def is_done(self) -> bool:
        """Tell whether everything was lost that was to be."""
        with self._lock:
            return not self._losses

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._server.accept()
                threading.Thread(target=self._serve, args=(client,), name="proxy", daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        unanswered: dict[bytes, Loss] = {}
        with suppress(OSError), self._kept(client), self._kept(self._connection()) as broker:
            answers = threading.Thread(target=self._answer, args=(broker, client, unanswered), daemon=True)
            answers.start()
            for request in _frames(client):
                loss = self._loss_of(request)
                if loss is Loss.REQUEST:
                    break
                if loss is not None:
                    unanswered[request[4:8]] = loss
                _send(broker, request)

    def _connection(self) -> socket.socket:
        return socket.create_connection((HOST, self._broker))

    def _answer(self, broker: socket.socket, client: socket.socket, unanswered: dict[bytes, Loss]) -> None:
        here = struct.pack(">9si", HOST.encode(), self._port)
        there = struct.pack(">9si", HOST.encode(), self._broker)
        with suppress(OSError):
            for answer in _frames(broker):
                loss = unanswered.pop(answer[:4], None)
                if loss is Loss.ANSWER:
                    break
                if loss is None:
                    _send(client, answer.replace(there, here))
        for connection in (client, broker):
            _hang_up(connection)

    def _loss_of(self, request: bytes) -> Loss | None:
        if int.from_bytes(request[:2], "big") != PRODUCE:
            return None
        with self._lock:
            if self._losses and self._losses[0][0] in request:
                self.lost += 1
                return self._losses.pop(0)[1]
        return None

    @contextmanager
    def _kept(self, connection: socket.socket) -> Iterator[socket.socket]:
        """Hang up at the end, and at the end of the proxy."""
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._open.add(connection)
        try:
            yield connection
        finally:
            self._open.discard(connection)
            _hang_up(connection)


def _frames(connection: socket.socket) -> Iterator[bytes]:
    with connection.makefile("rb") as stream:
        while head := stream.read(4):
            size = int.from_bytes(head, "big")
            frame = stream.read(size)
            if len(frame) < size:
                return
            yield frame


def _send(connection: socket.socket, frame: bytes) -> None:
    connection.sendall(struct.pack(">i", len(frame)) + frame)


def _hang_up(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()

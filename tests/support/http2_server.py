"""An HTTP/2 server on the loopback address, by the package h2."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import h2.config
import h2.connection
import h2.errors
import h2.events


@dataclass
class Http2Server:
    """Answers every request with ``body``; ``requests`` are their headers. ``reset``: breaks streams off instead."""

    body: bytes = b"ok"
    reset: bool = False
    requests: list[dict[str, str]] = field(default_factory=list)
    port: int = 0

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        connection.initiate_connection()
        with suppress(OSError):
            writer.write(connection.data_to_send())
            while data := await reader.read(65_536):
                for event in connection.receive_data(data):
                    if isinstance(event, h2.events.RequestReceived):
                        self.requests.append({name.decode(): value.decode() for name, value in event.headers})
                        self._answer(connection, event.stream_id)
                writer.write(connection.data_to_send())
                await writer.drain()
        writer.close()

    def _answer(self, connection: h2.connection.H2Connection, stream: int) -> None:
        if self.reset:
            connection.reset_stream(stream, h2.errors.ErrorCodes.PROTOCOL_ERROR)
            return
        connection.send_headers(stream, [(":status", "200"), ("content-length", str(len(self.body)))])
        connection.send_data(stream, self.body, end_stream=True)


@asynccontextmanager
async def open_http2_server(tls: ssl.SSLContext | None) -> AsyncIterator[Http2Server]:
    """A server that speaks HTTP/2 alone, over TLS or (by prior knowledge) without."""
    h2_server = Http2Server()
    if tls is not None:
        tls.set_alpn_protocols(["h2"])
    server = await asyncio.start_server(h2_server.accept, "127.0.0.1", 0, ssl=tls)
    h2_server.port = server.sockets[0].getsockname()[1]
    yield h2_server
    server.close()

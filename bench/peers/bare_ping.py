"""Peer of the API's pings: a bare aiohttp handler that produces to Kafka, and checks, counts and limits nothing.

It is the bound: what aiohttp, the producer and the broker take by themselves. Run as
``python -m bench.peers.bare_ping SERVERS TOPIC``; it prints its address.
"""

import asyncio
import socket
import sys

import uvloop
from aiohttp import web

from everwatch.core.config import load_settings
from everwatch.kafka.acknowledging import AcknowledgingProducer
from everwatch.kafka.clients import new_producer


async def _serve(servers: str, topic: str) -> None:
    settings = load_settings()
    producer = AcknowledgingProducer(lambda: new_producer(settings, servers, **{"linger.ms": 5}))

    async def ping(request: web.Request) -> web.Response:
        await producer.send(topic, request.match_info["key"].encode(), b'{"ping":1}')
        return web.Response(body=b"OK")

    app = web.Application()
    app.router.add_get("/ping/{key}/{slug}", ping)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    await web.SockSite(runner, sock, backlog=1024).start()
    sys.stdout.write(f"API: http://127.0.0.1:{sock.getsockname()[1]}\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(_serve(*sys.argv[1:]))

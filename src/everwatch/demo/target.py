"""A small local HTTP server for demo monitors to check. ``python -m everwatch.demo.target PORT``

``/ok/…`` answers 200 and ``/broken/…`` 500; anything else 404. It stops when its stdin ends.
"""

import asyncio
import sys

import uvloop
from aiohttp import web


async def serve(port: int) -> None:
    """Serve on 127.0.0.1 until stdin ends."""
    app = web.Application()
    app.router.add_get("/ok/{user}", _ok)
    app.router.add_get("/broken/{user}", _broken)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, backlog=4096).start()
    await asyncio.to_thread(sys.stdin.buffer.read)
    await runner.cleanup()


async def _ok(_: web.Request) -> web.Response:
    return web.Response(text="all is well")


async def _broken(_: web.Request) -> web.Response:
    return web.Response(status=500, text="broken on purpose")


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))

"""Targets of demo monitors: local servers for HTTP, webhooks, TLS and DNS.

``python -m everwatch.demo.target WEB TLS DNS FOLDER``, three ports and the folder of the certificates. HTTP: ``/ok/…``
answers 200, ``/broken/…`` 500, ``/hooks`` takes webhooks that are signed with the right secret; anything else is 404.
It stops when its stdin ends.
"""

import asyncio
import ssl
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import uvloop
from aiohttp import web
from standardwebhooks import Webhook, WebhookVerificationError

from everwatch.demo.certificates import HEALTHY_NAME, files_in
from everwatch.demo.name_server import NameServer
from everwatch.demo.ports import HOST, DemoPorts

HOOK_SECRET = "whsec_c2VjcmV0LW9mLXRoZS1kZW1vLXJlY2VpdmVy"  # noqa: S105  (for a receiver that only the demo talks to)
# addresses that no host has (RFC 5737)
RIGHT_ADDRESS, WRONG_ADDRESS = "192.0.2.10", "192.0.2.66"
ADDRESSES = {"shop.demo.example": RIGHT_ADDRESS, "hijacked.demo.example": WRONG_ADDRESS}


@asynccontextmanager
async def open_target(ports: DemoPorts, folder: Path) -> AsyncIterator[None]:
    """Serve on the loopback address, with the certificates in ``folder``."""
    app = web.Application()
    app.router.add_get("/ok/{page}", _ok)
    app.router.add_get("/broken/{page}", _broken)
    app.router.add_post("/hooks", _take_webhook)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, HOST, ports.web, backlog=4096).start()
    tls = await asyncio.start_server(_shake_hands, HOST, ports.tls, ssl=tls_by_name(folder))
    names, _ = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: NameServer(ADDRESSES), local_addr=(HOST, ports.dns)
    )
    try:
        yield
    finally:
        names.close()
        tls.close()
        await runner.cleanup()


async def serve(ports: DemoPorts, folder: Path) -> None:
    """Serve until stdin ends."""
    async with open_target(ports, folder):
        await asyncio.to_thread(sys.stdin.buffer.read)


def tls_by_name(folder: Path) -> ssl.SSLContext:
    """A server's context that shows the certificate of the name that it is asked for (SNI)."""
    contexts = {}
    for name, file in files_in(folder).servers.items():
        contexts[name] = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        contexts[name].load_cert_chain(file)

    def choose(session: ssl.SSLObject | ssl.SSLSocket, name: str | None, _: ssl.SSLContext) -> None:
        session.context = contexts.get(name or "", contexts[HEALTHY_NAME])

    contexts[HEALTHY_NAME].sni_callback = choose
    return contexts[HEALTHY_NAME]


async def _ok(_: web.Request) -> web.Response:
    return web.Response(text="all is well")


async def _broken(_: web.Request) -> web.Response:
    return web.Response(status=500, text="broken on purpose")


async def _take_webhook(request: web.Request) -> web.Response:
    try:
        Webhook(HOOK_SECRET).verify(await request.read(), dict(request.headers))
    except WebhookVerificationError:
        return web.Response(status=401, text="not signed with the secret that is known here")
    return web.Response(status=204)


async def _shake_hands(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()
    writer.close()


if __name__ == "__main__":
    web_port, tls_port, dns_port = map(int, sys.argv[1:4])
    uvloop.run(serve(DemoPorts(web_port, 0, tls_port, dns_port), Path(sys.argv[4])))

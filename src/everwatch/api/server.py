"""The HTTP server: aiohttp with the routes, and what keeps slow clients from holding connections."""

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial

from aiohttp import web

from everwatch import __version__
from everwatch.api import metrics
from everwatch.api.address import BACKLOG
from everwatch.api.bad_requests import logger_of
from everwatch.api.database import has_label
from everwatch.api.edge import EVENT_STREAM, Edge
from everwatch.api.edge_options import DEFAULT_EDGE, EdgeChecks, EdgeOptions
from everwatch.api.openapi import document
from everwatch.api.routes.table import routes, status_pages_of, system_of
from everwatch.api.services import Services
from everwatch.processes.periodic import Periodic

logger = logging.getLogger(__name__)

IDLE_S = 75.0
"""A connection that is not used for this long after a request is closed."""
STOP_S = 5.0
_LOOK_S = 1.0
# bytes of the request line, of one header
_LONGEST_LINE, _LONGEST_FIELD, _MOST_HEADERS = 8_190, 8_190, 64


class Server:
    """Serves the API on a socket. ``wait_for_position``: see ``EdgeChecks``."""

    def __init__(
        self,
        services: Services,
        wait_for_position: Callable[[str, float], Awaitable[None]],
        options: EdgeOptions = DEFAULT_EDGE,
    ) -> None:
        self._edge = edge = Edge(
            services.tokens,
            services.clock,
            services.audit,
            EdgeChecks(
                wait_for_position,
                lambda principal, key, digest: services.used_keys.claim(
                    services.records, services.jobs_topic, principal.user_id, key, digest
                ),
                partial(has_label, services.database),
            ),
            options,
        )
        system = system_of(services)
        self._pages = status_pages_of(services)
        self.routes = routes(services, system, self._pages)
        self.document = document(self.routes, __version__)
        system.describe(self.document)
        self._clock = services.clock
        self._live = services.live
        self._first_request_s = options.first_request_s
        # of connections on which no request has begun yet: since when
        self._silent: dict[object, float] = {}
        self._spoken: set[object] = set()
        app = web.Application(middlewares=[edge.middleware, self._enter], client_max_size=2**62)
        app.on_response_prepare.append(edge.allow_origin)
        for route in self.routes:
            handler = edge.handler_of(route)
            app.router.add_route(route.method, route.path, handler)
            # of a stream there is no head without its events
            if route.method == "GET" and route.has_head and route.media_type != EVENT_STREAM:
                app.router.add_route("HEAD", route.path, handler)
        self._runner = web.AppRunner(
            app,
            access_log=None,
            logger=logger_of(services.clock),
            handle_signals=False,
            keepalive_timeout=IDLE_S,
            shutdown_timeout=STOP_S,
            max_line_size=_LONGEST_LINE,
            max_field_size=_LONGEST_FIELD,
            max_headers=_MOST_HEADERS,
            lingering_time=1.0,
        )
        self._watch: asyncio.Task[None] | None = None

    async def start(self, sock: socket.socket) -> None:
        """Begin to serve on a socket that is bound, and may listen already."""
        await self._runner.setup()
        await web.SockSite(self._runner, sock, backlog=BACKLOG).start()
        looking = Periodic(self._close_silent, _LOOK_S, at_once=False)
        self._watch = asyncio.create_task(looking.run(), name="slow clients")

    @property
    def connections(self) -> set[asyncio.Protocol]:
        """Connections that are open, once it has started."""
        server = self._runner.server
        assert server is not None  # it was set up
        return set(server.connections)

    async def stop(self) -> None:
        """Take no more connections, and let requests end for a few seconds."""
        if self._watch is not None:
            self._watch.cancel()
            with suppress(asyncio.CancelledError):
                await self._watch
        await self._live.stop()
        await self._runner.cleanup()
        await self._edge.finish(STOP_S)

    @web.middleware
    async def _enter(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Note that a connection speaks, and keep to its page where a domain is that of a status page.

        There is neither the API nor the console.
        """
        self._spoken.add(request.protocol)
        if self._pages.hides(request.host, request.path):
            raise web.HTTPNotFound
        return await handler(request)

    async def _close_silent(self) -> None:
        """Close connections that send their first request byte by byte, or none: aiohttp waits for them forever."""
        now_s = self._clock.monotonic_s()
        connections = self.connections
        self._spoken &= connections
        self._silent = {each: self._silent.get(each, now_s) for each in connections - self._spoken}
        for each, since_s in self._silent.items():
            if now_s - since_s >= self._first_request_s:
                metrics.SLOW_CLIENTS.inc()
                each.force_close()  # type: ignore[attr-defined]  # a web.RequestHandler

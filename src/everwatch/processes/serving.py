"""The HTTP server of a process: ``/metrics``, ``/healthz`` and ``/readyz``, in threads of their own.

It is the standard library's server and not one on the event loop: it must answer, and say why, while the loop hangs,
and a scrape of thousands of series must not delay ticks.
"""

import logging
import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from socketserver import TCPServer, ThreadingMixIn
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

import orjson
from prometheus_client import REGISTRY, CollectorRegistry, make_wsgi_app

from everwatch.core.config import Settings
from everwatch.core.errors import SettingsError
from everwatch.processes.health import Health, Report

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

logger = logging.getLogger(__name__)

MOST_REQUESTS = 16
"""Requests answered at once; further connections are closed."""
_REQUEST_WITHIN_S = 10.0


@contextmanager
def serve_health(settings: Settings, health: Health, registry: CollectorRegistry = REGISTRY) -> Iterator[int]:
    """Serve metrics and health of this process where the settings say; see ``serve``."""
    with serve(settings, application(make_wsgi_app(registry), {"/healthz": health.alive, "/readyz": health.ready})) as (
        port
    ):
        yield port


@contextmanager
def serve(settings: Settings, app: "WSGIApplication") -> Iterator[int]:
    """Serve ``app`` on the metrics port and on the Unix socket of the settings; gives the port, 0 for none.

    Raises SettingsError if the port is taken, the address is not one of this machine or the socket cannot be made.
    """
    port = 0
    with ExitStack() as opened:
        if settings.metrics_socket is not None:
            opened.enter_context(_running(_on_socket(settings.metrics_socket, app)))
        if settings.metrics_port != 0:
            port = opened.enter_context(_running(_on_port(settings, app))).server_port
        yield port


def _on_port(settings: Settings, app: "WSGIApplication") -> "_Server":
    host, port = settings.metrics_host, settings.metrics_port
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        return _Server(found[0][0], found[0][4], app)
    except OSError as error:
        raise SettingsError(
            f"Metrics cannot be served on {host}:{port} ({error.strerror}): set EVERWATCH_METRICS_PORT to a free port,"
            " or to 0 for none."
        ) from None


def _on_socket(path: Path, app: "WSGIApplication") -> "_Server":
    try:
        # left by a process that was killed
        path.unlink(missing_ok=True)
        server = _Server(socket.AF_UNIX, str(path), app)
        path.chmod(0o600)
        return server
    except OSError as error:
        raise SettingsError(
            f"Metrics cannot be served on the socket {path} ({error.strerror or error}): set"
            " EVERWATCH_METRICS_SOCKET to a short path in a folder that this user may write to, or to nothing."
        ) from None


@contextmanager
def _running(server: "_Server") -> Iterator["_Server"]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, name="metrics", daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


def application(metrics: "WSGIApplication", probes: Mapping[str, Callable[[], Report]]) -> "WSGIApplication":
    """Return the WSGI application that answers ``/metrics`` and the probes, by path."""

    def answer(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            return _json(start_response, "405 Method Not Allowed", {"error": "only GET and HEAD are answered"})
        if path == "/metrics":
            return metrics(environ, start_response)
        if path in probes:
            report = probes[path]()
            return _json(start_response, "200 OK" if report.ok else "503 Service Unavailable", report.body)
        return _json(start_response, "404 Not Found", {"error": "there are /metrics, /healthz and /readyz"})

    return answer


def _json(start_response: "StartResponse", status: str, body: object) -> Iterable[bytes]:
    data = orjson.dumps(body, option=orjson.OPT_APPEND_NEWLINE)
    headers = [("Content-Type", "application/json"), ("Content-Length", str(len(data))), ("Cache-Control", "no-store")]
    start_response(status, headers)
    return [data]


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    # stopping waits for no client
    block_on_close = False
    request_queue_size = MOST_REQUESTS

    def __init__(self, family: int, address: Any, app: "WSGIApplication") -> None:
        self.address_family = family
        self._room = threading.BoundedSemaphore(MOST_REQUESTS)
        super().__init__(address, _Handler)
        self.set_app(app)

    def server_bind(self) -> None:
        # the library's looks the host's name up, which takes seconds where no name server answers
        TCPServer.server_bind(self)
        is_unix = self.address_family == socket.AF_UNIX
        host, self.server_port = ("localhost", 0) if is_unix else self.server_address[:2]
        self.server_name = str(host)
        self.setup_environ()

    def get_request(self) -> tuple[Any, Any]:
        # the library's handler wants a client's host, which one of a Unix socket has not
        connection, address = super().get_request()
        return connection, address or ("localhost", 0)

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._room.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - the library calls it so
        # a client that goes away, as a rule
        logger.debug("a request for metrics or health failed", exc_info=True)


class _Handler(WSGIRequestHandler):
    timeout = _REQUEST_WITHIN_S

    def log_message(self, format: str, *args: Any) -> None:
        logger.debug(format, *args)

"""The address that the API listens on."""

import errno
import socket

from everwatch.core.config import Settings
from everwatch.core.errors import SettingsError

BACKLOG = 1_024
UNREAD_MS = 30_000
"""A connection whose client takes nothing of an answer for this long is closed by the kernel (Linux)."""
LOOPBACK = ("127.0.0.1", "::1")


def bound_socket(settings: Settings, *, or_free: bool = False, unread_ms: int = UNREAD_MS) -> socket.socket:
    """Return a socket that listens as the settings say; with ``or_free`` on another port if that one is taken.

    Raises SettingsError.
    """
    host, port = settings.api_host, settings.api_port
    try:
        try:
            return _bound(host, port, unread_ms)
        except OSError as error:
            if not (or_free and error.errno == errno.EADDRINUSE):
                raise
            return _bound(host, 0, unread_ms)
    except (OSError, TypeError) as error:  # TypeError: of a name that cannot be encoded as a host's
        reason = error.strerror if isinstance(error, OSError) else "no name of a host"
        raise SettingsError(
            f"The API cannot listen on {host}:{port} ({reason}): set EVERWATCH_API_HOST and EVERWATCH_API_PORT"
            " (0: a free port), or give --host and --port."
        ) from None


def address_of(sock: socket.socket) -> str:
    """Return the URL of a bound socket."""
    host, port, *_ = sock.getsockname()
    return url_of(host, port)


def url_of(host: str, port: int) -> str:
    """Return the URL of a host and port."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def is_loopback(sock: socket.socket) -> bool:
    """Tell whether only this machine reaches a bound socket."""
    return sock.getsockname()[0] in LOOPBACK


def _bound(host: str, port: int, unread_ms: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        # after a restart connections of the process before may still be closing
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # connections inherit it; a server that waits for a client to read would wait forever
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, unread_ms)
        sock.bind((host, port))
        # at once: until one of them listens, two sockets may be bound to one port
        sock.listen(BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock

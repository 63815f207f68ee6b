"""Cross-origin requests (CORS): which pages of other origins may read answers."""

from collections.abc import Mapping

from aiohttp import web

_READABLE = "ETag, Everwatch-Position, Link, Location, RateLimit, RateLimit-Policy, Retry-After, X-Request-Id"
_SENDABLE = (
    "Authorization, Content-Type, Everwatch-After, Idempotency-Key, If-Match, If-None-Match, Last-Event-ID, Prefer,"
    " X-Request-Id"
)


class Origins:
    """The origins whose pages may read answers."""

    def __init__(self, origins: frozenset[str]) -> None:
        self._origins = origins

    def allow(self, request: web.Request, response: web.StreamResponse) -> None:
        """Add the headers that let a page of one of these origins read a response."""
        origin = request.headers.get("Origin")
        if origin is not None and origin in self._origins:
            response.headers["Access-Control-Allow-Origin"] = origin
            response.headers["Access-Control-Expose-Headers"] = _READABLE
            response.headers["Cross-Origin-Resource-Policy"] = "cross-origin"
            response.headers["Vary"] = ", ".join(filter(None, (response.headers.get("Vary"), "Origin")))

    def is_preflight(self, request: web.Request) -> bool:
        """Tell whether a request asks for one of these origins what a page may send."""
        return request.method == "OPTIONS" and request.headers.get("Origin") in self._origins


def preflight_headers(error: web.HTTPMethodNotAllowed) -> Mapping[str, str]:
    """Return the headers that answer a preflight request to a path that takes the methods of ``error``."""
    return {
        "Access-Control-Allow-Methods": ", ".join(sorted(error.allowed_methods)),
        "Access-Control-Allow-Headers": _SENDABLE,
        "Access-Control-Max-Age": "600",
    }

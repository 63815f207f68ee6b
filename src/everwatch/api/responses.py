"""Responses: the headers of all of them, and problem documents."""

from collections.abc import Mapping

import msgspec
from aiohttp import web

from everwatch.api.problems import MEDIA_TYPE, Problem

NO_HEADERS: Mapping[str, str] = {}
SECURITY_HEADERS = {
    "Server": "everwatch",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def problem_response(problem: Problem, request_id: str, allowed: Mapping[str, str] = NO_HEADERS) -> web.Response:
    """Return the response that a problem is sent as. ``allowed``: headers of the token's rate limit."""
    headers = {
        **SECURITY_HEADERS,
        **allowed,
        **problem.headers,
        "X-Request-Id": request_id,
        "Content-Type": MEDIA_TYPE,
    }
    return web.Response(body=msgspec.json.encode(problem.document(request_id)), status=problem.status, headers=headers)


def is_among(tag: str, given: str) -> bool:
    """Tell whether an If-None-Match names this tag; weak comparison (RFC 9110, 8.8.3.2)."""
    if not given:
        return False
    return any(each.strip().removeprefix("W/") in (tag, "*") for each in given.split(","))

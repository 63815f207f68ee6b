"""Ids of requests: in answers, problems and the log."""

import re
import secrets
from itertools import count

from aiohttp import web

_ID_OF = web.RequestKey("request_id", str)
# new ones are of this process, and numbered: random ones would cost a call of the kernel for each request
_OF_PROCESS, _numbers = secrets.token_hex(5), count(1)
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}\Z")


def request_id_of(request: web.Request) -> str:
    """Return the request's id: the one that it brings, if that is a plain one, else a new one."""
    known = request.get(_ID_OF)
    if known is None:
        given = request.headers.get("X-Request-Id", "")
        known = request[_ID_OF] = given if _REQUEST_ID.match(given) else f"{_OF_PROCESS}{next(_numbers):06x}"
    return known

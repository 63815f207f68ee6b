"""The console over HTTP: its files, with headers that let its page load nothing of others and run nothing inline."""

import re

from everwatch.api.problems import Problem
from everwatch.api.routing import Answer, Call
from everwatch.console.files import ConsoleFiles

CONSOLE = "/console/"
PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self';"
    " img-src 'self' data:; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "X-Frame-Options": "DENY",
}
# what keeps its name when it changes is asked for each time; what has its version in its address never again
_CACHED = "no-cache"
_LASTING = "public, max-age=31536000, immutable"
_NO_GZIP = re.compile(r"q=0(\.0*)?\Z")


class ConsoleRoutes:
    """Handlers of ``/console/``."""

    def __init__(self, files: ConsoleFiles) -> None:
        self._files = files

    async def file(self, call: Call) -> Answer:
        """A file of the console, or its page."""
        found = self._files.find(call.path["path"])
        if found is None:
            raise Problem(404, "no_console", "There is no such file of the console: /openapi.json lists all there is.")
        cached = _LASTING if found.lasts else _CACHED
        headers = {**PAGE_HEADERS, "Cache-Control": cached, "ETag": f'"{found.digest}"', "Vary": "Accept-Encoding"}
        if found.packed is not None and takes_gzip(call.headers.get("Accept-Encoding", "")):
            headers |= {"ETag": f'"{found.digest}-gzip"', "Content-Encoding": "gzip"}
            return Answer(found.packed, headers=headers, media_type=found.content_type)
        return Answer(found.content, headers=headers, media_type=found.content_type)

    async def enter(self, _: Call) -> Answer:
        """Go to the console."""
        return Answer(None, 308, {"Location": CONSOLE, "Cache-Control": "no-store"})


def takes_gzip(accepted: str) -> bool:
    """Tell whether an Accept-Encoding names gzip (RFC 9110, 12.5.3)."""
    for each in accepted.split(","):
        coding, _, weight = each.partition(";")
        if coding.strip().lower() in ("gzip", "x-gzip"):
            return _NO_GZIP.search(weight.replace(" ", "").lower()) is None
    return False

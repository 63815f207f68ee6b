"""Status pages: the states of a user's monitors now and before, for readers who have the page's key and no token."""

import asyncio
import hashlib
from collections import OrderedDict
from typing import NamedTuple

import msgspec

from everwatch.api.console_routes import PAGE_HEADERS
from everwatch.api.database import Database
from everwatch.api.pinging import PingKeys
from everwatch.api.problems import Problem, not_found, unavailable
from everwatch.api.routing import Answer, Call
from everwatch.api.status_drawing import STYLE_SOURCE, feed_of, page_of
from everwatch.api.status_facts import status_facts
from everwatch.core.clock import Clock
from everwatch.core.errors import EverwatchError
from everwatch.store import Reader

HTML, ATOM = "text/html; charset=utf-8", "application/atom+xml; charset=utf-8"
KEPT_S = 30
"""Seconds for which a page is kept, here and in caches in front of the API."""
MOST_KEPT = 500
_POLICY = f"default-src 'none'; style-src {STYLE_SOURCE}; form-action 'none'; frame-ancestors 'none'; base-uri 'none'"
_HEADERS = {"Cache-Control": f"public, max-age={KEPT_S}", "Referrer-Policy": "no-referrer"}
_PAGE_HEADERS = {**PAGE_HEADERS, **_HEADERS, "Content-Security-Policy": _POLICY}
_UNKNOWN = "There is no such status page: the key was never made, or not by this Everwatch, or its user has gone."


class StatusPageView(msgspec.Struct, frozen=True):
    """Addresses of a user's status page and its feed."""

    key: str
    html: str
    atom: str


class _Drawn(NamedTuple):
    until_s: float
    html: bytes
    atom: bytes


class StatusPages:
    """Handlers of status pages. Each page is drawn once in ``KEPT_S``, in a database thread, for all its visitors."""

    def __init__(self, database: Database, keys: PingKeys, clock: Clock) -> None:
        self._database = database
        self._keys = keys
        self._clock = clock
        # by key, and not by user: a page names its own address, which other keys of the user must not reveal
        self._kept: OrderedDict[str, _Drawn] = OrderedDict()
        self._drawing: dict[str, asyncio.Task[_Drawn]] = {}

    async def key(self, call: Call) -> Answer:
        user_id = call.path["user_id"]
        if await self._database.ask(lambda reader: reader.user(user_id)) is None:
            raise not_found(f"user {user_id!r}")
        try:
            key = self._keys.status_key_of(user_id)
        except EverwatchError:
            raise unavailable("no_ping_secret", "This process does not know the secret of keys yet.") from None
        return Answer(StatusPageView(key, f"/status/{key}", f"/status/{key}.atom"))

    async def html(self, call: Call) -> Answer:
        return Answer((await self._shown(call.path["key"])).html, headers=_PAGE_HEADERS, media_type=HTML)

    async def atom(self, call: Call) -> Answer:
        return Answer((await self._shown(call.path["key"])).atom, headers=_HEADERS, media_type=ATOM)

    async def _shown(self, key: str) -> _Drawn:
        user_id = self._keys.status_of(key)
        if user_id is None:
            raise Problem(404, "not_found", _UNKNOWN)
        kept = self._kept.get(key)
        if kept is not None and kept.until_s > self._clock.monotonic_s():
            return kept
        drawing = self._drawing.get(key)
        if drawing is None:
            drawing = self._drawing[key] = asyncio.create_task(self._draw(user_id, key), name="status page")
            drawing.add_done_callback(lambda task: self._keep(key, task))
        # a visitor that leaves does not take the page from the others
        return await asyncio.shield(drawing)

    async def _draw(self, user_id: str, key: str) -> _Drawn:
        now, until_s = self._clock.now_ms(), self._clock.monotonic_s() + KEPT_S

        def draw(reader: Reader) -> _Drawn | None:
            facts = status_facts(reader, user_id, now)
            if facts is None:
                return None
            return _Drawn(until_s, page_of(facts, f"/status/{key}.atom"), feed_of(facts, _name_of(key)))

        drawn = await self._database.ask(draw)
        if drawn is None:
            raise Problem(404, "not_found", _UNKNOWN)
        return drawn

    def _keep(self, key: str, task: asyncio.Task[_Drawn]) -> None:
        del self._drawing[key]
        self._kept.pop(key, None)
        if task.cancelled() or task.exception() is not None:
            return
        self._kept[key] = task.result()
        while len(self._kept) > MOST_KEPT:
            self._kept.popitem(last=False)


def _name_of(key: str) -> str:
    """Return a name for the page in its feed, from which the key cannot be found."""
    return hashlib.sha256(key.encode()).hexdigest()[:16]

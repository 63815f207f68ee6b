"""Status pages: whoever has the key of a user's page sees how its monitors are and were, without a token or script."""

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

HTML, ATOM = "text/html; charset=utf-8", "application/atom+xml; charset=utf-8"
KEPT_S = 30
"""For so many seconds a page is shown as it is, here and wherever it is cached."""
MOST_KEPT = 500
_POLICY = f"default-src 'none'; style-src {STYLE_SOURCE}; form-action 'none'; frame-ancestors 'none'; base-uri 'none'"
_HEADERS = {"Cache-Control": f"public, max-age={KEPT_S}", "Referrer-Policy": "no-referrer"}
_PAGE_HEADERS = {**PAGE_HEADERS, **_HEADERS, "Content-Security-Policy": _POLICY}
_UNKNOWN = "There is no such status page: the key was never made, or not by this Everwatch, or its user has gone."


class StatusPageView(msgspec.Struct, frozen=True):
    """Where a user's status page and its feed are."""

    key: str
    html: str
    atom: str


class _Drawn(NamedTuple):
    until_s: float
    html: bytes
    atom: bytes


class StatusPages:
    """Handlers of status pages. What was shown is kept for half a minute: many visitors cost one question."""

    def __init__(self, database: Database, keys: PingKeys, clock: Clock) -> None:
        self._database = database
        self._keys = keys
        self._clock = clock
        self._kept: OrderedDict[str, _Drawn] = OrderedDict()

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
        kept = self._kept.get(user_id)
        if kept is not None and kept.until_s > self._clock.monotonic_s():
            return kept
        now = self._clock.now_ms()
        found = await self._database.ask(lambda reader: status_facts(reader, user_id, now))
        if found is None:
            self._kept.pop(user_id, None)
            raise Problem(404, "not_found", _UNKNOWN)
        kept = _Drawn(
            self._clock.monotonic_s() + KEPT_S,
            page_of(found, f"/status/{key}.atom"),
            feed_of(found, _name_of(key)),
        )
        self._kept[user_id] = kept
        self._kept.move_to_end(user_id)
        while len(self._kept) > MOST_KEPT:
            self._kept.popitem(last=False)
        return kept


def _name_of(key: str) -> str:
    """What tells a page from others in its feed, without giving its key away."""
    return hashlib.sha256(key.encode()).hexdigest()[:16]

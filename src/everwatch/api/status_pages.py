"""Status pages: the states of a user's monitors now and before, for readers who have the page's key and no token."""

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

from everwatch.api.address_views import OperatorPages, OperatorPageView, StatusPageView
from everwatch.api.badge_drawing import ANYWHERE, SVG
from everwatch.api.console_routes import CONSOLE, PAGE_HEADERS
from everwatch.api.database import Database
from everwatch.api.permissions import NOBODY, Permission, Principal, Reach, Scope
from everwatch.api.pinging import PingKeys
from everwatch.api.problems import Problem, not_found, unavailable
from everwatch.api.routing import Answer, Call
from everwatch.api.status_drawing import HTML, STYLE_SOURCE, badge_of, feed_of, page_of
from everwatch.api.status_facts import StatusFacts, operator_facts, status_facts
from everwatch.api.subscribing import SUBSCRIBE, SUBSCRIPTION
from everwatch.core.clock import Clock
from everwatch.core.errors import EverwatchError
from everwatch.notifier.page_access import PageAccess
from everwatch.notifier.status_file import OperatorPage, StatusPagesFile
from everwatch.store import Reader

ATOM = "application/atom+xml; charset=utf-8"
KEPT_S = 30
"""Seconds for which a page is kept, here and in caches in front of the API."""
MOST_KEPT = 500
ROOT_FEED, ROOT_BADGE = "/feed.atom", "/badge.svg"
ROOT_PATHS = frozenset({"/", ROOT_FEED, ROOT_BADGE, SUBSCRIBE, "/healthz"})
"""Paths that the domain of an operators' page has."""
FactsOf = Callable[[Reader, int], StatusFacts | None]
_POLICY = (
    f"default-src 'none'; style-src {STYLE_SOURCE}; img-src data:; form-action 'self'; frame-ancestors 'none';"
    " base-uri 'none'"
)
_HEADERS = {"Cache-Control": f"public, max-age={KEPT_S}", "Referrer-Policy": "no-referrer"}
_PRIVATE = {"Cache-Control": f"private, max-age={KEPT_S}", "Vary": "Authorization, Cookie"}
_READ_ONE, _READ_ALL = Permission(Scope.READ, Reach.USER), Permission(Scope.READ, Reach.WHOLE)
_PAGE_HEADERS = {**PAGE_HEADERS, **_HEADERS, "Content-Security-Policy": _POLICY}
_UNKNOWN = "There is no such status page: the key was never made, or not by this Everwatch, or its user has gone."


class _Drawn(NamedTuple):
    until_s: float
    html: bytes
    atom: bytes
    badge: bytes
    access: PageAccess
    # the one user whose monitors it shows; "" for several
    user_id: str


class StatusPages:
    """Handlers of status pages. Each page is drawn once in ``KEPT_S``, in a database thread, for all its visitors."""

    def __init__(self, database: Database, keys: PingKeys, pages: StatusPagesFile, clock: Clock) -> None:
        self._database = database
        self._pages = pages
        self._keys = keys
        self._clock = clock
        # by key, and not by user: a page names its own address, which other keys of the user must not reveal
        self._kept: OrderedDict[str, _Drawn] = OrderedDict()
        self._drawing: dict[str, asyncio.Task[_Drawn]] = {}

    async def key(self, call: Call) -> Answer:
        """Show the URLs of a user's status page, feed and badge, which show its monitors without a token."""
        user_id = call.path["user_id"]
        if await self._database.ask(lambda reader: reader.user(user_id)) is None:
            raise not_found(f"user {user_id!r}")
        try:
            key = self._keys.status_key_of(user_id)
        except EverwatchError:
            raise unavailable("no_ping_secret", "This process does not know the secret of keys yet.") from None
        return Answer(StatusPageView(key, *_addresses(key)))

    async def list(self, _: Call) -> Answer:
        """List the status pages of operators."""
        return Answer(OperatorPages([self._listed(each) for each in self._pages.current.values()]))

    def _listed(self, page: OperatorPage) -> OperatorPageView:
        key = page.slug
        if page.access is PageAccess.LINK:
            key = "" if self._keys.is_empty else self._keys.page_key_of(page.slug)
        html, atom, badge = _addresses(key) if key else ("", "", "")
        return OperatorPageView(page.slug, page.title, page.domain, html, atom, page.access, badge)

    async def html(self, call: Call) -> Answer:
        """A user's status page by its key, or one of operators by its slug or its key."""
        key = call.path["key"]
        drawn = await self._shown(key)
        if drawn.access is not PageAccess.SIGNED_IN:
            return Answer(drawn.html, headers=_PAGE_HEADERS, media_type=HTML)
        if call.principal is NOBODY:
            return Answer(None, 303, {"Location": f"{CONSOLE}login?to=/status/{key}", "Cache-Control": "no-store"})
        _check_reader(call.principal, drawn)
        return Answer(drawn.html, headers=_PAGE_HEADERS | _PRIVATE, media_type=HTML)

    async def atom(self, call: Call) -> Answer:
        """The outages of a status page as a feed."""
        drawn = await self._shown(call.path["key"])
        return Answer(drawn.atom, headers=_headers_for(call.principal, drawn), media_type=ATOM)

    async def badge(self, call: Call) -> Answer:
        """A badge of a status page: its title, and how many of its monitors are down."""
        drawn = await self._shown(call.path["key"])
        return Answer(drawn.badge, headers=_headers_for(call.principal, drawn) | ANYWHERE, media_type=SVG)

    async def root(self, call: Call) -> Answer:
        """Show the page of the request's host; where there is none, lead to the console."""
        page = self._pages.at(call.headers.get("Host", ""))
        if page is None:
            return Answer(None, 308, {"Location": CONSOLE, "Cache-Control": "no-store"})
        drawn = await self._shown(page.slug, is_root=True)
        return Answer(drawn.html, headers={**_PAGE_HEADERS, "Vary": "Host"}, media_type=HTML)

    async def root_atom(self, call: Call) -> Answer:
        """Show the feed of the page of the request's host."""
        drawn = await self._at_root(call)
        return Answer(drawn.atom, headers={**_HEADERS, "Vary": "Host"}, media_type=ATOM)

    async def root_badge(self, call: Call) -> Answer:
        """Show the badge of the page of the request's host."""
        drawn = await self._at_root(call)
        return Answer(drawn.badge, headers={**_HEADERS, **ANYWHERE, "Vary": "Host"}, media_type=SVG)

    async def _at_root(self, call: Call) -> _Drawn:
        page = self._pages.at(call.headers.get("Host", ""))
        if page is None:
            raise Problem(404, "no_such_path", "There is no such path: /openapi.json lists all there are.")
        return await self._shown(page.slug, is_root=True)

    def hides(self, host: str, path: str) -> bool:
        """Tell whether a host has a page and nothing else: the API and the console are not at its address."""
        is_here = path in ROOT_PATHS or path.startswith(SUBSCRIPTION)
        return not is_here and self._pages.at(host) is not None

    async def _shown(self, key: str, *, is_root: bool = False) -> _Drawn:
        page = self._page_of(key)
        if page is not None:
            name = _page_name(page.slug)
            feed = ROOT_FEED if is_root else f"/status/{key}.atom"
            return await self._drawn(f"{feed} {key}", lambda reader, now: operator_facts(reader, page, now), feed, name)
        user_id = self._keys.status_of(key)
        if user_id is None:
            raise Problem(404, "not_found", _UNKNOWN)
        return await self._drawn(
            key, lambda reader, now: status_facts(reader, user_id, now), f"/status/{key}.atom", _name_of(key)
        )

    def _page_of(self, key: str) -> OperatorPage | None:
        """The page of operators at an address: by its slug, or by the key that its link has in place of that."""
        # a slug has no dot, and a key has one
        page = self._pages.current.get(key)
        if page is not None:
            return page if page.access is not PageAccess.LINK else None
        page = self._pages.current.get(self._keys.page_of(key) or "")
        return page if page is not None and page.access is PageAccess.LINK else None

    async def _drawn(self, key: str, facts_of: FactsOf, feed: str, name: str) -> _Drawn:
        kept = self._kept.get(key)
        if kept is not None and kept.until_s > self._clock.monotonic_s():
            return kept
        drawing = self._drawing.get(key)
        if drawing is None:
            drawing = self._drawing[key] = asyncio.create_task(self._draw(facts_of, feed, name), name="status page")
            drawing.add_done_callback(lambda task: self._keep(key, task))
        # a visitor that leaves does not take the page from the others
        return await asyncio.shield(drawing)

    async def _draw(self, facts_of: FactsOf, feed: str, name: str) -> _Drawn:
        now, until_s = self._clock.now_ms(), self._clock.monotonic_s() + KEPT_S

        def draw(reader: Reader) -> _Drawn | None:
            facts = facts_of(reader, now)
            if facts is None:
                return None
            page, atom, badge = page_of(facts, feed), feed_of(facts, name), badge_of(facts)
            return _Drawn(until_s, page, atom, badge, facts.access, facts.user_id)

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


def _addresses(key: str) -> tuple[str, str, str]:
    """Return where the page of a key, its feed and its badge are."""
    return f"/status/{key}", f"/status/{key}.atom", f"/status/{key}.svg"


def _headers_for(principal: Principal, drawn: _Drawn) -> dict[str, str]:
    """Return the headers of a page's feed or badge. Raises Problem if the caller may not read the page."""
    if drawn.access is not PageAccess.SIGNED_IN:
        return _HEADERS
    if principal is NOBODY:
        raise Problem(
            401,
            "unauthorized",
            "Feed and badge of this page take a token: send it as 'Authorization: Bearer TOKEN'.",
            headers={"WWW-Authenticate": 'Bearer realm="everwatch"'},
        )
    _check_reader(principal, drawn)
    return _HEADERS | _PRIVATE


def _check_reader(principal: Principal, drawn: _Drawn) -> None:
    """Raise Problem unless the signed-in caller may read a page."""
    if objection := principal.objection(_READ_ONE if drawn.user_id else _READ_ALL, drawn.user_id):
        raise Problem(403, "forbidden", f"You are signed in, but may not read this page: {objection}.")


def _page_name(slug: str) -> str:
    """Return a name for an operators' page in its feed; it need not be secret."""
    return f"page:{slug}"


def _name_of(key: str) -> str:
    """Return a name for the page in its feed, from which the key cannot be found."""
    return hashlib.sha256(key.encode()).hexdigest()[:16]

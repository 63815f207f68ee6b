"""Logging in to the console: by a one-time link or by a token, and out again.

The session is a token of its own on the topic ``access``, which only the cookie holds: any process accepts it, also
after a restart, and it ends when it is revoked, when the token that it was made of is, or after twelve hours.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Annotated

import msgspec
from msgspec import Meta
from msgspec.structs import replace

from everwatch import __version__
from everwatch.api.console_routes import CONSOLE
from everwatch.api.cookies import session_cookie
from everwatch.api.logins import Logins, new_claim
from everwatch.api.permissions import SCOPES_OF, Principal, Role, Scope
from everwatch.api.problems import Problem, unavailable
from everwatch.api.routing import Answer, AuditedChange, Call, Route
from everwatch.api.token_routes import RecordSender
from everwatch.api.tokens import AccessRecord, Tokens, encoded, key_of, new_session
from everwatch.core.clock import Clock
from everwatch.encoding.input_models import NO_HIDDEN

SESSION_MS = 12 * 3_600_000
SEEN_WITHIN_S = 5.0
_LOOK_AGAIN_S = 0.01
# a login tidies up after earlier ones: what has expired, and an hour later for clocks that differ
_MOST_TIDIED, _TIDIED_AFTER_MS = 20, 3_600_000
_REFUSED = f"{CONSOLE}login?error=link"


class LoginQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The code of a one-time link."""

    code: Annotated[str, Meta(max_length=256, pattern=NO_HIDDEN)] = ""


class LoginBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A token to log in with."""

    token: Annotated[str, Meta(min_length=1, max_length=256)]


class MeView(msgspec.Struct, frozen=True):
    """The client. ``user_id``: the one user that it is limited to, "" for all; ``expires_at``: ms, 0 for never.

    ``routes``: what it may ask, each a method and a path as in the OpenAPI document; ``version``: of Everwatch.
    """

    token_id: str
    name: str
    role: Role
    scopes: list[Scope]
    user_id: str
    session: bool
    expires_at: int
    routes: list[str]
    version: str


class LoginRoutes:
    """Handlers of ``/login``, ``/logout`` and ``/v1/me``."""

    def __init__(self, tokens: Tokens, logins: Logins, records: RecordSender, topic: str, clock: Clock) -> None:
        self._tokens = tokens
        self._logins = logins
        self._records = records
        self._topic = topic
        self._clock = clock
        self._routes: Sequence[Route] = ()

    def describe(self, routes: Sequence[Route]) -> None:
        """Tell of these routes."""
        self._routes = routes

    async def by_link(self, call: Call, query: LoginQuery) -> Answer:
        found = self._logins.find(query.code, self._clock.now_ms())
        if found is None:
            return _to(_REFUSED)
        claim = new_claim()
        await self._put(replace(found, claim=claim))
        await self._seen(lambda: bool(self._logins.claim_of(found.login_id)))
        if self._logins.claim_of(found.login_id) != claim:
            return _to(_REFUSED)
        made_for = Principal("", SCOPES_OF[found.role], found.user_id or "", "login link", found.role)
        return _to(CONSOLE, await self._open(call, made_for))._replace(changes=[_login(made_for, 303)])

    async def by_token(self, call: Call, body: LoginBody) -> Answer:
        principal = self._tokens.principal(body.token.strip(), self._clock.now_ms())
        if principal is not None and principal.by_jwt:
            raise Problem(401, "unauthorized", "A JWT begins no session of the console: take a token of the API.")
        if principal is None:
            raise Problem(401, "unauthorized", "The token is not known, was revoked, or has expired.")
        cookie = await self._open(call, principal)
        return Answer(None, 204, {"Set-Cookie": cookie}, changes=[_login(principal, 204)])

    async def logout(self, call: Call) -> Answer:
        record = self._tokens.get(call.principal.token_id)
        if record is not None and record.session:
            await self._records.send(self._topic, key_of(record), None)
            await self._seen(lambda: self._tokens.get(record.token_id) is None)
        return Answer(None, 204, {"Set-Cookie": session_cookie(call.headers, "", 0)})

    async def me(self, call: Call) -> Answer:
        who = call.principal
        # whether a path is of the token's own user is seen when it is asked for
        may = [
            each.name for each in self._routes if each.documented and not who.objection(each.permission, who.user_id)
        ]
        scopes = sorted(who.scopes)
        return Answer(
            MeView(who.token_id, who.name, who.role, scopes, who.user_id, who.session, who.expires_at, may, __version__)
        )

    async def _open(self, call: Call, principal: Principal) -> str:
        """Begin a session with what a principal may do; gives its cookie. Raises BrokerUnavailable, Problem."""
        now = self._clock.now_ms()
        expires_at = min(principal.expires_at or now + SESSION_MS, now + SESSION_MS)
        made = new_session(principal, now, expires_at)
        await self._put(made.record)
        await self._seen(lambda: self._tokens.get(made.record.token_id) is not None)
        await self._tidy(now)
        return session_cookie(call.headers, made.text, (expires_at - now) // 1_000)

    async def _put(self, record: AccessRecord) -> None:
        await self._records.send(self._topic, key_of(record), encoded(record))

    async def _seen(self, is_there: Callable[[], bool]) -> None:
        """Wait until this process has read what it has written. Raises Problem if it does not within seconds."""
        loop = asyncio.get_running_loop()
        end_s = loop.time() + SEEN_WITHIN_S
        while not is_there():
            if loop.time() >= end_s:
                raise unavailable("kafka_unavailable", "This process cannot read the topic of tokens at the moment.")
            await asyncio.sleep(_LOOK_AGAIN_S)

    async def _tidy(self, now: int) -> None:
        """Delete some sessions and codes that are over, so that the topic does not grow with each login."""
        before = now - _TIDIED_AFTER_MS
        over: list[AccessRecord] = [
            each for each in self._tokens.records() if each.session and each.expires_at < before
        ]
        over += [each for each in self._logins.records() if each.expires_at < before]
        await asyncio.gather(*(self._records.send(self._topic, key_of(each), None) for each in over[:_MOST_TIDIED]))


def _login(principal: Principal, status: int) -> AuditedChange:
    """The audit entry of a session that has begun."""
    return AuditedChange("login", principal.user_id, status=status, outcome="done", by=principal)


def _to(place: str, cookie: str = "") -> Answer:
    headers = {"Location": place, "Cache-Control": "no-store"}
    return Answer(None, 303, headers | ({"Set-Cookie": cookie} if cookie else {}), changes=[])

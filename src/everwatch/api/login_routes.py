"""Logging in to the console by a one-time link or by a token, and out again however one logged in."""

from collections.abc import Sequence
from typing import Annotated, NamedTuple

import msgspec
from msgspec import Meta
from msgspec.structs import replace

from everwatch import __version__
from everwatch.api.access_views import MeView
from everwatch.api.console_routes import CONSOLE
from everwatch.api.cookies import session_cookie
from everwatch.api.login_audit import LoginAudit, LoginMethod
from everwatch.api.logins import Logins, new_claim
from everwatch.api.oidc_provider import OIDC, OidcProvider
from everwatch.api.permissions import SCOPES_OF, Principal
from everwatch.api.problems import Problem
from everwatch.api.routing import Answer, Call, Route
from everwatch.api.sessions import Sessions
from everwatch.api.tokens import Tokens
from everwatch.core.clock import Clock
from everwatch.core.config import Settings
from everwatch.encoding.input_models import NO_HIDDEN

_REFUSED = f"{CONSOLE}login?error=link"


class LoginQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The code of a one-time link."""

    code: Annotated[str, Meta(max_length=256, pattern=NO_HIDDEN)] = ""


class LoginBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A token to log in with."""

    token: Annotated[str, Meta(min_length=1, max_length=256)]


class OidcOption(msgspec.Struct, frozen=True):
    """The identity provider: its name, and the address at which a login begins (``?to=`` a page)."""

    name: str
    url: str


class LoginOptions(msgspec.Struct, frozen=True):
    """Ways to log in to the console besides tokens and links. ``password``: there are operators with passwords."""

    password: bool
    oidc: OidcOption | None = None


class LogoutView(msgspec.Struct, frozen=True):
    """``location``: a page of the identity provider that ends the session there too."""

    location: str


class OidcLogin(NamedTuple):
    """The identity provider, and how the console's page offers it; both None where none is configured."""

    provider: OidcProvider | None = None
    option: OidcOption | None = None


class LoginRoutes:
    """Handlers of ``/login``, ``/login/options``, ``/logout`` and ``/v1/me``."""

    def __init__(
        self,
        tokens: Tokens,
        logins: Logins,
        sessions: Sessions,
        audit: LoginAudit,
        oidc: OidcLogin,
        clock: Clock,
    ) -> None:
        self._tokens = tokens
        self._oidc = oidc
        self._logins = logins
        self._sessions = sessions
        self._audit = audit
        self._clock = clock
        self._routes: Sequence[Route] = ()

    def describe(self, routes: Sequence[Route]) -> None:
        """Take all routes of this API."""
        self._routes = routes

    async def options(self, _: Call) -> Answer:
        """Show which ways there are to log in besides tokens and links."""
        shown = LoginOptions(bool(self._tokens.operators), self._oidc.option)
        return Answer(shown, headers={"Cache-Control": "no-store"})

    async def by_link(self, call: Call, query: LoginQuery) -> Answer:
        """Log a browser in by a one-time link."""
        found = self._logins.find(query.code, self._clock.now_ms())
        if found is None:
            return self._refused_link()
        claim = new_claim()
        await self._sessions.put(replace(found, claim=claim))
        await self._sessions.seen(lambda: bool(self._logins.claim_of(found.login_id)))
        if self._logins.claim_of(found.login_id) != claim:
            return self._refused_link()
        made_for = Principal("", SCOPES_OF[found.role], found.user_id or "", "login link", found.role)
        opened = await self._sessions.open(call, made_for)
        changes = self._audit.opened(LoginMethod.LINK, opened.principal, 303)
        return to_page(CONSOLE, [opened.cookie])._replace(changes=changes)

    async def by_token(self, call: Call, body: LoginBody) -> Answer:
        """Log a page of the console in with a token: the answer sets a cookie."""
        principal = self._tokens.principal(body.token.strip(), self._clock.now_ms())
        if principal is not None and principal.by_jwt:
            raise Problem(401, "unauthorized", "A JWT begins no session of the console: take a token of the API.")
        if principal is None:
            raise Problem(
                401,
                "unauthorized",
                "The token is not known, was revoked, or has expired.",
                changes=self._audit.refused(LoginMethod.TOKEN, "unknown_token", 401),
            )
        opened = await self._sessions.open(call, principal)
        changes = self._audit.opened(LoginMethod.TOKEN, principal, 204)
        return Answer(None, 204, {"Set-Cookie": opened.cookie}, changes=changes)

    async def logout(self, call: Call) -> Answer:
        """End the session of the cookie; nothing ends a token but its revocation."""
        record = self._tokens.get(call.principal.token_id)
        if record is not None and record.session:
            await self._sessions.end(record)
        over = {"Set-Cookie": session_cookie(call.headers, "", 0)}
        provider = self._oidc.provider
        if record is not None and record.issuer and provider is not None and (url := provider.logout_url()):
            return Answer(LogoutView(url), 200, over)
        return Answer(None, 204, over)

    async def me(self, call: Call) -> Answer:
        """Show who asks: the role, what it may do, and the user that it is limited to."""
        who = call.principal
        # whether a path is of the token's own user is seen when it is asked for
        may = [
            each.name for each in self._routes if each.documented and not who.objection(each.permission, who.user_id)
        ]
        scopes = sorted(who.scopes)
        return Answer(
            MeView(who.token_id, who.name, who.role, scopes, who.user_id, who.session, who.expires_at, may, __version__)
        )

    def _refused_link(self) -> Answer:
        return to_page(_REFUSED)._replace(changes=self._audit.refused(LoginMethod.LINK, "link_not_valid", 303))


def to_page(place: str, cookies: Sequence[str] = ()) -> Answer:
    """Return the answer that leads a browser on, by GET."""
    return Answer(None, 303, {"Location": place, "Cache-Control": "no-store"}, cookies=cookies, changes=[])


def oidc_login_of(settings: Settings) -> OidcLogin:
    """Return the identity provider that the settings name."""
    if not settings.oidc_issuer:
        return OidcLogin()
    return OidcLogin(OidcProvider(settings), OidcOption(settings.oidc_name, settings.api_public_url + OIDC))

"""Logging in by the identity provider: a browser is sent there, and comes back with a code.

An error leads back to the console's page with a word for it; the log says more, and holds no token.
"""

import asyncio
import hmac
import logging
from collections.abc import Sequence
from typing import Annotated

import msgspec
from msgspec import Meta

from everwatch.api.console_routes import CONSOLE
from everwatch.api.cookies import begun_login_cookie, begun_login_in
from everwatch.api.login_audit import LoginAudit, LoginMethod
from everwatch.api.login_routes import to_page
from everwatch.api.oidc_begun import LOGIN_VALID_MS, ConsolePath, begin_login, begun_login
from everwatch.api.oidc_provider import KnownPerson, NotTrusted, OidcProvider, ProviderAway
from everwatch.api.permissions import NOBODY, SCOPES_OF, Principal
from everwatch.api.problems import Problem
from everwatch.api.rate_limiting import RateLimiter
from everwatch.api.routing import Answer, Call
from everwatch.api.sessions import Sessions
from everwatch.core.clock import Clock
from everwatch.core.printable import printable
from everwatch.encoding.input_models import NO_HIDDEN
from everwatch.observability.log_throttle import LogThrottle

logger = logging.getLogger(__name__)
ANSWERS_OF_ADDRESS_PER_MIN = 100
"""Answers of the provider that a process takes from one address; each is a request to the provider."""
_WITHIN_S = 8.0
"""For all that is asked of the provider in one login: less than a request's deadline."""


class OidcBegin(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The page of the console to lead back to."""

    to: ConsolePath = CONSOLE


class OidcAnswer(msgspec.Struct, frozen=True):
    """The provider's answer; there may be more in it."""

    code: Annotated[str, Meta(max_length=4_096, pattern=NO_HIDDEN)] = ""
    state: Annotated[str, Meta(max_length=256, pattern=NO_HIDDEN)] = ""
    iss: Annotated[str, Meta(max_length=2_000, pattern=NO_HIDDEN)] = ""
    error: Annotated[str, Meta(max_length=256, pattern=NO_HIDDEN)] = ""


class OidcRoutes:
    """Handlers of ``/login/oidc`` and its callback."""

    def __init__(
        self, provider: OidcProvider | None, sessions: Sessions, audit: LoginAudit, valid_ms: int, clock: Clock
    ) -> None:
        """``valid_ms``: for how long a session is valid."""
        self._provider = provider
        self._sessions = sessions
        self._audit = audit
        self._valid_ms = valid_ms
        self._clock = clock
        self._log_throttle = LogThrottle(clock, period_s=10)
        self._of_addresses = RateLimiter(ANSWERS_OF_ADDRESS_PER_MIN)

    async def begin(self, call: Call, query: OidcBegin) -> Answer:
        """Send a browser to the identity provider to log in."""
        provider = self._configured()
        now = self._clock.now_ms()
        begun = begin_login(now, query.to)
        try:
            url = await provider.login_url(begun, now)
        except (ProviderAway, NotTrusted) as error:
            return self._refused(call, "provider_away", f"nobody can be sent to the identity provider: {error}")
        return to_page(url, [begun_login_cookie(call.headers, begun.text, LOGIN_VALID_MS // 1_000)])

    async def end(self, call: Call, query: OidcAnswer) -> Answer:
        """Log a browser in that comes back from the identity provider."""
        provider = self._configured()
        now = self._clock.now_ms()
        begun = begun_login(begun_login_in(call.headers), now)
        if begun is None or not hmac.compare_digest(begun.state.encode(), query.state.encode()):
            return self._refused(call, "login_expired")
        if query.error or not query.code:
            # anybody could have written the text beside it
            return self._refused(call, "denied", f"the identity provider says {printable(query.error)[:64]!r}")
        allowance = self._of_addresses.take(call.address, self._clock.monotonic_s())
        if allowance is not None and allowance.retry_in_s:
            return self._refused(call, "busy")
        try:
            async with asyncio.timeout(_WITHIN_S):
                person = await provider.person(begun, query.code, query.iss, now)
        except TimeoutError:
            return self._refused(call, "provider_away", f"the identity provider took longer than {_WITHIN_S:g} s")
        except ProviderAway as error:
            return self._refused(call, "provider_away", f"the identity provider does not answer: {error}")
        except NotTrusted as error:
            return self._refused(call, "not_trusted", f"a login by the identity provider was refused: {error}")
        if person.role is None:
            return self._refused(call, "no_role", by=Principal("", frozenset(), name=person.name))
        return await self._entered(call, provider, person, begun.page)

    async def _entered(self, call: Call, provider: OidcProvider, person: KnownPerson, page: str) -> Answer:
        assert person.role is not None  # a person without a role is refused
        principal = Principal("", SCOPES_OF[person.role], name=person.name, role=person.role)
        opened = await self._sessions.open(call, principal, valid_ms=self._valid_ms, issuer=provider.issuer)
        changes = self._audit.opened(LoginMethod.OIDC, opened.principal, 303)
        return to_page(page, [opened.cookie, *_no_longer_begun(call)])._replace(changes=changes)

    def _configured(self) -> OidcProvider:
        if self._provider is None:
            raise Problem(404, "no_identity_provider", "No identity provider is configured (EVERWATCH_OIDC_ISSUER).")
        return self._provider

    def _refused(self, call: Call, word: str, logged: str = "", by: Principal = NOBODY) -> Answer:
        if logged and self._log_throttle.may_log(word):
            logger.warning("%s", logged)
        changes = self._audit.refused(LoginMethod.OIDC, word, 303, by)
        return to_page(f"{CONSOLE}login?error={word}", _no_longer_begun(call))._replace(changes=changes)


def _no_longer_begun(call: Call) -> Sequence[str]:
    return [begun_login_cookie(call.headers, "", 0)] if begun_login_in(call.headers) else []

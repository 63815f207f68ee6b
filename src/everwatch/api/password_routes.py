"""Logging in with the name and the password of an operator.

An answer does not tell whether there is such an operator: for an unknown name a hash is computed anyway, and
attempts are limited for it too.
"""

import asyncio
from collections.abc import Callable
from functools import cache
from typing import Annotated

import msgspec
from msgspec import Meta

from everwatch.api.login_audit import LoginAudit, LoginMethod
from everwatch.api.operators import OperatorRecord, Operators
from everwatch.api.passwords import LONGEST, hash_of
from everwatch.api.permissions import SCOPES_OF, Principal
from everwatch.api.problems import Problem, unavailable
from everwatch.api.rate_limiting import Allowance, RateLimiter
from everwatch.api.routing import Answer, Call
from everwatch.api.sessions import Sessions
from everwatch.core.clock import Clock

ATTEMPTS_PER_MIN = 10
"""Attempts for one name that a process takes in a minute."""
ATTEMPTS_OF_ADDRESS_PER_MIN = 100
"""Attempts from one address, of which behind a proxy there is only that of the proxy."""
_AT_ONCE, _MOST_WAITING = 2, 32


class PasswordBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The name and the password of an operator."""

    name: Annotated[str, Meta(min_length=1, max_length=64)]
    password: Annotated[str, Meta(min_length=1, max_length=LONGEST)]


class PasswordRoutes:
    """Handler of ``/login/password``."""

    def __init__(
        self,
        operators: Operators,
        sessions: Sessions,
        audit: LoginAudit,
        clock: Clock,
        is_password: Callable[[str, str], bool],
    ) -> None:
        """``is_password``: compares a password with a hash; it is called in a thread, as it takes a while."""
        self._operators = operators
        self._sessions = sessions
        self._audit = audit
        self._clock = clock
        self._is_password = is_password
        self._of_names = RateLimiter(ATTEMPTS_PER_MIN)
        self._of_addresses = RateLimiter(ATTEMPTS_OF_ADDRESS_PER_MIN)
        # a hash takes memory and a core for a while
        self._hashing = asyncio.Semaphore(_AT_ONCE)
        self._waiting = 0

    async def log_in(self, call: Call, body: PasswordBody) -> Answer:
        """Log a page of the console in with an operator's name and password: the answer sets a cookie."""
        name = body.name.strip().lower()
        now_s = self._clock.monotonic_s()
        for allowance in (self._of_addresses.take(call.address, now_s), self._of_names.take(name, now_s)):
            if allowance is not None and allowance.retry_in_s:
                raise _too_many(allowance)
        found = self._operators.find(name)
        is_right = await self._compare(body.password, found)
        # the operator may have been removed meanwhile
        if found is None or not is_right or not self._operators.holds(found.credential_id):
            by = Principal("", frozenset(), name=found.name if found else "")
            raise Problem(
                401,
                "unauthorized",
                "The name or the password is wrong.",
                changes=self._audit.refused(LoginMethod.PASSWORD, "wrong_password", 401, by),
            )
        principal = Principal(found.credential_id, SCOPES_OF[found.role], name=found.name, role=found.role)
        opened = await self._sessions.open(call, principal)
        changes = self._audit.opened(LoginMethod.PASSWORD, opened.principal, 204)
        return Answer(None, 204, {"Set-Cookie": opened.cookie}, changes=changes)

    async def _compare(self, password: str, found: OperatorRecord | None) -> bool:
        """Compare with the operator's hash, or with that of no operator. Raises Problem if too many wait for it."""
        if self._waiting >= _MOST_WAITING:
            raise unavailable("busy", "Too many log in at this moment.")
        self._waiting += 1
        try:
            async with self._hashing:
                return await asyncio.to_thread(self._compared, password, found.password if found else "")
        finally:
            self._waiting -= 1

    def _compared(self, password: str, stored: str) -> bool:
        return self._is_password(password, stored or _of_nobody()) and bool(stored)


@cache
def _of_nobody() -> str:
    """Return the hash of a password of no operator, with the parameters of new ones."""
    return hash_of("a password that is not one of any operator")


def _too_many(allowance: Allowance) -> Problem:
    seconds = allowance.headers["Retry-After"]
    return Problem(
        429,
        "rate_limited",
        f"There were too many attempts: try again in {seconds} s.",
        headers={"Retry-After": seconds},
    )

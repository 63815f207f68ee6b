"""Logins in the audit log and in the metrics: those that began a session, and those that were refused.

Anybody can be refused as often as they like, so refusals beyond some a minute are counted only.
"""

from collections.abc import Sequence
from enum import StrEnum

from everwatch.api import metrics
from everwatch.api.permissions import NOBODY, Principal
from everwatch.api.rate_limiting import RateLimiter
from everwatch.api.routing import AuditedChange
from everwatch.core.clock import Clock

REFUSALS_PER_MIN = 60
"""Refused logins that one process enters in the audit log in a minute."""


class LoginMethod(StrEnum):
    """Way to log in."""

    LINK = "link"
    TOKEN = "token"  # noqa: S105  # the word
    PASSWORD = "password"  # noqa: S105  # the word
    OIDC = "oidc"


class LoginAudit:
    """Entries of the audit log for logins."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._refusals = RateLimiter(REFUSALS_PER_MIN)

    def opened(self, method: LoginMethod, principal: Principal, status: int) -> Sequence[AuditedChange]:
        """Return the entry of a session that has begun."""
        metrics.LOGINS.labels(method, "done").inc()
        return [AuditedChange("login", principal.user_id, status=status, outcome="done", by=principal)]

    def refused(
        self, method: LoginMethod, outcome: str, status: int, by: Principal = NOBODY
    ) -> Sequence[AuditedChange]:
        """Return the entry of a login that was refused; none beyond some a minute.

        ``by``: the operator whose name was given. Unknown names are not entered: they may be passwords.
        """
        metrics.LOGINS.labels(method, "refused").inc()
        allowance = self._refusals.take("", self._clock.monotonic_s())
        if allowance is None or allowance.retry_in_s:
            return []
        return [AuditedChange("login", by.user_id, status=status, outcome=outcome, by=by)]

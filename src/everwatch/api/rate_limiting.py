"""Limits how many requests a token may make: a bucket for each token, of this process alone. Pure.

The bucket is the generic cell rate algorithm: of each token one instant is kept, from which the bucket is full again.
Headers are those of draft-ietf-httpapi-ratelimit-headers.
"""

from collections.abc import Mapping
from math import ceil
from typing import NamedTuple

WINDOW_S = 60


class Allowance(NamedTuple):
    """Rest of a token's rate limit: ``remaining`` requests at once, all of them again in ``full_in_s``.

    ``retry_in_s``: after so long one more is allowed; 0: this one is.
    """

    limit: int
    remaining: int
    full_in_s: float
    retry_in_s: float

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers with it."""
        told = {
            "RateLimit-Policy": f'"token";q={self.limit};w={WINDOW_S}',
            "RateLimit": f'"token";r={self.remaining};t={ceil(self.full_in_s)}',
        }
        return told | ({"Retry-After": str(max(1, ceil(self.retry_in_s)))} if self.retry_in_s else {})


class RateLimiter:
    """Allows ``limit`` requests a minute of each token, all at once if need be; 0: no limit."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._full_at_s: dict[str, float] = {}

    def take(self, token_id: str, now_s: float) -> Allowance | None:
        """Count a request; None where there is no limit. One that is refused does not count."""
        if not self._limit:
            return None
        each_s = WINDOW_S / self._limit
        full_at_s = max(now_s, self._full_at_s.get(token_id, 0.0)) + each_s
        over_s = full_at_s - now_s - WINDOW_S
        if over_s > 1e-9:
            return Allowance(self._limit, 0, full_at_s - each_s - now_s, over_s)
        self._full_at_s[token_id] = full_at_s
        if len(self._full_at_s) > 10_000:
            self._forget(now_s)
        return Allowance(self._limit, int(-over_s / each_s + 1e-6), full_at_s - now_s, 0.0)

    def _forget(self, now_s: float) -> None:
        """Forget tokens that may ask as much as any new one."""
        self._full_at_s = {name: at_s for name, at_s in self._full_at_s.items() if at_s > now_s}

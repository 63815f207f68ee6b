"""Sessions of the console: tokens of their own on the topic ``access``, which only a cookie holds.

Any process accepts one, also after a restart. It ends when it is revoked, when what it was begun with ends (a token, an
operator's password, the identity provider's setting), or at its time.
"""

import asyncio
from collections.abc import Callable
from typing import NamedTuple

from everwatch.api.cookies import session_cookie
from everwatch.api.logins import Logins
from everwatch.api.permissions import Principal
from everwatch.api.problems import unavailable
from everwatch.api.read_back import has_read
from everwatch.api.routing import Call
from everwatch.api.token_routes import RecordSender
from everwatch.api.tokens import AccessRecord, TokenRecord, Tokens, encoded, key_of, new_session
from everwatch.core.clock import Clock

SESSION_MS = 12 * 3_600_000
# a login tidies up after earlier ones: what has expired, and an hour later for clocks that differ
_MOST_TIDIED, _TIDIED_AFTER_MS = 20, 3_600_000


class OpenedSession(NamedTuple):
    """A session that has begun: its cookie, and the principal of its requests."""

    cookie: str
    principal: Principal


class Sessions:
    """Begins and ends sessions."""

    def __init__(self, tokens: Tokens, logins: Logins, records: RecordSender, topic: str, clock: Clock) -> None:
        self._tokens = tokens
        self._logins = logins
        self._records = records
        self._topic = topic
        self._clock = clock

    async def open(
        self, call: Call, principal: Principal, *, valid_ms: int = SESSION_MS, issuer: str = ""
    ) -> OpenedSession:
        """Begin a session with what a principal may do. Raises BrokerUnavailable, Problem."""
        now = self._clock.now_ms()
        expires_at = min(principal.expires_at or now + valid_ms, now + valid_ms)
        made = new_session(principal, now, expires_at, issuer)
        await self.put(made.record)
        await self.seen(lambda: self._tokens.get(made.record.token_id) is not None)
        await self._tidy(now)
        return OpenedSession(
            session_cookie(call.headers, made.text, (expires_at - now) // 1_000), made.record.principal
        )

    async def end(self, record: TokenRecord) -> None:
        """End a session. Raises BrokerUnavailable, Problem."""
        await self._records.send(self._topic, key_of(record), None)
        await self.seen(lambda: self._tokens.get(record.token_id) is None)

    async def put(self, record: AccessRecord) -> None:
        """Write a record. Raises BrokerUnavailable."""
        await self._records.send(self._topic, key_of(record), encoded(record))

    async def seen(self, is_there: Callable[[], bool]) -> None:
        """Wait until this process has read what it has written. Raises Problem if it does not within seconds."""
        if not await has_read(is_there):
            raise unavailable("kafka_unavailable", "This process cannot read the topic of tokens at the moment.")

    async def _tidy(self, now: int) -> None:
        """Delete some sessions and codes that are over, so that the topic does not grow with each login."""
        before = now - _TIDIED_AFTER_MS
        over: list[AccessRecord] = [
            each for each in self._tokens.records() if each.session and each.expires_at < before
        ]
        over += [each for each in self._logins.records() if each.expires_at < before]
        await asyncio.gather(*(self._records.send(self._topic, key_of(each), None) for each in over[:_MOST_TIDIED]))

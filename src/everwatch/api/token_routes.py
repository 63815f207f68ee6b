"""Tokens as a resource: made, listed, revoked. A token's text is shown once, when it is made."""

from typing import Protocol

from everwatch.api.access_views import CreatedToken, RoleList, RoleView, TokenBody, TokenList, TokenView
from everwatch.api.paging import held_page, next_link, total_fields
from everwatch.api.permissions import SCOPES_OF, Role
from everwatch.api.problems import Problem, not_found
from everwatch.api.queries import ShortList
from everwatch.api.read_back import has_read
from everwatch.api.routing import Answer, AuditedChange, Call
from everwatch.api.tokens import LabelledToken, TokenLimits, TokenRecord, Tokens, encoded, key_of, new_token
from everwatch.core.clock import Clock

SEEN_WITHIN_S = 2.0


class RecordSender(Protocol):
    """Sender of records to the broker."""

    async def send(self, topic: str, key: bytes, value: bytes | None) -> None:
        """Return once all in-sync replicas have the record. Raises BrokerUnavailable."""
        ...


class TokenRoutes:
    """Handlers of ``/v1/tokens``."""

    def __init__(self, tokens: Tokens, producer: RecordSender, topic: str, clock: Clock) -> None:
        self._tokens = tokens
        self._producer = producer
        self._topic = topic
        self._clock = clock

    async def list(self, call: Call, query: ShortList) -> Answer:
        """List tokens."""
        held = list(self._tokens.records())
        found, total = held_page(query, held, _place, tuple[int, str], ("tokens",))
        view = TokenList([_view(record) for record in found], found.next or None, **total_fields(total))
        return Answer(view, headers=next_link(call, found.next))

    async def roles(self, _: Call) -> Answer:
        """List roles with their scopes."""
        return Answer(RoleList([RoleView(role, sorted(SCOPES_OF[role])) for role in Role]))

    async def create(self, _: Call, body: TokenBody) -> Answer:
        """Make a token; it is shown this once."""
        now = self._clock.now_ms()
        if 0 < body.expires_at <= now:
            raise Problem(422, "invalid", "The token would have expired already.")
        if body.secrets and (body.user_id is not None or body.label):
            raise Problem(422, "invalid", "A token that is limited to a user or a label shows no secrets.")
        made = new_token(
            body.name,
            body.role,
            now,
            limits=TokenLimits(body.user_id or "", body.label or ""),
            expires_at=body.expires_at,
            with_secrets=body.secrets,
        )
        await self._send(key_of(made.record), encoded(made.record))
        await self._seen(made.record.token_id, present=True)
        place = f"/v1/tokens/{made.record.token_id}"
        change = AuditedChange(
            "create_token", body.user_id or "", command_id=made.record.token_id, status=201, outcome="done"
        )
        return Answer(CreatedToken(made.text, _view(made.record)), 201, {"Location": place}, changes=[change])

    async def revoke(self, call: Call) -> Answer:
        """Revoke a token."""
        token_id = call.path["token_id"]
        found = self._tokens.get(token_id)
        if found is None:
            raise not_found("such token")
        await self._send(key_of(found), None)
        await self._seen(token_id, present=False)
        return Answer(None, 204)

    async def _send(self, key: bytes, value: bytes | None) -> None:
        await self._producer.send(self._topic, key, value)

    async def _seen(self, token_id: str, *, present: bool) -> None:
        """Wait for a moment until this process has read what it has written; others follow as fast."""
        await has_read(lambda: (self._tokens.get(token_id) is not None) is present, SEEN_WITHIN_S)


def _place(record: TokenRecord) -> tuple[int, str]:
    return record.created_at, record.token_id


def _view(record: TokenRecord) -> TokenView:
    return TokenView(
        record.token_id,
        record.name,
        record.role,
        record.secrets,
        record.user_id or "",
        record.created_at,
        record.expires_at,
        record.session,
        record.label if isinstance(record, LabelledToken) else "",
    )

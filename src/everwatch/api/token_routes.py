"""Tokens as a resource: made, listed, revoked. A token's text is shown once, when it is made."""

from typing import Annotated, Protocol

import msgspec
from msgspec import Meta

from everwatch.api.paging import held_page, next_link, total_fields
from everwatch.api.permissions import SCOPES_OF, Role
from everwatch.api.problems import Problem, not_found
from everwatch.api.queries import ShortList
from everwatch.api.read_back import has_read
from everwatch.api.routing import Answer, AuditedChange, Call
from everwatch.api.tokens import TokenRecord, Tokens, encoded, key_of, new_token
from everwatch.core.bounds import LATEST_MS
from everwatch.core.clock import Clock
from everwatch.encoding.input_models import Name, UserId

SEEN_WITHIN_S = 2.0


class TokenBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A token to be made. ``user_id``: the one user that it is for, null for all; ``expires_at``: ms, 0 for never."""

    name: Name
    role: Role
    user_id: UserId | None = None
    expires_at: Annotated[int, Meta(ge=0, le=LATEST_MS)] = 0
    secrets: bool = False


class TokenView(msgspec.Struct, frozen=True):
    """Facts about a token; never the token itself. ``session``: it is a session of the console."""

    token_id: str
    name: str
    role: Role
    secrets: bool
    user_id: str
    created_at: int
    expires_at: int
    session: bool = False


class TokenList(msgspec.Struct, frozen=True):
    """Tokens that are stored, the oldest first. The rest is as of any page."""

    items: list[TokenView]
    next: str | None = None
    total: int | None = None
    total_at_least: bool = False


class CreatedToken(msgspec.Struct, frozen=True):
    """A token that was just made. ``token`` is shown this once."""

    token: str
    stored: TokenView


class RecordSender(Protocol):
    """Sender of records to the broker."""

    async def send(self, topic: str, key: bytes, value: bytes | None) -> None:
        """Return once all in-sync replicas have the record. Raises BrokerUnavailable."""
        ...


class RoleView(msgspec.Struct, frozen=True):
    """A role and its scopes."""

    role: Role
    scopes: list[str]


class RoleList(msgspec.Struct, frozen=True):
    """All roles, from the one that may least."""

    items: list[RoleView]


class TokenRoutes:
    """Handlers of ``/v1/tokens``."""

    def __init__(self, tokens: Tokens, producer: RecordSender, topic: str, clock: Clock) -> None:
        self._tokens = tokens
        self._producer = producer
        self._topic = topic
        self._clock = clock

    async def list(self, call: Call, query: ShortList) -> Answer:
        held = list(self._tokens.records())
        found, total = held_page(query, held, _place, tuple[int, str], ("tokens",))
        view = TokenList([_view(record) for record in found], found.next or None, **total_fields(total))
        return Answer(view, headers=next_link(call, found.next))

    async def roles(self, _: Call) -> Answer:
        return Answer(RoleList([RoleView(role, sorted(SCOPES_OF[role])) for role in Role]))

    async def create(self, _: Call, body: TokenBody) -> Answer:
        now = self._clock.now_ms()
        if 0 < body.expires_at <= now:
            raise Problem(422, "invalid", "The token would have expired already.")
        if body.secrets and body.user_id is not None:
            raise Problem(422, "invalid", "A token that is limited to a user shows no secrets.")
        made = new_token(
            body.name,
            body.role,
            now,
            user_id=body.user_id or "",
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
    )

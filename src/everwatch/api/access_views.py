"""Requests and answers about tokens, operators and login links, as types."""

from typing import Annotated

import msgspec
from msgspec import Meta

from everwatch.api.permissions import Role, Scope
from everwatch.api.views import Instant
from everwatch.core.bounds import LATEST_MS
from everwatch.core.printable import HIDDEN
from everwatch.encoding.input_models import Name, UserId

LONGEST_PASSWORD = 256
"""Characters."""
_LABEL = rf"^[A-Za-z0-9_./-]{{1,63}}(=[^{HIDDEN}]{{0,128}})?\Z"
TokenLabel = Annotated[str, Meta(max_length=200, pattern=_LABEL)]


class TokenBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A token to be made. ``user_id``: the one user that it is for, null for all; ``expires_at``: ms, 0 for never.

    ``label``: it is for monitors with this label alone, ``KEY=VALUE`` or ``KEY``.
    """

    name: Name
    role: Role
    user_id: UserId | None = None
    expires_at: Annotated[int, Meta(ge=0, le=LATEST_MS)] = 0
    secrets: bool = False
    label: TokenLabel | None = None


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
    label: str = ""


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


class RoleView(msgspec.Struct, frozen=True):
    """A role and its scopes."""

    role: Role
    scopes: list[str]


class RoleList(msgspec.Struct, frozen=True):
    """All roles, from the one that may least."""

    items: list[RoleView]


class OperatorBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Changes of an operator; a null field stays as it is. A new one needs a password; the default role is viewer."""

    role: Role | None = None
    password: Annotated[str, Meta(min_length=1, max_length=LONGEST_PASSWORD)] | None = None


class OperatorView(msgspec.Struct, frozen=True):
    """An operator who logs in with a password; never the password."""

    name: str
    role: Role
    created_at: Instant
    changed_at: Instant


class OperatorList(msgspec.Struct, frozen=True):
    """All operators, by name."""

    items: list[OperatorView]


class LoginLinkBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A session of this role; ``user_id``: limited to this user, null for all."""

    role: Role = Role.ADMIN
    user_id: UserId | None = None


class LoginLinkView(msgspec.Struct, frozen=True):
    """A link that works once, shown this once: ``path`` below the API's address."""

    path: str
    expires_at: Instant


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

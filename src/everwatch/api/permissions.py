"""Scopes, roles and principals: the rights of each. Pure.

A route says which scope it takes and how it relates to users; what a principal lacks is refused. Nothing is allowed by
default: a route cannot be made without a permission.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple


class Scope(StrEnum):
    """One thing that a token may do.

    ``notify``: changes what the notifier does: incidents, silences, contacts, messages that are sent again; to read
    these takes ``read``. ``audit``: sees who changed what. ``secrets``: configs are shown with their secrets, which are
    redacted otherwise.
    """

    READ = "read"
    WRITE = "write"
    RUN = "run"
    SIGNAL = "signal"
    NOTIFY = "notify"
    AUDIT = "audit"
    ADMIN = "admin"
    SECRETS = "secrets"


class Role(StrEnum):
    """A set of scopes that has a name."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"


_OPERATES = frozenset({Scope.READ, Scope.WRITE, Scope.RUN, Scope.SIGNAL, Scope.NOTIFY, Scope.AUDIT})
SCOPES_OF: Mapping[Role, frozenset[Scope]] = {
    Role.VIEWER: frozenset({Scope.READ}),
    Role.OPERATOR: _OPERATES,
    Role.ADMIN: _OPERATES | {Scope.ADMIN},
}


class Reach(StrEnum):
    """Relation of a route to users, which decides what a token that is limited to one user may do there.

    ``anyone``: no token is asked for. ``user``: the path names a user, and a limited token must be of that user.
    ``narrowed``: a list, of which a limited token gets its own user's part. ``whole``: concerns all users, so a limited
    token is refused. ``key``: the path holds a key that is checked by the handler itself. ``self``: the token
    itself, so any token will do.
    """

    ANYONE = "anyone"
    USER = "user"
    NARROWED = "narrowed"
    WHOLE = "whole"
    KEY = "key"
    SELF = "self"


class Permission(NamedTuple):
    """Requirements of a route: a scope (None: no token is needed) and its relation to users.

    ``signs_up``: it states a user's plan, so it is not for end users themselves. ``by_label``: it concerns monitors
    alone, and a token that is limited to a label gets no others; all other routes refuse such a token.
    """

    scope: Scope | None
    reach: Reach
    signs_up: bool = False
    by_label: bool = False

    @property
    def is_open(self) -> bool:
        """Tell whether the route takes no token."""
        return self.reach in (Reach.ANYONE, Reach.KEY)


OPEN = Permission(None, Reach.ANYONE)
BY_KEY = Permission(None, Reach.KEY)
ANY_TOKEN = Permission(None, Reach.SELF)


class Principal(NamedTuple):
    """The client of a request: id and scopes of its token, and the one user that it is limited to ("" for all).

    ``session``: it is a session of the console. ``expires_at``: ms, 0 for never. ``by_jwt``: it is an end user of the
    product, with a JWT. ``label``: the one that its monitors must have, ``KEY=VALUE`` or ``KEY``; "" for all monitors.
    """

    token_id: str
    scopes: frozenset[Scope]
    user_id: str = ""
    name: str = ""
    role: Role = Role.VIEWER
    session: bool = False
    expires_at: int = 0
    by_jwt: bool = False
    label: str = ""

    @property
    def plan_objection(self) -> str:
        """Return why the principal may not state a user's plan; "" if it may."""
        return "an end user cannot sign up or change the plan with a JWT: the product does so" if self.by_jwt else ""

    def has(self, scope: Scope) -> bool:
        """Tell whether the token has a scope."""
        return scope in self.scopes

    def objection(self, permission: Permission, user_id: str) -> str:
        """Return why the principal may not use a route, for the user that its path names; "" if it may.

        The answer does not depend on what exists: it reveals nothing about other users.
        """
        if permission.scope is not None and permission.scope not in self.scopes:
            return f"this takes the scope {permission.scope.value!r}, which the token does not have"
        if permission.signs_up and self.plan_objection:
            return self.plan_objection
        if self.label and permission.reach is not Reach.SELF and not permission.by_label:
            return "the token is limited to monitors with a label, and this concerns more"
        if not self.user_id:
            return ""
        if permission.reach is Reach.WHOLE:
            return "this concerns all users, and the token is limited to one"
        if permission.reach is Reach.USER and user_id != self.user_id:
            return "the token is limited to another user"
        return ""


NOBODY = Principal("", frozenset())

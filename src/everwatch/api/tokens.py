"""API tokens: their text, their stored records, and those that this process knows.

A token is 256 random bits; only its SHA-256 is stored, as a record of the compacted topic ``access``. The id of a token
is the beginning of that hash: it names the token in lists and logs, and tells nothing of it.
"""

import hashlib
import secrets
from collections.abc import Iterable
from typing import Annotated, NamedTuple

import msgspec

from everwatch.api.access_views import TokenLabel
from everwatch.api.operators import OperatorRecord, Operators
from everwatch.api.permissions import SCOPES_OF, Principal, Role, Scope
from everwatch.api.user_tokens import PREFIX, UserTokens
from everwatch.core.config import Settings
from everwatch.core.errors import InvalidInput
from everwatch.encoding.input_models import Name, UserId

_PREFIXES = {Role.VIEWER: "ew_r_", Role.OPERATOR: "ew_w_", Role.ADMIN: "ew_a_"}
_SESSION_PREFIX = "ew_s_"
_ID_CHARACTERS = 16
LONGEST_TOKEN = 256
TokenId = Annotated[str, msgspec.Meta(pattern=rf"^[0-9a-f]{{{_ID_CHARACTERS}}}\Z")]
Digest = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]


class PingSecret(msgspec.Struct, frozen=True, kw_only=True, tag="ping_secret", tag_field="type"):
    """A secret that ping keys are made with; the oldest one makes new keys, all of them are accepted."""

    secret_id: TokenId
    secret: Digest
    created_at: int


class TokenRecord(msgspec.Struct, frozen=True, kw_only=True, tag="token", tag_field="type"):
    """Stored record of a token. Instants in ms; ``expires_at`` 0: never. ``user_id``: its one user, None for all.

    ``session``: it is what a browser's cookie holds, and nothing else may use it. ``parent``: the id of the token, or
    of the operator's credential, that the session was begun with, and ends with. ``issuer``: the identity provider that
    it was begun through. Neither: it was begun by a link.
    """

    token_id: TokenId
    sha256: Digest
    name: Name
    role: Role
    secrets: bool = False
    user_id: UserId | None = None
    created_at: int
    expires_at: int = 0
    session: bool = False
    parent: TokenId | None = None
    issuer: Annotated[str, msgspec.Meta(max_length=2_000)] = ""

    @property
    def principal(self) -> Principal:
        """The principal of requests with this token."""
        more = {Scope.SECRETS} if self.secrets else set()
        scopes = SCOPES_OF[self.role] | more
        return Principal(self.token_id, scopes, self.user_id or "", self.name, self.role, self.session, self.expires_at)


class LabelledToken(TokenRecord, frozen=True, kw_only=True, tag="label_token", tag_field="type"):
    """Stored record of a token that is limited to monitors with a label, ``KEY=VALUE`` or ``KEY``.

    It is another kind of record, because a process that knows of no labels would take it for a token without a limit.
    """

    label: TokenLabel

    @property
    def principal(self) -> Principal:
        """The principal of requests with this token."""
        return super().principal._replace(label=self.label)


class LoginRecord(msgspec.Struct, frozen=True, kw_only=True, tag="login", tag_field="type"):
    """Stored record of a one-time login link. ``claim``: mark of its use, "" while it is unused."""

    login_id: TokenId
    sha256: Digest
    role: Role
    user_id: UserId | None = None
    created_at: int
    expires_at: int
    claim: Annotated[str, msgspec.Meta(max_length=64)] = ""


class NewToken(msgspec.Struct, frozen=True):
    """A new token: its text, which is shown once, and its stored record."""

    text: str
    record: TokenRecord


class TokenLimits(NamedTuple):
    """The user and the label that the monitors of a token must have, "" for any."""

    user_id: str = ""
    label: str = ""


NO_LIMITS = TokenLimits()


def new_token(
    name: str,
    role: Role,
    now: int,
    *,
    limits: TokenLimits = NO_LIMITS,
    expires_at: int = 0,
    with_secrets: bool = False,
) -> NewToken:
    """Make a token."""
    text = _PREFIXES[role] + secrets.token_urlsafe(32)
    record = TokenRecord(
        token_id=token_id_of(text),
        sha256=digest_of(text),
        name=name,
        role=role,
        secrets=with_secrets,
        user_id=limits.user_id or None,
        created_at=now,
        expires_at=expires_at,
    )
    return NewToken(text, _labelled(record, limits.label))


def _labelled(record: TokenRecord, label: str) -> TokenRecord:
    return LabelledToken(**msgspec.structs.asdict(record), label=label) if label else record


def new_session(principal: Principal, now: int, expires_at: int, issuer: str = "") -> NewToken:
    """Make the token of a session that may do what a principal may; ``issuer``: the provider that says so."""
    text = _SESSION_PREFIX + secrets.token_urlsafe(32)
    record = TokenRecord(
        token_id=token_id_of(text),
        sha256=digest_of(text),
        name=principal.name,
        role=principal.role,
        secrets=principal.has(Scope.SECRETS),
        user_id=principal.user_id or None,
        created_at=now,
        expires_at=expires_at,
        session=True,
        parent=principal.token_id or None,
        issuer=issuer,
    )
    return NewToken(text, _labelled(record, principal.label))


def new_text(role: Role) -> str:
    """Make the text of a token that is stored nowhere."""
    return _PREFIXES[role] + secrets.token_urlsafe(32)


def digest_of(text: str) -> str:
    """Return the SHA-256 of a token, hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


def token_id_of(text: str) -> str:
    """Return the id of a token."""
    return digest_of(text)[:_ID_CHARACTERS]


def new_ping_secret(now: int) -> PingSecret:
    """Make a secret for ping keys."""
    return PingSecret(secret_id=secrets.token_hex(_ID_CHARACTERS // 2), secret=secrets.token_hex(32), created_at=now)


AccessRecord = TokenRecord | LabelledToken | PingSecret | LoginRecord | OperatorRecord


def key_of(record: AccessRecord) -> bytes:
    """Return a record's key on the topic ``access``."""
    match record:
        case TokenRecord():
            return record.token_id.encode()
        case PingSecret():
            return f"ping/{record.secret_id}".encode()
        case LoginRecord():
            return f"login/{record.login_id}".encode()
        case OperatorRecord():
            return f"operator/{record.name}".encode()


def encoded(record: AccessRecord) -> bytes:
    """Return a record's value on the topic ``access``."""
    return msgspec.json.encode(record)


_decoder: msgspec.json.Decoder[AccessRecord] = msgspec.json.Decoder(AccessRecord)


def decoded(value: bytes) -> AccessRecord:
    """Return the record that a value of the topic ``access`` holds. Raises InvalidInput."""
    try:
        record = _decoder.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInput(f"this is no record of access: {error}") from None
    if isinstance(record, TokenRecord) and record.token_id != record.sha256[:_ID_CHARACTERS]:
        raise InvalidInput("the id of the token does not fit its hash", "$.token_id")
    if isinstance(record, LoginRecord) and record.login_id != record.sha256[:_ID_CHARACTERS]:
        raise InvalidInput("the id of the login does not fit its hash", "$.login_id")
    return record


class Tokens:
    """The tokens that are known: those of the topic ``access``, and the one that the environment gives."""

    def __init__(self, settings: Settings) -> None:
        # by its id, which is the beginning of its hash; changed in the follower's thread, one step at a time
        self._stored: dict[str, TokenRecord] = {}
        self._given: dict[str, Principal] = {}
        self.of_users = UserTokens(settings)
        self.operators = Operators()
        self._issuer = settings.oidc_issuer
        self._admins_by_oidc = bool(self._issuer) and any(each.endswith("=admin") for each in settings.oidc_roles)
        if text := settings.api_admin_token.get_secret_value():
            self.give(text)

    def give(self, text: str) -> None:
        """Accept a token of an administrator that is stored nowhere, for as long as this process runs."""
        scopes = SCOPES_OF[Role.ADMIN] | {Scope.SECRETS}
        self._given[digest_of(text)] = Principal(token_id_of(text), scopes, name="administrator", role=Role.ADMIN)

    def put(self, record: TokenRecord) -> None:
        """Take in a token."""
        self._stored[record.token_id] = record

    def revoke(self, token_id: str) -> None:
        """Forget a token."""
        self._stored.pop(token_id, None)

    def get(self, token_id: str) -> TokenRecord | None:
        """Return a stored token by its id."""
        return self._stored.get(token_id)

    def records(self) -> Iterable[TokenRecord]:
        """Return all stored tokens, the oldest first."""
        return sorted(self._stored.copy().values(), key=lambda record: (record.created_at, record.token_id))

    def has_admin(self, now: int) -> bool:
        """Tell whether an administrator can get in at ``now``: by token, password or identity provider."""
        if self._given or self._admins_by_oidc or self.operators.has_admin():
            return True
        return any(
            record.role is Role.ADMIN and _is_whole(record) and not record.session and _is_valid(record, now)
            for record in self._stored.copy().values()
        )

    def is_valid(self, principal: Principal, now: int) -> bool:
        """Tell whether the token of a principal is still valid at ``now``: for what lasts longer than a request."""
        if principal.token_id.startswith(PREFIX):
            return now < principal.expires_at
        return self._has(principal.token_id, now)

    def principal(self, text: str, now: int) -> Principal | None:
        """Return the principal of a token at ``now``.

        None for one that is unknown, revoked or expired, or a session's.
        """
        digest = _asked_for(text)
        record = self._stored.get(digest[:_ID_CHARACTERS])
        if record is not None and record.sha256 == digest:
            return record.principal if not record.session and _is_valid(record, now) else None
        return self._given.get(digest) or self.of_users.principal(text, now)

    def session(self, text: str, now: int) -> Principal | None:
        """Return the principal of a session's cookie at ``now``; None for one that is over."""
        digest = _asked_for(text)
        record = self._stored.get(digest[:_ID_CHARACTERS])
        if record is None or record.sha256 != digest or not record.session:
            return None
        return record.principal if self._has(record.token_id, now) else None

    def _has(self, token_id: str, now: int) -> bool:
        """Tell whether a token, and the one that it was made of, is valid at ``now``."""
        if self._is_given(token_id):
            return True
        record = self.get(token_id)
        if record is None or not _is_valid(record, now):
            return False
        if record.issuer and record.issuer != self._issuer:
            return False
        return record.parent is None or self._is_held(record.parent, now)

    def _is_held(self, token_id: str, now: int) -> bool:
        """Tell whether a token that is no session, or an operator's credential, is valid at ``now``."""
        record = self.get(token_id)
        is_stored = record is not None and not record.session and _is_valid(record, now)
        return is_stored or self._is_given(token_id) or self.operators.holds(token_id)

    def _is_given(self, token_id: str) -> bool:
        return any(each.token_id == token_id for each in self._given.values())


def _asked_for(text: str) -> str:
    """The hash of a token that was sent; "" for text that cannot be a token: it may hold bytes that are no text."""
    # what is looked up is a hash, so how long the search takes tells nothing of any token
    return digest_of(text) if len(text) <= LONGEST_TOKEN and text.isascii() else ""


def _is_whole(record: TokenRecord) -> bool:
    return not record.user_id and not isinstance(record, LabelledToken)


def _is_valid(record: TokenRecord, now: int) -> bool:
    return not record.expires_at or now < record.expires_at

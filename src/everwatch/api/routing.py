"""Routes: method, path, permission, input and output of each. ``routes.table`` lists them, also for OpenAPI."""

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
from multidict import CIMultiDictProxy

from everwatch.api.permissions import NOBODY, Permission, Principal

PARAMETER = re.compile(r"\{(\w+)\}")
BODY_LIMIT = 1024 * 1024
"""Bytes of a body, unless its route says another limit; unpacked, if it comes compressed."""
NO_BODY = 0


class AuditedChange(NamedTuple):
    """One change that a request asked for, as the audit log names it; ``status`` 0: that of the answer.

    ``outcome``: "" for that of the answer's body. ``by``: who asked, where that is not the token of the request.
    ``change``: the fields that it changed (``spec_changes``).
    """

    command: str
    user_id: str = ""
    monitor_id: str = ""
    command_id: str = ""
    status: int = 0
    outcome: str = ""
    by: Principal | None = None
    change: str = ""


class Answer(NamedTuple):
    """Answer of a handler: a body as a struct (sent as JSON), or as bytes of ``media_type``.

    ``changes``: what the audit log is to say; None: the one change that the route makes. ``cookies``: each a
    Set-Cookie. ``change``: the fields of a spec that it changed, for the audit log.
    """

    body: Any = None
    status: int = 200
    headers: Mapping[str, str] = {}
    media_type: str = "application/json"
    changes: Sequence[AuditedChange] | None = None
    cookies: Sequence[str] = ()
    change: str = ""


Note = Callable[[Sequence[AuditedChange]], Awaitable[None]]


class Call(NamedTuple):
    """One request, as handlers see it: path parameters, headers, principal, and the deadline on the loop's clock.

    ``raw_path`` and ``query_string`` are as they came, percent-encoded. ``new_id``: the id of a command that the
    request gives none; ``address``: where it came from. ``request_digest``: of what it asks for; "" without an
    Idempotency-Key. ``note``: writes to the audit log at once, for a request of many changes.
    """

    path: Mapping[str, str]
    headers: CIMultiDictProxy[str]
    principal: Principal = NOBODY
    deadline_s: float = 0.0
    raw_path: str = ""
    query_string: str = ""
    new_id: str = ""
    address: str = ""
    request_digest: str = ""
    note: Note | None = None


Handler = Callable[..., Awaitable[Any]]
"""Takes a Call, and the query and the body where its route has them; gives an Answer (of a stream: what was sent)."""


class Example(NamedTuple):
    """An answer's status: its body's type (None for none) and what it means."""

    body: Any
    meaning: str


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """One method of one path.

    ``handler`` takes the call, and then the query and the body, where the route has these types. ``answers``: what it
    answers when all is well, by status; problem documents are added by what the route can meet. ``raw``: the body is
    handed over as bytes. ``versioned``: takes preconditions. ``command``: takes Idempotency-Key and Prefer.
    ``refusals``: statuses of problems that do not follow from the rest. ``documented``: it is for programs, so the
    OpenAPI document has it. ``any_query``: the query is ignored. ``has_head``: HEAD may be asked in place of GET.
    ``same_origin``: only pages of the console may ask, whether or not there is a session. ``audited``: the word for it
    in the audit log; "": it changes nothing that is logged. ``notes``: its handler writes to the audit log itself.
    ``is_patient``: it may take half a minute. ``claims_key``: its Idempotency-Key is remembered by the API, as no
    worker does so. ``streams``: its handler is given the request, and reads and answers as long as it likes.
    ``knows_readers``: it takes no token, but the call says whose token or session came along.
    """

    method: str
    path: str
    permission: Permission
    handler: Handler
    summary: str
    answers: dict[int, Example]
    query: type[msgspec.Struct] | None = None
    body: Any = None
    raw: bool = False
    body_limit: int = BODY_LIMIT
    media_type: str = "application/json"
    accepts: str = "application/json"
    versioned: bool = False
    command: bool = False
    refusals: tuple[int, ...] = ()
    documented: bool = True
    any_query: bool = False
    has_head: bool = True
    same_origin: bool = False
    audited: str = ""
    notes: bool = False
    is_patient: bool = False
    knows_readers: bool = False
    claims_key: bool = False
    streams: bool = False

    @property
    def parameters(self) -> list[str]:
        """The names of the path's parameters."""
        return PARAMETER.findall(self.path)

    @property
    def name(self) -> str:
        """Its name in metrics and logs: method and path, without what the parameters are."""
        return f"{self.method} {self.path}"

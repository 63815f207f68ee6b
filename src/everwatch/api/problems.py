"""Errors of the API as problem documents (RFC 9457). Nothing else leaves the process for a request that failed."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus

import msgspec

from everwatch.api.routing import AuditedChange
from everwatch.core.errors import InvalidInput, RefusalCode
from everwatch.model import CommandOutcome, Reply

MEDIA_TYPE = "application/problem+json"
MOST_DETAIL = 1_000
"""Characters of a detail: it may quote what was sent."""


class InvalidField(msgspec.Struct, frozen=True):
    """One field that is wrong: its path (``$.schedule.every``) and the reason, for a person."""

    path: str
    reason: str


BEHIND = "behind"
"""The code of a read that must see a write that the database does not have yet."""


class ProblemDocument(msgspec.Struct, frozen=True):
    """A problem document. ``code`` is the reason for a program; ``request_id`` finds the request in the log."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str
    errors: list[InvalidField] = []


class Problem(Exception):
    """A request that is answered with a problem document. ``headers``: what the answer carries besides.

    ``changes``: entries for the audit log where the edge would make none.
    """

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        errors: Sequence[InvalidField] = (),
        headers: Mapping[str, str] | None = None,
        changes: Sequence[AuditedChange] = (),
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail if len(detail) <= MOST_DETAIL else f"{detail[:MOST_DETAIL]}…"
        self.errors = list(errors)
        self.headers = dict(headers or {})
        self.changes = changes

    def document(self, request_id: str) -> ProblemDocument:
        """Return the document that says it."""
        return ProblemDocument(
            type="about:blank",
            title=HTTPStatus(self.status).phrase,
            status=self.status,
            detail=self.detail,
            code=self.code,
            request_id=request_id,
            errors=self.errors,
        )


# of each refusal of a worker or of an input; what is not here is 422
_OF_REFUSAL: Mapping[str, HTTPStatus] = {
    RefusalCode.NOT_FOUND: HTTPStatus.NOT_FOUND,
    RefusalCode.VERSION_MISMATCH: HTTPStatus.PRECONDITION_FAILED,
    RefusalCode.WRONG_KIND: HTTPStatus.CONFLICT,
    RefusalCode.NOT_PENDING: HTTPStatus.CONFLICT,
    RefusalCode.QUOTA: HTTPStatus.FORBIDDEN,
    RefusalCode.UNHANDLED: HTTPStatus.INTERNAL_SERVER_ERROR,
}


def invalid(error: InvalidInput) -> Problem:
    """Return the problem of an input that was refused before it was sent."""
    errors = [InvalidField(error.path, error.reason)] if error.path else []
    return Problem(_status_of(error.code), error.code, error.reason, errors=errors)


def refused(reply: Reply) -> Problem:
    """Return the problem of an input that a worker refused."""
    assert reply.answer is CommandOutcome.REFUSED  # there is no problem otherwise
    errors = [InvalidField(reply.path, reply.reason)] if reply.path else []
    code = reply.code or RefusalCode.INVALID
    return Problem(_status_of(code), code, reply.reason, errors=errors)


def _status_of(code: str) -> int:
    return _OF_REFUSAL.get(code, HTTPStatus.UNPROCESSABLE_ENTITY)


def not_found(what: str) -> Problem:
    """Return the problem of something that does not exist."""
    return Problem(404, RefusalCode.NOT_FOUND, f"There is no {what} (a moment ago, or not yet).")


def unavailable(code: str, detail: str, retry_after_s: int = 1) -> Problem:
    """Return the problem of a part that is unavailable: Kafka, the database, or a worker's answer."""
    return Problem(503, code, detail, headers={"Retry-After": str(retry_after_s)})


def too_deep() -> Problem:
    """Return the problem of input that is nested too deeply."""
    return Problem(400, "malformed", "Arrays and objects are nested too deeply.")


def unauthorized(detail: str, error: str) -> Problem:
    """Return the problem of a request without a token that holds; ``error``: as RFC 6750 names it, "" for no token."""
    challenge = 'Bearer realm="everwatch"' + (f', error="{error}"' if error else "")
    return Problem(401, "unauthorized", detail, headers={"WWW-Authenticate": challenge})

"""The one error of the client, made of the API's problem document."""

from collections.abc import Sequence

import msgspec

from everwatch.api.problems import InvalidField, ProblemDocument
from everwatch.core.errors import (
    AuthenticationRefused,
    BrokerUnavailable,
    EverwatchError,
    PermissionMissing,
    SettingsError,
    StoreError,
)

UNREACHABLE = "unreachable"
"""The code of a request that got no answer."""
NO_DOCUMENT = "no_problem_document"
"""The code of an answer that says nothing of itself, as of a proxy before the API."""
# what the command line exits with where it uses Kafka and the database itself
_EXIT_CODES = {
    UNREACHABLE: BrokerUnavailable.exit_code,
    "kafka_unavailable": BrokerUnavailable.exit_code,
    "database_unavailable": StoreError.exit_code,
    "behind": StoreError.exit_code,
    "unauthorized": AuthenticationRefused.exit_code,
    "forbidden": PermissionMissing.exit_code,
    "invalid_parameter": SettingsError.exit_code,
    "invalid_cursor": SettingsError.exit_code,
}


class ApiError(EverwatchError):
    """A request that failed: the API refused it, could not serve it, or was not reached.

    ``status``: of the answer, 0 if there was none. ``code`` is the reason for a program (docs/api.md lists them),
    ``reason`` for a person, ``path`` the field that is wrong ("" if none is named), ``errors`` all of them.
    ``request_id`` finds the request in the API's log. ``retry_after_s``: when to try again, as the API says it.
    """

    def __init__(
        self,
        status: int,
        code: str,
        reason: str,
        *,
        errors: Sequence[InvalidField] = (),
        request_id: str = "",
        retry_after_s: float | None = None,
    ) -> None:
        self.status = status
        self.code = code
        self.reason = reason
        self.errors = tuple(errors)
        self.path = self.errors[0].path if self.errors else ""
        self.request_id = request_id
        self.retry_after_s = retry_after_s
        self.exit_code = _EXIT_CODES.get(code, EverwatchError.exit_code)
        at_path = f" (at {self.path})" if self.path else ""
        super().__init__(f"{reason.removesuffix('.')}{at_path} [{code}]." if status else reason)


def unknown_answer(status: int, error: Exception) -> ApiError:
    """Return the error of an answer that cannot be read, as of something else at that address."""
    return ApiError(status, "unknown_answer", f"The API answered what this client does not know: {error}")


def error_of(status: int, body: bytes, retry_after: str | None, request_id: str) -> ApiError:
    """Return the error that an answer with this status and body stands for."""
    retry_after_s = float(retry_after) if retry_after is not None and retry_after.isdecimal() else None
    try:
        document = msgspec.json.decode(body, type=ProblemDocument)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ApiError(
            status,
            NO_DOCUMENT,
            f"What answers at the API's address gave status {status}: is it the API?",
            request_id=request_id,
            retry_after_s=retry_after_s,
        )
    return ApiError(
        status,
        document.code,
        document.detail,
        errors=document.errors,
        request_id=document.request_id,
        retry_after_s=retry_after_s,
    )

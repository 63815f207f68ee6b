"""Requests to the API as values: their content, and whether each may be sent again. Pure."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode

import msgspec

JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"
NDJSON = "application/x-ndjson"
_SAFE = frozenset({"GET", "HEAD"})


class ApiRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One request. ``path`` is percent-encoded, with its query.

    ``user_id``: the user it is about, "" for several. ``command_id``: sent as ``Idempotency-Key``, so that the server
    carries it out once. ``is_repeatable``: sent twice, it does what it does once. ``wait_s``: how long the server is
    to wait for a worker's answer, None where there is none. ``takes_s``: how much longer than
    others it may take. ``precondition``: If-Match or If-None-Match.
    """

    method: str
    path: str
    user_id: str = ""
    body: bytes | None = None
    media_type: str = JSON
    command_id: str = ""
    is_repeatable: bool = False
    wait_s: float | None = None
    takes_s: float = 0.0
    precondition: Mapping[str, str] = {}

    @property
    def is_read(self) -> bool:
        """Tell whether the request changes nothing."""
        return self.method in _SAFE

    @property
    def headers(self) -> dict[str, str]:
        """Headers of the request, without token and positions."""
        said = dict(self.precondition)
        if self.body is not None:
            said["Content-Type"] = self.media_type
        if self.command_id:
            said["Idempotency-Key"] = self.command_id
        if self.wait_s is not None:
            said["Prefer"] = f"wait={int(self.wait_s)}" if self.wait_s >= 1 else "respond-async"
        return said


def read(path: str, query: msgspec.Struct | None = None, *, user_id: str = "", **more: Any) -> ApiRequest:
    """Return a request that reads ``path``, with those of the query's parameters that are not the default."""
    given = {} if query is None else _given(query)
    given |= {name: value for name, value in more.items() if value}
    text = urlencode(given, doseq=True)
    return ApiRequest(method="GET", path=f"{path}?{text}" if text else path, user_id=user_id, is_repeatable=True)


def command(
    method: str,
    path: str,
    command_id: str,
    *,
    user_id: str,
    body: Any = None,
    wait_s: float | None = None,
    **more: Any,
) -> ApiRequest:
    """Return a request that changes something once, however often it is sent. ``more``: fields of ApiRequest."""
    return ApiRequest(
        method=method,
        path=path,
        user_id=user_id,
        body=None if body is None else msgspec.json.encode(body),
        command_id=command_id,
        is_repeatable=True,
        wait_s=wait_s,
        **more,
    )


def place(*segments: str) -> str:
    """Return a path below ``/v1`` of these segments, each percent-encoded."""
    return "/".join(("/v1", *(quote(segment, safe="") for segment in segments)))


def if_version(version: int | None) -> dict[str, str]:
    """Return the header that makes a change take this version; 0: there must be nothing, None: whatever there is."""
    if version == 0:
        return {"If-None-Match": "*"}
    return {"If-Match": "*" if version is None else f'"{version}"'}


def if_registration(tag: str | None) -> dict[str, str]:
    """Return the header that makes a change take a user's registration of this tag; "": there must be none."""
    if tag is None:
        return {}
    return {"If-Match": tag} if tag else {"If-None-Match": "*"}


def _given(query: msgspec.Struct) -> dict[str, Any]:
    """The parameters of a query that are not the default, as text."""
    plain = msgspec.to_builtins(query)
    return {
        field.encode_name: _text(plain[field.encode_name])
        for field in msgspec.structs.fields(query)
        if getattr(query, field.name) != field.default and plain[field.encode_name] not in (None, [])
    }


def _text(value: Any) -> Any:
    return str(value).lower() if isinstance(value, bool) else value

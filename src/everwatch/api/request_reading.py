"""Reads a request: path parameters, query and body, each checked against its type."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from hashlib import blake2b
from typing import Annotated, Any

import msgspec
import msgspec.inspect
from aiohttp import web
from msgspec.inspect import ListType

from everwatch.api.operators import OperatorName
from everwatch.api.problems import InvalidField, Problem, invalid, too_deep, unavailable
from everwatch.api.routing import Route
from everwatch.encoding.input_models import MonitorId, Name, UserId, refusal

Hold = Callable[[int], None]
"""Reserves room for bytes of a body."""
MOST_BODY_BYTES = 256 * 1024 * 1024
"""Bodies that a process holds at once."""
PATH_TYPES: Mapping[str, Any] = {
    "user_id": UserId,
    "monitor_id": Name,
    "task_id": Name,
    "command_id": MonitorId,
    "purge_id": MonitorId,
    "operator": OperatorName,
    "incident_id": Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")],
    "partition": Annotated[str, msgspec.Meta(pattern=r"^[0-9]{1,9}\Z")],
    "offset": Annotated[str, msgspec.Meta(pattern=r"^[0-9]{1,18}\Z")],
}
"""Types of path parameters, by name; one that is not here is text."""


def check_no_precondition(request: web.Request) -> None:
    """Refuse a precondition that would not be looked at: its sender relies on it. Raises Problem."""
    for name in ("If-Match", "If-None-Match"):
        if name in request.headers:
            raise Problem(400, "invalid_header", f"This takes no {name}: it would be carried out whatever there is.")


def check_no_key(request: web.Request) -> None:
    """Refuse an Idempotency-Key that would not be remembered: its sender relies on it. Raises Problem."""
    if "Idempotency-Key" in request.headers:
        raise Problem(
            400, "invalid_header", "This takes no Idempotency-Key: it would be carried out as often as it is sent."
        )


def check_path(name: str, value: str) -> None:
    """Check a path parameter. Raises Problem."""
    wanted = PATH_TYPES.get(name)
    if wanted is not None:
        try:
            msgspec.convert(value, wanted)
        except msgspec.ValidationError as error:
            found = refusal(error)
            raise Problem(422, "invalid", found.reason, errors=[InvalidField(f"path.{name}", found.reason)]) from None


def query_of(request: web.Request, wanted: type[msgspec.Struct]) -> msgspec.Struct:
    """Return the query as the struct that the route takes. Raises Problem."""
    given: dict[str, Any] = {}
    repeatable = _repeatable(wanted)
    for name in request.query:
        values = request.query.getall(name)
        if name in repeatable:
            given[name] = values
        elif len(values) > 1:
            raise Problem(400, "repeated_parameter", f"The parameter {name[:64]!r} may be given once.")
        else:
            given[name] = values[0]
    try:
        return msgspec.convert(given, wanted, strict=False)
    except msgspec.ValidationError as error:
        found = refusal(error, "query")
        raise Problem(400, "invalid_parameter", str(found), errors=[InvalidField(found.path, found.reason)]) from None


@lru_cache(maxsize=128)
def _repeatable(wanted: type[msgspec.Struct]) -> frozenset[str]:
    fields = msgspec.inspect.type_info(wanted)
    assert isinstance(fields, msgspec.inspect.StructType)  # a query is a struct
    return frozenset(field.encode_name for field in fields.fields if isinstance(_plain(field.type), ListType))


def _plain(found: msgspec.inspect.Type) -> msgspec.inspect.Type:
    """A type without its annotations."""
    return found.type if isinstance(found, msgspec.inspect.Metadata) else found


def digest_of(request: web.Request, data: bytes) -> str:
    """Return a digest of what a request asks for: its method, path, query and body."""
    named = f"{request.method} {request.rel_url.raw_path_qs}\n".encode()
    return blake2b(named + data, digest_size=12).hexdigest()


def body_of(request: web.Request, route: Route, data: bytes) -> Any:
    """Return a body as the type that the route takes. Raises Problem."""
    # a client that names no type is taken to send what is asked for
    if data and request.content_type not in (route.accepts, "application/json", "application/octet-stream"):
        raise Problem(415, "media_type", f"Send {route.accepts}, not {request.content_type[:100]}.")
    with json_problems():
        return msgspec.json.decode(data or b"{}", type=route.body)


@contextmanager
def json_problems() -> Iterator[None]:
    """Raise Problem for a body that is no JSON, or not of its type."""
    try:
        yield
    except msgspec.ValidationError as error:
        raise invalid(refusal(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Problem(400, "malformed", f"The body is not valid JSON: {error}") from None
    except RecursionError:
        raise too_deep() from None


class BodyBudget:
    """Limit of the bytes of all bodies that a process holds at once; a request that finds no room is refused.

    Bytes count as they arrive: a client that announces a large body and sends none of it takes no room.
    """

    def __init__(self, most: int = MOST_BODY_BYTES) -> None:
        self._left = most

    @contextmanager
    def held(self) -> Iterator[Hold]:
        """Return a function that takes room for bytes of one request, until it ends; it raises Problem."""
        taken = 0

        def hold(size: int) -> None:
            nonlocal taken
            if size > self._left:
                raise unavailable("overloaded", "Too many bodies of requests are held: send it again in a moment.")
            self._left -= size
            taken += size

        try:
            yield hold
        finally:
            self._left += taken


async def read_body(request: web.Request, limit: int, hold: Hold) -> bytes:
    """Return the body, unpacked if it comes compressed. Raises Problem for one that is larger than ``limit`` bytes."""
    if (request.content_length or 0) > limit:
        raise web.HTTPRequestEntityTooLarge(limit, request.content_length or 0)
    data = bytearray()
    while chunk := await request.content.readany():
        hold(len(chunk))
        data += chunk
        if len(data) > limit:
            raise web.HTTPRequestEntityTooLarge(limit, len(data))
    return bytes(data)

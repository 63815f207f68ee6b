"""The Python client against the OpenAPI document: each operation has a method, or a reason why it has none."""

import inspect
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from enum import Enum
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from support.api import api

from everwatch.client import ApiError, AsyncClient, Client

_FOR_JOBS = "takes a key in place of a token: a URL that jobs and other systems call"
_FOR_READERS = "a page or picture for browsers"
_FOR_BROWSERS = "logs a browser in or out"
_FOR_PROBES = "for probes, Prometheus and generators of clients"
WITHOUT_A_METHOD = {
    "/ping/": _FOR_JOBS,
    "/hooks/": _FOR_JOBS,
    "/badge/": _FOR_READERS,
    "/status/": _FOR_READERS,
    "/login": _FOR_BROWSERS,
    "/login/": _FOR_BROWSERS,
    "/logout": _FOR_BROWSERS,
    "/healthz": _FOR_PROBES,
    "/readyz": _FOR_PROBES,
    "/metrics": _FOR_PROBES,
    "/openapi.json": _FOR_PROBES,
    "/v1/import": "import_rows takes files of any length (/v1/imports)",
    "/v1/commands/{command_id}": "outcome asks for the same below the user",
    "/v1/users/{user_id}/monitors": "monitors asks /v1/monitors of one user",
    "/v1/users/{user_id}/tasks": "tasks asks /v1/tasks of one user",
}
"""Paths, or what these begin with (ending in a slash); of the last two GET alone."""


def has_a_method(method: str, path: str) -> bool:
    if path in ("/v1/users/{user_id}/monitors", "/v1/users/{user_id}/tasks"):
        return method != "GET"
    begins = tuple(each for each in WITHOUT_A_METHOD if each.endswith("/"))
    return path not in WITHOUT_A_METHOD and not path.startswith(begins)


def some(kind: Any, name: str = "") -> Any:
    """Return any value of a type, for the argument of this name."""
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return some(parts[0], name)
    if origin in (Union, UnionType):
        return some(next(each for each in parts if each is not NoneType), name)
    if origin is Literal:
        return parts[0]
    if origin in (list, tuple, Sequence, AsyncIterator):
        return []
    if origin in (dict, Mapping):
        return {}
    if isinstance(kind, type) and issubclass(kind, Enum):
        return next(iter(kind))
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        hints = get_type_hints(kind, include_extras=True)
        # methods of one monitor take its user from their query
        given = [each.name for each in msgspec.structs.fields(kind) if each.required or each.name == "user"]
        return kind(**{name: some(hints[name], name) for name in given})
    values: dict[Any, Any] = {str: f"some-{name}", int: 1, float: 1.0, bool: False, bytes: b"{}\n", Any: {}}
    return values.get(kind, [])


def calls_of(name: str) -> list[tuple[list[Any], dict[str, Any]]]:
    """Return arguments of two calls: with those that it must have, None where it takes that, and with all."""
    method = getattr(AsyncClient, name)
    hints = get_type_hints(method, include_extras=True)
    found = []
    for is_whole in (False, True):
        positional, named = [], {}
        for each in list(inspect.signature(method).parameters.values())[1:]:
            if each.kind is each.VAR_POSITIONAL:
                positional.append(some(hints[each.name], each.name))
            elif each.default is each.empty or is_whole:
                takes_none = not is_whole and NoneType in get_args(hints[each.name])
                named[each.name] = None if takes_none else some(hints[each.name], each.name)
        found.append((positional, named))
    return found


METHODS = sorted(
    name
    for name in dir(AsyncClient)
    if not name.startswith("_") and callable(getattr(AsyncClient, name)) and name not in ("close", "get", "page")
)


async def requests_of_all_methods() -> set[tuple[str, str]]:
    """Call each method of a client, and return the method and path of each request."""
    seen: set[tuple[str, str]] = set()

    async def refuse(request: web.Request) -> web.Response:
        seen.add((request.method, request.path))
        return web.json_response({"status": 404, "code": "not_found", "title": "", "detail": ""}, status=404)

    app = web.Application()
    app.router.add_route("*", "/{any:.*}", refuse)
    async with TestServer(app) as server, AsyncClient(str(server.make_url("/")), "token") as client:
        for name in METHODS:
            for positional, named in calls_of(name):
                # each is refused
                with suppress(ApiError):
                    made = getattr(client, name)(*positional, **named)
                    await (anext(made) if inspect.isasyncgen(made) else made)
    return seen


async def test_each_operation_of_the_document_has_a_method_of_the_client_or_a_reason_why_not() -> None:
    async with api() as server:
        paths = (await server.call("GET", "/openapi.json", token=None)).json["paths"]
    wanted = {
        (method.upper(), path) for path, methods in paths.items() for method in methods if method in _METHODS_OF_HTTP
    }
    seen = await requests_of_all_methods()
    literal_first = sorted(wanted, key=lambda each: each[1].count("{"))
    reached = set()
    for method, path in seen:
        matching = (each for each in literal_first if each[0] == method and _pattern(each[1]).fullmatch(path))
        found = next(matching, None)
        assert found is not None, f"no operation is {method} {path}"
        reached.add(found)
    missing = {each for each in wanted - reached if has_a_method(*each)}
    assert missing == set()
    assert {each for each in reached if not has_a_method(*each)} == set()


_METHODS_OF_HTTP = ("get", "put", "post", "patch", "delete")


def _pattern(path: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\{\w+\}", "[^/]+", path))


@pytest.mark.parametrize("name", METHODS)
def test_the_blocking_client_has_each_method(name: str) -> None:
    assert callable(getattr(Client, name))

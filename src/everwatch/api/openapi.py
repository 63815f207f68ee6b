"""The OpenAPI 3.1 document, made of the table of routes and the types of bodies, queries and answers. Pure."""

from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec.json import schema, schema_components

from everwatch.api import problems
from everwatch.api.cookies import CONSOLE_HEADER
from everwatch.api.permissions import Reach
from everwatch.api.problems import ProblemDocument
from everwatch.api.request_reading import PATH_TYPES
from everwatch.api.routing import Example, Route

_REF = "#/components/schemas/{name}"
_JSON = "application/json"
PERMISSION = "x-everwatch-permission"
"""Which scope an operation takes (null: none), and what a token that is limited to one user may do: see ``Reach``."""
_HEADERS: dict[str, dict[str, Any]] = {
    "Idempotency-Key": {
        "description": "Id of the command: sent again with the same one it is carried out once.",
        "schema": {"type": "string", "minLength": 1, "maxLength": 128, "pattern": r"^[!-~]+$"},
    },
    "Prefer": {
        "description": "wait=N: seconds to wait for a worker's answer, at most 30; respond-async: none (RFC 7240).",
        "schema": {"type": "string", "pattern": r"^(wait=[0-9]{1,2}|respond-async)$"},
    },
    CONSOLE_HEADER: {
        "description": "1: a page of the console asks; with a session every write takes it.",
        "schema": {"type": "string", "enum": ["1"]},
    },
    "If-Match": {
        "description": "The ETag of the user or monitor that is changed, or * for any.",
        "schema": {"type": "string", "pattern": r'^(\*|"[0-9]{1,9}"|"[0-9a-f]{16}")$'},
    },
    "Everwatch-After": {
        "description": "The Everwatch-Position of an answer, or of several: the read waits up to 2 s until it sees"
        " those writes.",
        "schema": {"type": "string", "pattern": r"^[0-9]{1,4}@[0-9]{1,15}(,[0-9]{1,4}@[0-9]{1,15}){0,15}$"},
    },
}


def document(routes: Iterable[Route], version: str) -> dict[str, Any]:
    """Return the document."""
    routes = [route for route in routes if route.documented]
    paths: dict[str, dict[str, Any]] = {}
    schemas, components = _schemas(routes)
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, schemas)
    made = {
        "openapi": "3.1.0",
        "info": {
            "title": "Everwatch",
            "version": version,
            "description": "Every instant is milliseconds since 1970 (UTC). Errors are problem documents (RFC 9457).",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "responses": {
                "problem": {
                    "description": "What is wrong.",
                    "content": {problems.MEDIA_TYPE: {"schema": _ref("ProblemDocument")}},
                }
            },
        },
    }
    portable: dict[str, Any] = _portable(made)
    return portable


def _portable(value: Any) -> Any:
    """A document whose patterns mean the same in the regular expressions of ECMA-262."""
    if isinstance(value, list):
        return [_portable(each) for each in value]
    if not isinstance(value, dict):
        return value
    return {
        name: each.replace(r"\Z", "$") if name == "pattern" and isinstance(each, str) else _portable(each)
        for name, each in value.items()
    }


def _schemas(routes: list[Route]) -> tuple[dict[Any, dict[str, Any]], dict[str, Any]]:
    """The schema of each type that a route names, and the components that they refer to."""
    types: list[Any] = [ProblemDocument]
    for route in routes:
        types += [each.body for each in route.answers.values() if each.body is not None]
        types += [] if route.body is None or route.raw else [route.body]
    found, components = schema_components(types, ref_template=_REF)
    return {_key(kind): made for kind, made in zip(types, found, strict=True)}, components


def _key(kind: Any) -> str:
    return repr(kind)


def _ref(name: str) -> dict[str, str]:
    return {"$ref": _REF.format(name=name)}


def _operation(route: Route, schemas: dict[Any, dict[str, Any]]) -> dict[str, Any]:
    responses = {str(status): _response(route, example, schemas) for status, example in route.answers.items()}
    for status in _problems_of(route):
        responses.setdefault(str(status), {"$ref": "#/components/responses/problem"})
    made: dict[str, Any] = {
        "operationId": _operation_id(route),
        "summary": route.summary,
        "parameters": [*_path_parameters(route), *_query_parameters(route), *_header_parameters(route)],
        "responses": responses,
        "security": [] if route.permission.is_open else [{"token": []}],
        "tags": [_tag(route)],
        PERMISSION: _permission(route),
    }
    if route.permission.scope is not None:
        made["description"] = f"Takes the scope `{route.permission.scope}`."
    if route.body is not None or (route.raw and route.method not in ("GET", "HEAD")):
        content: Any = {"schema": {"type": "string"} if route.raw else schemas[_key(route.body)]}
        required = not route.raw
        made["requestBody"] = {"required": required, "content": {route.accepts: content}}
        if route.accepts.endswith("+json"):
            made["requestBody"]["content"][_JSON] = content
    return made


def _permission(route: Route) -> dict[str, Any]:
    return route.permission._asdict()


def _response(route: Route, example: Example, schemas: dict[Any, dict[str, Any]]) -> dict[str, Any]:
    if example.body is None:
        return {"description": example.meaning}
    is_json = route.media_type == _JSON
    content = {"schema": schemas[_key(example.body)] if is_json else {"type": "string"}}
    media_type = _JSON if example.body not in (str, bytes) else route.media_type
    return {"description": example.meaning, "content": {media_type: content}}


def _problems_of(route: Route) -> list[int]:
    """The statuses of problem documents that a route can answer."""
    found = {400, 503, *route.refusals}
    if not route.permission.is_open or route.same_origin:
        found |= {401, 403, 429}
    if route.permission.reach is Reach.KEY:
        found |= {404}
    if route.body is not None or route.raw:
        found |= {413, 422}
    if route.body is not None:
        found |= {415}
    if route.parameters:
        found |= {404, 422}
    if route.command:
        found |= {403, 404, 409, 422}
    if route.versioned:
        found |= {412, 428}
    return sorted(found)


def _path_parameters(route: Route) -> list[dict[str, Any]]:
    made = []
    for name in route.parameters:
        shape = schema(PATH_TYPES[name]) if name in PATH_TYPES else {"type": "string", "minLength": 1}
        made.append({"name": name, "in": "path", "required": True, "schema": shape})
    return made


def _query_parameters(route: Route) -> list[dict[str, Any]]:
    if route.query is None:
        return []
    made = []
    for field in msgspec.structs.fields(route.query):
        shape = schema(field.type)
        shape.pop("$defs", None)
        definitions = schema(field.type).get("$defs", {})
        shape = _inlined(shape, definitions)
        parameter: dict[str, Any] = {"name": field.encode_name, "in": "query", "required": False, "schema": shape}
        if (description := shape.pop("description", "")) != "":
            parameter["description"] = description
        made.append(parameter)
    return made


def _inlined(shape: Any, definitions: dict[str, Any]) -> Any:
    """A schema without references to definitions of its own: a parameter stands alone."""
    if isinstance(shape, list):
        return [_inlined(each, definitions) for each in shape]
    if not isinstance(shape, dict):
        return shape
    if (ref := shape.get("$ref")) is not None:
        return dict(definitions[ref.rpartition("/")[2]])
    # a query has no null: what is not given is left out
    if "anyOf" in shape:
        options = [each for each in shape["anyOf"] if each != {"type": "null"}]
        if len(options) == 1:
            return _inlined(options[0], definitions)
    return {
        name: _inlined(value, definitions) for name, value in shape.items() if name != "default" or value is not None
    }


def _header_parameters(route: Route) -> list[dict[str, Any]]:
    names = []
    if route.command:
        names += ["Idempotency-Key", "Prefer"]
    if route.versioned:
        names += ["If-Match"]
    if route.same_origin:
        names += [CONSOLE_HEADER]
    if route.permission.scope is not None and route.method == "GET":
        names += ["Everwatch-After"]
    return [{"name": name, "in": "header", "required": False, **_HEADERS[name]} for name in names]


def _operation_id(route: Route) -> str:
    words = route.path.replace("{", "by_").replace("}", "").replace("-", "_").replace(".", "_").strip("/").split("/")
    return "_".join([route.method.lower(), *words])


def _tag(route: Route) -> str:
    parts = [part for part in route.path.strip("/").split("/") if part != "v1" and not part.startswith("{")]
    return parts[1] if parts[0] == "users" and len(parts) > 1 and parts[1] in ("monitors", "tasks") else parts[0]

"""Promises of the OpenAPI document to clients, those of an older document that are missing."""

from collections.abc import Iterator
from typing import Any

Shape = dict[str, Any]


def shape_of(document: Shape) -> Shape:
    """Return of each operation who may use it, its query parameters, the fields of its body and of its answers."""
    found: Shape = {}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            query = [each for each in operation.get("parameters", []) if each["in"] == "query"]
            found[f"{method.upper()} {path}"] = {
                "permission": operation["x-everwatch-permission"],
                "query": sorted(each["name"] for each in query),
                "must": sorted(each["name"] for each in query if each.get("required")),
                "body": _fields(document, operation.get("requestBody", {})),
                "answers": {
                    status: _fields(document, answer)
                    for status, answer in sorted(operation["responses"].items())
                    if status.startswith("2")
                },
            }
    return found


def broken(old: Shape, new: Shape) -> Iterator[str]:
    """Yield what a client of the old document would miss, or would now have to send."""
    for name, before in old.items():
        now = new.get(name)
        if now is None:
            yield f"{name} is gone"
            continue
        yield from (f"{name} takes no {each} any more" for each in before["query"] if each not in now["query"])
        yield from (f"{name} must have {each} now" for each in now["must"] if each not in before["must"])
        for status, answer in before["answers"].items():
            if status not in now["answers"]:
                yield f"{name} answers no {status} any more"
                continue
            held = now["answers"][status]["fields"]
            yield from (f"{name} answers no {each} any more" for each in answer["fields"] if each not in held)
        yield from _broken_body(name, before["body"], now["body"])


def other_permissions(old: Shape, new: Shape) -> Iterator[str]:
    """Yield the operations that the old shape opens to others than the new one, or does not name."""
    for name, now in new.items():
        before = old.get(name, {}).get("permission")
        if before != now["permission"]:
            yield f"{name} was open to {before}, and is now to {now['permission']}"


def _broken_body(name: str, before: Shape, now: Shape) -> Iterator[str]:
    yield from (f"{name} takes no {each} any more" for each in before["fields"] if each not in now["fields"])
    parents = {each.rpartition(".")[0] for each in before["fields"]}
    for each in now["must"]:
        # what stands within something new is asked of nobody who does not send that
        if each not in before["must"] and each.rpartition(".")[0] in parents | {""}:
            yield f"{name} must have {each} now"


def _fields(document: Shape, holder: Shape) -> Shape:
    """Return the names of all fields, with dots, and those that must be there."""
    fields: set[str] = set()
    must: set[str] = set()
    for media in holder.get("content", {}).values():
        _walk(document, media.get("schema", {}), "", fields, must, ())
    return {"fields": sorted(fields), "must": sorted(must)}


def _walk(document: Shape, schema: Any, place: str, fields: set[str], must: set[str], seen: tuple[str, ...]) -> None:
    if not isinstance(schema, dict):
        return
    if reference := schema.get("$ref"):
        name = reference.rpartition("/")[2]
        if name not in seen:
            _walk(document, document["components"]["schemas"][name], place, fields, must, (*seen, name))
        return
    for name, inner in schema.get("properties", {}).items():
        fields.add(f"{place}{name}")
        _walk(document, inner, f"{place}{name}.", fields, must, seen)
    must.update(f"{place}{name}" for name in schema.get("required", ()))
    for part in (*schema.get("anyOf", ()), *schema.get("oneOf", ()), *schema.get("allOf", ())):
        _walk(document, part, place, fields, must, seen)
    for name in ("items", "additionalProperties"):
        _walk(document, schema.get(name), place, fields, must, seen)

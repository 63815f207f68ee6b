"""Difference between two versions of a monitor's spec, as the audit log keeps it and the API answers it. Pure."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import orjson

from everwatch.api.rendering import spec_json
from everwatch.encoding.templates import inside
from everwatch.kinds.execution.config_secrets import redacted_spec
from everwatch.model import MonitorSpec

LONGEST = 4_000
"""Characters of a difference that is kept; the values of a longer one are left out."""


class Versions(NamedTuple):
    """The same part of both versions, as it is and as it is shown."""

    before: Any
    after: Any
    shown_before: Any
    shown_after: Any


class _Absent:
    """No value."""


_ABSENT = _Absent()


def changes_between(before: MonitorSpec, after: MonitorSpec) -> list[dict[str, Any]]:
    """Return the fields that differ, each with ``path``, ``before`` and ``after``, without secrets.

    A field that is new has no ``before``, one that has gone no ``after``. Both specs hold their secrets as given.
    """
    versions = Versions(*(orjson.loads(spec_json(each)) for each in (before, after)), *_shown(before, after))
    return list(_differences(versions, "$"))


def changes_text(before: MonitorSpec, after: MonitorSpec) -> str:
    """Return what ``changes_between`` gives as JSON; "" for no difference."""
    found = changes_between(before, after)
    if not found:
        return ""
    text = orjson.dumps(found).decode()
    if len(text) <= LONGEST:
        return text
    paths = orjson.dumps([{"path": each["path"]} for each in found]).decode()
    return paths if len(paths) <= LONGEST else orjson.dumps([{"path": "$"}]).decode()


def _shown(*specs: MonitorSpec) -> Iterator[Any]:
    return (orjson.loads(spec_json(redacted_spec(each))) for each in specs)


def _differences(of: Versions, path: str) -> Iterator[dict[str, Any]]:
    if of.before == of.after:
        return
    if all(isinstance(each, dict) for each in of):
        for name in sorted({*of.before, *of.after}):
            yield from _differences(Versions(*(each.get(name, _ABSENT) for each in of)), inside(path, name))
        return
    said = {"path": path, "before": of.shown_before, "after": of.shown_after}
    yield {name: value for name, value in said.items() if value is not _ABSENT}

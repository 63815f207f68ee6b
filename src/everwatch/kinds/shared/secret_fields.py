"""Secret fields of a kind's config: their paths, and the replacement of their values.

A field is one by the mark ``SECRET`` in its annotation (``everwatch.kinds.protocol``). In a stored or shown config an
object with a single member stands for its value: ``{"$encrypted": TOKEN}`` or ``{"$redacted": true}``.
"""

from collections.abc import Callable, Collection, Mapping
from functools import cache
from typing import Any

import msgspec
from msgspec import inspect

from everwatch.core.errors import InvalidInput
from everwatch.kinds.protocol import SECRET, FieldError

ENCRYPTED, REDACTED = "$encrypted", "$redacted"
# stands in a path for each value of a mapping, and for each item of a list
_EACH = "*"
_DEEPEST = 8

Path = tuple[str, ...]
Replace = Callable[[Any, str], Any]


@cache
def secret_paths(config_type: type[msgspec.Struct]) -> tuple[Path, ...]:
    """Return the paths of a config's secrets, as the names that lead there."""
    return tuple(sorted(set(_paths(inspect.type_info(config_type), ()))))


@cache
def hints(config_type: type[msgspec.Struct]) -> tuple[str, ...]:
    """Return texts of which one is in every config, as JSON text, that has a secret."""
    return tuple(sorted({f'"{path[0]}":' for path in secret_paths(config_type) if path}))


def replaced(config: Any, paths: tuple[Path, ...], replace: Replace) -> Any:
    """Return ``config`` with what ``replace`` makes of each secret and of the place where it stands (``$.bearer``)."""
    for path in paths:
        config = _replaced(config, path, "$", replace)
    return config


def refuse_stand_ins(config: Any, config_type: type[msgspec.Struct]) -> None:
    """Raise InvalidInput if something stands for a secret in a config that comes from outside."""

    def look(value: Any, place: str) -> Any:
        if isinstance(value, Mapping) and value.keys() & {ENCRYPTED, REDACTED}:
            raise InvalidInput(
                "the secret is redacted here: give the secret itself, or export it with --secrets"
                if REDACTED in value
                else "an encrypted secret is not taken: give the secret itself",
                f"$.config{place.removeprefix('$')}",
            )
        return value

    replaced(config, secret_paths(config_type), look)


def check_apart(headers: Collection[str], secret_headers: Collection[str]) -> None:
    """Raise FieldError for a header that is in both."""
    if secret_headers:
        given = {name.lower() for name in headers}
        for name in secret_headers:
            if name.lower() in given:
                raise FieldError("secret_headers", f"the header {name} is in 'headers', too")


def token_of(value: Any) -> str | None:
    """Return the token that stands for a secret; None if ``value`` is no such thing."""
    if isinstance(value, dict) and len(value) == 1 and isinstance(token := value.get(ENCRYPTED), str):
        return token
    return None


def _replaced(value: Any, path: Path, place: str, replace: Replace) -> Any:
    if not path:
        return replace(value, place)
    name, rest = path[0], path[1:]
    if isinstance(value, dict):
        if name != _EACH:
            inside = value.get(name)
            return value if inside is None else value | {name: _replaced(inside, rest, f"{place}.{name}", replace)}
        return {key: _replaced(each, rest, f"{place}.{key}", replace) for key, each in value.items()}
    if isinstance(value, list) and name == _EACH:
        return [_replaced(each, rest, f"{place}[{index}]", replace) for index, each in enumerate(value)]
    return value


def _paths(found: inspect.Type, path: Path) -> list[Path]:
    if len(path) > _DEEPEST:
        return []  # a type that contains itself
    match found:
        case inspect.Metadata():
            if found.extra and found.extra.items() >= SECRET.items():
                return [path]
            return _paths(found.type, path)
        case inspect.UnionType():
            return [each for member in found.types for each in _paths(member, path)]
        case inspect.StructType():
            return [each for field in found.fields for each in _paths(field.type, (*path, field.encode_name))]
        case inspect.DictType():
            return _paths(found.value_type, (*path, _EACH))
        case inspect.CollectionType():
            return _paths(found.item_type, (*path, _EACH))
        case _:
            return []

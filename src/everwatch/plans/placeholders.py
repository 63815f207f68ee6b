"""Placeholders in a plan's monitors, such as ``{{user.attributes.site}}``, and filling them in. Pure.

Braces around anything else are left as they are: they are the kinds' own templates (``encoding.templates``), which
are filled in at each run. So a value must never bring braces of its own into a text.
"""

import re
from collections.abc import Iterator, Mapping
from datetime import date, datetime, time
from math import isfinite
from typing import Any, NamedTuple

import msgspec
import orjson

from everwatch.core.errors import InvalidInput, RefusalCode
from everwatch.encoding.contacts import PREFIX as CONTACT_PREFIX
from everwatch.encoding.templates import DEEPEST, inside
from everwatch.model import Scalar

LONGEST_VALUE = 4_096
"""Characters of one value that is filled in; without a bound a plan's few names could make a huge monitor."""

ID_NAME, PLAN_NAME = "user.id", "user.plan"

_OPEN, _CLOSE = "{{", "}}"
_MEANT = re.compile(r"[{\s]*user\s*(?:\..*)?", re.DOTALL)
_NAME = re.compile(
    r"user\.(?:(?P<known>id|plan)"
    r"|(?:attributes\.(?P<attribute>[\w-]{1,128}(?:\.[\w-]{1,128})*)|contacts\.(?P<contact>[a-z][a-z0-9_-]{0,31}))"
    r"(?:\s+or\s+(?P<default>'[^'{}]*'|true|false|-?(?:0|[1-9][0-9]{0,14})(?:\.[0-9]{1,15})?))?)"
)
_KNOWN = (
    "user.id, user.plan, user.contacts.NAME and user.attributes.NAME,"
    " the last two also as user.attributes.NAME or 'default'"
)


class PlaceholderUser(NamedTuple):
    """The user whose monitors are to be filled in."""

    user_id: str
    plan: str
    attributes: Mapping[str, Scalar]


class Name(msgspec.Struct, frozen=True):
    """A name within a text. ``attribute`` is empty for what every user has; ``default`` None: there is none."""

    shown: str
    attribute: str = ""
    default: Scalar = None

    @property
    def path(self) -> str:
        """Return where a signup says what this name stands for."""
        if self.shown.startswith("user.contacts."):
            return f"$.{self.attribute}"
        return inside("$.attributes", self.attribute) if self.attribute else "$.user_id"

    def value(self, given: PlaceholderUser, field: str) -> str | int | float:
        """Return what this name stands for, never None. Raises InvalidInput, with the path in the signup."""
        if not self.attribute:
            value: Scalar = given.plan if self.shown == PLAN_NAME else given.user_id
        elif (value := given.attributes.get(self.attribute)) is None and (value := self.default) is None:
            raise InvalidInput(
                f"{field} needs this attribute, and the signup has none", self.path, RefusalCode.MISSING_ATTRIBUTE
            )
        if isinstance(value, str):
            if len(value) > LONGEST_VALUE:
                raise InvalidInput(f"{field} takes at most {LONGEST_VALUE} characters", self.path)
            if _OPEN in value:
                raise InvalidInput(f"{field} takes no text with {_OPEN}, which would be a template", self.path)
        elif isinstance(value, float) and not isfinite(value):
            raise InvalidInput(f"{field} takes no number that is not finite", self.path)
        assert value is not None  # a missing one was refused above
        return value


class Text:
    """A text with names in it. One that is a single name becomes the value with its type."""

    def __init__(self, pieces: list[str | Name], field: str) -> None:
        self.field = field
        self.names = tuple(piece for piece in pieces if isinstance(piece, Name))
        self._pieces = pieces
        self._opened = sum(_count_open(piece) for piece in pieces if isinstance(piece, str))

    @property
    def whole(self) -> Name | None:
        """Return the name that is all of the text, if it is a single one without a default."""
        first = self._pieces[0]
        return first if isinstance(first, Name) and len(self._pieces) == 1 and first.default is None else None

    def filled(self, given: PlaceholderUser) -> Scalar:
        """The text for a user. Raises InvalidInput."""
        if len(self._pieces) == 1:
            return self.names[0].value(given, self.field)
        values = [name.value(given, self.field) for name in self.names]
        written = iter([value if isinstance(value, str) else orjson.dumps(value).decode() for value in values])
        text = "".join([next(written) if isinstance(piece, Name) else piece for piece in self._pieces])
        # half of an opening brace in a value, and the other half beside it
        if _count_open(text) != self._opened:
            path = next(n.path for n, v in zip(self.names, values, strict=True) if isinstance(v, str) and "{" in v)
            raise InvalidInput(f"{self.field} takes no text that makes {_OPEN} with what stands beside it", path)
        return text


class Object:
    """An object with names somewhere in it."""

    def __init__(self, members: dict[str, Any]) -> None:
        self._plain = {key: value for key, value in members.items() if not is_open(value)}
        self._open = [(key, value) for key, value in members.items() if is_open(value)]
        self.texts: tuple[Text, ...] = tuple(text for _, value in self._open for text in texts_of(value))

    def filled(self, given: PlaceholderUser) -> dict[str, Any]:
        """The object for a user. Raises InvalidInput."""
        return self._plain | {key: value.filled(given) for key, value in self._open}

    def settled_members(self) -> dict[str, Any]:
        """The members in which there is no name."""
        return self._plain

    def is_open_at(self, key: str) -> bool:
        """Tell whether there is a name in the member ``key``."""
        return any(key == named for named, _ in self._open)

    def names(self) -> list[str]:
        """The names of all members."""
        return [*self._plain, *(key for key, _ in self._open)]


class Items:
    """A list with names somewhere in it."""

    def __init__(self, items: list[Any]) -> None:
        self._items = items
        self.texts: tuple[Text, ...] = tuple(text for item in items for text in texts_of(item))

    def filled(self, given: PlaceholderUser) -> list[Any]:
        """The list for a user. Raises InvalidInput."""
        return [item.filled(given) if is_open(item) else item for item in self._items]


def is_open(document: object) -> bool:
    """Tell whether there is a name anywhere in a document as ``compiled``."""
    return isinstance(document, Text | Object | Items)


def texts_of(document: object) -> tuple[Text, ...]:
    """The texts with names in a document as ``compiled``."""
    if isinstance(document, Text):
        return (document,)
    return document.texts if isinstance(document, Object | Items) else ()


def compiled(document: object, field: str, depth: int = 1) -> Any:
    """A TOML value with its names found; a value without names stays, with dates as ISO 8601 text.

    Raises InvalidInput, whose path is the place within the plan, for what cannot be a name, or no JSON.
    """
    if depth > DEEPEST:
        raise InvalidInput(f"this is nested more than {DEEPEST} levels deep", field)
    match document:
        case str():
            pieces = list(_pieces(document, field))
            return Text(pieces, field) if any(isinstance(piece, Name) for piece in pieces) else document
        case dict():
            for key in document:
                if any(isinstance(piece, Name) for piece in _pieces(key, field)):
                    raise InvalidInput("names of the user may stand in values, not in keys", inside(field, key))
            members = {key: compiled(value, inside(field, key), depth + 1) for key, value in document.items()}
            return Object(members) if any(map(is_open, members.values())) else members
        case list():
            items = [compiled(item, f"{field}[{index}]", depth + 1) for index, item in enumerate(document)]
            return Items(items) if any(map(is_open, items)) else items
        case datetime() | date() | time():
            return document.isoformat()
        case int() if not -(2**63) <= document < 2**63:
            raise InvalidInput("this does not fit into 64 bits", field)
        case float() if not isfinite(document):
            raise InvalidInput("this is not a finite number", field)
    return document


def _pieces(text: str, field: str) -> Iterator[str | Name]:
    """Literal text and names, in order. Raises InvalidInput for braces that mean the user and name nothing."""
    at, literal = 0, ""
    while (start := text.find(_OPEN, at)) >= 0 and (end := text.find(_CLOSE, start + 2)) >= 0:
        inner = text[start + 2 : end].strip()
        if found := _NAME.fullmatch(inner):
            if literal := literal + text[at:start]:
                yield literal
            literal = ""
            yield _name(found)
        elif _MEANT.fullmatch(inner):
            raise InvalidInput(f"{_OPEN}{inner[:100]}{_CLOSE} is not known; known are {_KNOWN}", field)
        else:
            literal += text[at : end + 2]
        at = end + 2
    if literal := literal + text[at:]:
        yield literal


def _name(found: re.Match[str]) -> Name:
    if found["known"]:
        return Name(f"user.{found['known']}")
    if found["contact"]:
        shown, attribute = f"user.contacts.{found['contact']}", f"{CONTACT_PREFIX}{found['contact']}"
    else:
        shown, attribute = f"user.attributes.{found['attribute']}", found["attribute"]
    default = found["default"]
    if default is None:
        return Name(shown, attribute)
    value = default[1:-1] if default.startswith("'") else orjson.loads(default)
    return Name(shown, attribute, value)


def _count_open(text: str) -> int:
    """At how many places two braces open, overlapping ones included."""
    return sum(1 for _ in _TWO.finditer(text)) if "{" in text else 0


_TWO = re.compile(r"\{(?=\{)")

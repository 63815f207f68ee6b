"""Templates: JSON documents whose texts may name what a tick knows, such as ``{{user_id}}`` or ``{{payload.coupon}}``.

The language is our own because it is only names. Mustache and its kin make text: what is filled in would have to be
escaped for JSON, numbers become text, and an unknown name is silently empty. Jinja is a programming language, which a
user's template could keep busy without end.
"""

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

import msgspec

from everwatch.core.errors import InvalidInput
from everwatch.model import Tick

LARGEST_TEMPLATE_BYTES = 64 * 1024
LARGEST_RENDERED_BYTES = 256 * 1024
DEEPEST = 32
_LONGEST_NAME = 200

NAMES = ("tick_id", "user_id", "monitor_id", "scheduled_at", "scheduled_at_ms", "attempt", "manual", "payload")
"""What a template may begin a name with."""

_OPEN, _CLOSE = "{{", "}}"
_QUOTED_OPEN = "'{{'"
_NAME = re.compile(r"[\w-]+(?:\.[\w-]+)*")
_PLAIN_KEY = re.compile(r"[\w-]{1,100}")
_INDEX = re.compile(r"[0-9]{1,9}")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def tick_id(tick: Tick) -> str:
    """A name for ``tick``, the same at each attempt: ASCII without dots, 51 characters until the year 2286.

    Made of user, monitor and ``scheduled_at``, which are what a tick is known by.
    """
    of = f"{tick.user_id}\0{tick.monitor_id}\0{tick.scheduled_at}"
    return f"tick_{tick.scheduled_at}_{sha256(of.encode()).hexdigest()[:32]}"


def tick_values(tick: Tick) -> dict[str, Any]:
    """Return the values that templates may name. ``scheduled_at`` is ISO 8601 in UTC; ``payload`` may be None.

    Raises InvalidInput for a payload that cannot be read.
    """
    try:
        payload = msgspec.json.decode(tick.payload) if tick.payload else None
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidInput(f"the payload cannot be read: {error}", "$.payload") from None
    instant = (_EPOCH + timedelta(milliseconds=tick.scheduled_at)).isoformat(timespec="milliseconds")
    values = (
        tick_id(tick),
        tick.user_id,
        tick.monitor_id,
        instant.removesuffix("+00:00") + "Z",
        tick.scheduled_at,
        tick.attempt,
        tick.manual,
        payload,
    )
    return dict(zip(NAMES, values, strict=True))


def default_template() -> dict[str, Any]:
    """The document of a monitor that names none: type, timestamp and data, as Standard Webhooks recommends."""
    data = {"user_id": "{{user_id}}", "monitor_id": "{{monitor_id}}", "payload": "{{payload}}"}
    return {"type": "everwatch.tick", "timestamp": "{{scheduled_at}}", "data": data}


def check_template(document: object, path: str) -> None:
    """Raise InvalidInput, with the path of the text that is wrong (``path`` is the document's)."""
    _check(document, path, 1)
    size = len(msgspec.json.encode(document))
    if size > LARGEST_TEMPLATE_BYTES:
        raise InvalidInput(
            f"the template takes {size} bytes as JSON, and at most {LARGEST_TEMPLATE_BYTES} are kept", path
        )


def render(document: object, values: Mapping[str, Any], path: str) -> bytes:
    """``document`` as JSON, filled in with ``values``. Raises InvalidInput with a path that begins with ``path``.

    A text that is one name and no more becomes the value, whatever its type; within a longer text a value stands as it
    is if it is text, else as JSON. ``{{'{{'}}`` stands for two braces.
    """
    data = _encoded(_Filling(values).document(document, path), path)
    if len(data) > LARGEST_RENDERED_BYTES:
        raise _too_large(path)
    return data


def render_text(text: str, values: Mapping[str, Any], path: str) -> str:
    """``text`` filled in with ``values``, as ``render`` does within a longer text. Raises InvalidInput."""
    return _Filling(values).text(list(_pieces(text, path)), path)


class _Name(str):
    """A name within a text, without its braces."""

    __slots__ = ()


def _check(document: object, path: str, depth: int) -> None:
    if depth > DEEPEST:
        raise InvalidInput(f"the template is nested more than {DEEPEST} levels deep", path)
    match document:
        case str():
            for piece in _pieces(document, path):
                if isinstance(piece, _Name) and piece.partition(".")[0] not in NAMES:
                    raise InvalidInput(f"{_shown(piece)} is not known; known are {', '.join(NAMES)}", path)
        case dict():
            for key, value in document.items():
                if _OPEN in key:
                    raise InvalidInput(f"'{_OPEN}' may stand in values, not in names", inside(path, key))
                _check(value, inside(path, key), depth + 1)
        case list():
            for index, value in enumerate(document):
                _check(value, f"{path}[{index}]", depth + 1)


def _pieces(text: str, path: str) -> Iterator[str]:
    """Literal text and ``_Name``s, in order. Raises InvalidInput where braces hold something else."""
    at = 0
    while (start := text.find(_OPEN, at)) >= 0:
        if start > at:
            yield text[at:start]
        end = text.find(_CLOSE, start + 2)
        if end < 0:
            raise InvalidInput(
                f"'{_OPEN}' is not followed by '{_CLOSE}'; as text it is written {_OPEN}{_QUOTED_OPEN}{_CLOSE}", path
            )
        inner = text[start + 2 : end].strip()
        if inner == _QUOTED_OPEN:
            yield _OPEN
        elif len(inner) <= _LONGEST_NAME and _NAME.fullmatch(inner):
            yield _Name(inner)
        else:
            raise InvalidInput(f"{_shown(inner)} does not hold a name such as user_id or payload.items.0", path)
        at = end + 2
    if at < len(text):
        yield text[at:]


class _Filling:
    """One rendering. Filled-in text is counted as it goes, so that a small template cannot become a huge one."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values
        self._found: dict[str, tuple[Any, bytes]] = {}
        self._left = LARGEST_RENDERED_BYTES

    def document(self, document: object, path: str) -> object:
        match document:
            case str():
                pieces = list(_pieces(document, path))
                if len(pieces) == 1 and isinstance(pieces[0], _Name):
                    return self._value(pieces[0], path)[0]
                return self.text(pieces, path)
            case dict():
                return {key: self.document(value, inside(path, key)) for key, value in document.items()}
            case list():
                return [self.document(value, f"{path}[{index}]") for index, value in enumerate(document)]
        return document

    def text(self, pieces: list[str], path: str) -> str:
        return "".join(self._written(piece, path) if isinstance(piece, _Name) else piece for piece in pieces)

    def _written(self, name: str, path: str) -> str:
        value, encoded = self._value(name, path)
        return value if isinstance(value, str) else encoded.decode()

    def _value(self, name: str, path: str) -> tuple[Any, bytes]:
        found = self._found.get(name)
        if found is None:
            value = _look_up(self._values, name, path)
            found = self._found[name] = value, _encoded(value, path)
        self._left -= len(found[1])
        if self._left < 0:
            raise _too_large(path)
        return found


def _look_up(values: Mapping[str, Any], name: str, path: str) -> object:
    value: object = values
    parts = name.split(".")
    for position, part in enumerate(parts):
        if isinstance(value, Mapping) and part in value:
            value = value[part]
        elif isinstance(value, list) and _INDEX.fullmatch(part) and int(part) < len(value):
            value = value[int(part)]
        else:
            raise InvalidInput(f"{_shown(name)} has no value: {_lack(value, parts[:position], part)}", path)
    return value


def _lack(value: object, parents: list[str], part: str) -> str:
    parent = ".".join(parents) or "a tick"
    match value:
        case None:
            return f"there is no {parent}"
        case Mapping():
            return f"{parent} has no '{part}'"
        case list():
            return f"{parent} is a list of {len(value)}, and has no '{part}'"
    return f"{parent} has no parts"


def _encoded(value: object, path: str) -> bytes:
    try:
        return msgspec.json.encode(value)
    except RecursionError:
        raise InvalidInput("filled in, the template is nested too deeply", path) from None


def inside(path: str, key: str) -> str:
    """The path of the value under ``key`` in the object at ``path``."""
    if _PLAIN_KEY.fullmatch(key):
        return f"{path}.{key}"
    shortened = key if len(key) <= 100 else key[:99] + "…"
    return f"{path}[{msgspec.json.encode(shortened).decode()}]"


def _shown(inner: str) -> str:
    shortened = inner if len(inner) <= _LONGEST_NAME else inner[: _LONGEST_NAME - 1] + "…"
    return f"{_OPEN}{' '.join(shortened.split())}{_CLOSE}"


def _too_large(path: str) -> InvalidInput:
    return InvalidInput(f"filled in, the template takes more than {LARGEST_RENDERED_BYTES // 1024} KiB", path)

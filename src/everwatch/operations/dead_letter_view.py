"""A refused record made readable: decoded, and written out line by line with the wrong field marked. Pure."""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any, NamedTuple

import orjson

from everwatch.core.errors import InvalidInput
from everwatch.encoding import avro_schemas
from everwatch.encoding.templates import inside
from everwatch.kinds.execution.config_secrets import redacted_monitor

LONGEST_TEXT = 2_000
"""Characters of one text that are shown."""
_SOUNDS_SECRET = ("password", "bearer", "secret", "token", "authorization", "private key")
_JSON_TEXTS = ("config", "payload")


class Decoded(NamedTuple):
    """A record's value: its encoding (``json``, ``avro``, ``text``, ``binary``, ``empty``) and what it holds.

    ``value``: a document, or as much of a text or of hexadecimal digits as is shown; ``problem``: why it is none.
    """

    encoding: str
    value: Any
    problem: str = ""


class ShownLine(NamedTuple):
    """A line of a document; ``mark`` says what is wrong with what stands on it, empty for the others."""

    text: str
    mark: str = ""


def decoded(name: str, data: bytes | None) -> Decoded:
    """The value of a record of the kind ``name`` (``signup``, ``tick``, …; empty if it is not known)."""
    if not data:
        return Decoded("empty", None)
    if data.startswith(avro_schemas.MAGIC) and name in avro_schemas.NAMES:
        try:
            return Decoded("avro", _with_documents(avro_schemas.decode(name, data)))
        except InvalidInput as error:
            return Decoded("avro", data[:LONGEST_TEXT].hex(" "), error.reason)
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return Decoded("binary", data[:LONGEST_TEXT].hex(" "), "it is neither text nor Avro of a known schema")
    try:
        return Decoded("json", orjson.loads(data))
    except orjson.JSONDecodeError as error:
        return Decoded("text", _shortened(text), f"not valid JSON: {error}")


def without_secrets(name: str, content: Decoded) -> Decoded:
    """A value to be shown: secrets in configs redacted, and nothing of what cannot be read but may hold some.

    The same value if there is none.
    """
    value = content.value
    if isinstance(value, str):
        if not content.problem or not any(word in _text_of(content).lower() for word in _SOUNDS_SECRET):
            return content
        return content._replace(value="(it may hold a secret: --secrets shows it)")
    redacted = _redacted(name, value)
    return content if redacted == value else content._replace(value=redacted)


def _text_of(content: Decoded) -> str:
    if content.encoding == "text":
        return str(content.value)
    return bytes.fromhex(content.value).decode("latin-1")


def _redacted(name: str, document: Any) -> Any:
    if isinstance(document, list):
        return [_redacted(name, each) for each in document]
    if not isinstance(document, dict):
        return document
    if name == "tick":
        return redacted_monitor(document)
    # whatever the topic: a command that was sent as a signup is refused, and is read here
    if isinstance(monitors := document.get("monitors"), list):
        document = document | {"monitors": [redacted_monitor(m) if isinstance(m, dict) else m for m in monitors]}
    if isinstance(monitor := document.get("monitor"), dict):
        document = document | {"monitor": redacted_monitor(monitor)}
    return document


def shown(value: Any, path: str, reason: str) -> list[ShownLine]:
    """The lines of a document as indented JSON; the one of the field ``path`` is marked with ``reason``.

    A field that is not there is marked at what it should be in.
    """
    lines = list(_lines(value, "$", "", "", ""))
    at = _nearest(path, [where for where, _ in lines])
    return [ShownLine(text, reason if number == at and path else "") for number, (_, text) in enumerate(lines)]


def _lines(value: Any, path: str, indent: str, before: str, after: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict | list) and value:
        opened, closed = ("{", "}") if isinstance(value, dict) else ("[", "]")
        yield path, f"{indent}{before}{opened}"
        last = len(value) - 1
        if isinstance(value, dict):
            for number, (key, each) in enumerate(value.items()):
                name = f"{orjson.dumps(str(key)).decode()}: "
                yield from _lines(each, inside(path, str(key)), indent + "  ", name, "," if number < last else "")
        else:
            for number, each in enumerate(value):
                yield from _lines(each, f"{path}[{number}]", indent + "  ", "", "," if number < last else "")
        yield "", f"{indent}{closed}{after}"
        return
    yield path, f"{indent}{before}{_scalar(value)}{after}"


def _scalar(value: Any) -> str:
    if isinstance(value, str):
        value = _shortened(value)
    return orjson.dumps(value, default=repr).decode()


def _nearest(path: str, places: list[str]) -> int:
    """The index of the line that holds ``path``, or of what it would be in."""
    best, found = "", 0
    for number, place in enumerate(places):
        rest = path.removeprefix(place)
        is_in = bool(place) and path.startswith(place) and (not rest or rest[0] in ".[")
        if is_in and len(place) > len(best):
            best, found = place, number
    return found


def _with_documents(record: dict[str, Any]) -> dict[str, Any]:
    """In Avro a config and a payload are JSON text; paths go on inside them."""
    made = {}
    for name, value in record.items():
        if name in _JSON_TEXTS and isinstance(value, str):
            with suppress(orjson.JSONDecodeError):
                value = orjson.loads(value)
        elif isinstance(value, dict):
            value = _with_documents(value)
        elif isinstance(value, list):
            value = [_with_documents(each) if isinstance(each, dict) else each for each in value]
        made[name] = value
    return made


def _shortened(text: str) -> str:
    return text if len(text) <= LONGEST_TEXT else f"{text[: LONGEST_TEXT - 1]}…"

"""A refused record for programs, and written out line by line with the wrong field marked. Pure."""

import base64
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, NamedTuple

import orjson

from everwatch.encoding.editable_records import AVRO, CONFLUENT, JSON
from everwatch.encoding.templates import inside
from everwatch.kafka.dead_letter_content import Decoded, decoded, schema_of, shortened, without_secrets
from everwatch.kafka.dead_letter_record import DeadLetter, Redriven
from everwatch.kafka.topics import Topics
from everwatch.store.letters import StoredLetter


class ShownLine(NamedTuple):
    """A line of a document; ``mark`` names the fault of its field, empty for the others."""

    text: str
    mark: str = ""


def plain_stored(letter: StoredLetter) -> dict[str, Any]:
    """A dead letter of the database for ``orjson.dumps``, with the names of ``plain``."""
    value: Any = letter.value or None
    if letter.encoding in (JSON, AVRO, CONFLUENT) and not letter.problem:
        # of one that is cut the text is shown
        with suppress(orjson.JSONDecodeError):
            value = orjson.loads(letter.value)
    return {
        "letter": f"{letter.partition}/{letter.offset}",
        "refused_at": letter.refused_at,
        "refused_by": letter.refused_by,
        "reason": letter.reason,
        "path": letter.path,
        "code": letter.code,
        "source_topic": letter.source_topic or None,
        "source_partition": letter.source_partition if letter.source_topic else None,
        "source_offset": letter.source_offset if letter.source_topic else None,
        "source_timestamp": letter.source_ms or None,
        "key": letter.key,
        "encoding": letter.encoding,
        "problem": letter.problem,
        "value": value,
        "value_base64": None,
        "cut": list(letter.cut),
        "redriven_at": letter.redriven_at or None,
        "redriven_to": letter.redriven_to or None,
    }


def content_of(letter: DeadLetter, topics: Topics, secrets: bool) -> Decoded:
    """Return a dead letter's value, decoded; without ``secrets`` those in configs are redacted."""
    name = _schema_of(letter, topics)
    content = decoded(name, letter.value)
    return content if secrets else without_secrets(name, content)


def plain(letter: DeadLetter, redriven: Redriven | None, topics: Topics, secrets: bool) -> dict[str, Any]:
    """A dead letter for ``orjson.dumps``, its value decoded and, unless something in it is redacted, as it was."""
    content = content_of(letter, topics, secrets)
    is_whole = secrets or content == decoded(_schema_of(letter, topics), letter.value)
    source = letter.source
    return {
        "letter": f"{letter.place.partition}/{letter.place.offset}",
        "refused_at": letter.refused_at,
        "refused_by": letter.refused_by,
        "reason": letter.reason,
        "path": letter.path,
        "code": letter.code,
        "source_topic": source.topic if source else None,
        "source_partition": source.partition if source else None,
        "source_offset": source.offset if source else None,
        "source_timestamp": letter.source_ms or None,
        "key": letter.user_id,
        "encoding": content.encoding,
        "problem": content.problem,
        "value": content.value,
        "value_base64": None if letter.value is None or not is_whole else base64.b64encode(letter.value).decode(),
        "cut": list(letter.cut),
        "redriven_at": redriven.at if redriven else None,
        "redriven_to": str(redriven.to) if redriven and redriven.to else None,
    }


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
        value = shortened(value)
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


def _schema_of(letter: DeadLetter, topics: Topics) -> str:
    return schema_of(letter.source.topic, topics) if letter.source else ""

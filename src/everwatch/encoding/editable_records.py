"""Input records as documents that people change, and back into the encoding that they came in."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

import orjson

from everwatch.core.errors import InvalidInput
from everwatch.encoding import avro_schemas, registered_schemas

JSON, AVRO, CONFLUENT = "json", "avro", "confluent"
_JSON_TEXTS = ("config", "payload")


class EditableRecord(NamedTuple):
    """A record as a document, its encoding, and what encodes a changed document like it (raises InvalidInput)."""

    encoding: str
    document: Any
    encoded: Callable[[Any], bytes]


def is_avro(data: bytes) -> bool:
    """Tell whether a record begins as Avro, in single-object encoding or in Confluent wire format."""
    return data.startswith((avro_schemas.MAGIC, registered_schemas.MAGIC))


def editable(name: str, data: bytes) -> EditableRecord:
    """Return a record of the schema ``name``, in JSON, Avro or Confluent wire format.

    In Confluent wire format it has the fields of its writer's schema, and keeps them. Raises InvalidInput if it cannot
    be decoded, RegistryUnavailable.
    """
    if data.startswith(avro_schemas.MAGIC):
        document = with_documents(avro_schemas.decode(name, data))
        return EditableRecord(AVRO, document, lambda changed: avro_schemas.encode_strictly(name, _with_texts(changed)))
    if not data.startswith(registered_schemas.MAGIC):
        return EditableRecord(JSON, _parsed(data), orjson.dumps)
    start, plain = data[: registered_schemas.HEADER_LENGTH], registered_schemas.plain(data)
    if not plain.startswith(avro_schemas.MAGIC):
        return EditableRecord(CONFLUENT, _parsed(plain), lambda changed: start + orjson.dumps(changed))
    header = plain[: avro_schemas.HEADER_LENGTH]

    def encoded(changed: Any) -> bytes:
        written = avro_schemas.encode_strictly(name, _with_texts(changed), header)
        return start + written[avro_schemas.HEADER_LENGTH :]

    return EditableRecord(CONFLUENT, with_documents(avro_schemas.decode_as_written(plain)), encoded)


def _parsed(data: bytes) -> Any:
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"not valid JSON: {error}") from None


def with_documents(record: dict[str, Any]) -> dict[str, Any]:
    """Return an Avro record with its configs and payloads, which are JSON text, as documents: paths go on in them."""
    made = {}
    for name, value in record.items():
        if name in _JSON_TEXTS and isinstance(value, str):
            with suppress(orjson.JSONDecodeError):
                document = orjson.loads(value)
                value = document if isinstance(document, dict | list) else value
        elif isinstance(value, dict):
            value = with_documents(value)
        elif isinstance(value, list):
            value = [with_documents(each) if isinstance(each, dict) else each for each in value]
        made[name] = value
    return made


def _with_texts(value: Any) -> Any:
    """Return a document with its configs and payloads as JSON text."""
    if isinstance(value, list):
        return [_with_texts(each) for each in value]
    if not isinstance(value, dict):
        return value
    return {
        name: orjson.dumps(each).decode()
        if name in _JSON_TEXTS and isinstance(each, dict | list)
        else _with_texts(each)
        for name, each in value.items()
    }

"""The Avro schemas of ``schemas/`` and their fingerprints; single-object encoding (Avro 1.11 specification).

``history/`` keeps every schema that was ever written, so that old bytes stay readable after a change.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, cast

import fastavro
import orjson
from fastavro.schema import fingerprint, parse_schema, to_parsing_canonical_form

from everwatch.core.errors import InvalidInput

MAGIC = b"\xc3\x01"
HEADER_LENGTH = 10
NAMES = ("signup", "command", "signal", "tick", "result", "transition", "monitor", "user", "reply", "audit")

BEFORE = {"result": "7c9ec963367125f2", "transition": "2227d09862047b3a", "audit": "d19faaaa6a44d837"}
"""Fingerprints of schemas of ``history`` in which a record is still written if it says nothing of what came after them.

Processes of the version before read such records, so an upgrade may take its steps in any order, and be taken back.
"""

AvroSchema = dict[str, Any]
# of a registry, by fingerprint: records of other writers' schemas, resolved to ours by their fields' names
_foreign: dict[bytes, AvroSchema] = {}
_given_folder: Path | None = None


def schema_folder() -> Traversable:
    """Return the folder of the ``.avsc`` files: inside an installed package, or beside ``src/`` in a checkout."""
    if _given_folder is not None:
        return _given_folder
    installed = files("everwatch") / "schemas"
    return installed if installed.is_dir() else Path(__file__).parents[3] / "schemas"


@contextmanager
def schemas_of(folder: Path) -> Iterator[None]:
    """Have the schemas of ``folder`` meanwhile, as another version of the package has others."""
    global _given_folder
    _given_folder = folder
    forget()
    try:
        yield
    finally:
        _given_folder = None
        forget()


@cache
def load(name: str) -> AvroSchema:
    """The current schema called ``name``, parsed. Instants stay whole milliseconds: logical types are left out."""
    return parse((schema_folder() / f"{name}.avsc").read_bytes())


@cache
def header(name: str) -> bytes:
    """The ten bytes that a single-object encoding of the current schema starts with."""
    return MAGIC + _fingerprint(load(name))


def encode(name: str, record: dict[str, Any]) -> bytes:
    """``record`` in single-object encoding, of the current schema."""
    return _written(header(name), load(name), record)


def decode_as_written(data: bytes) -> dict[str, Any]:
    """Return a record of a registry's schema with the fields that its writer gave it. Raises InvalidInput."""
    writer = _foreign.get(data[2:HEADER_LENGTH])
    if writer is None:
        raise InvalidInput(f"unknown Avro schema fingerprint {data[2:HEADER_LENGTH].hex()}")
    return _read(data, writer, None, "record")


def encode_strictly(name: str, record: dict[str, Any], start: bytes = b"") -> bytes:
    """Return a record that people changed, in single-object encoding, of the current schema called ``name``.

    ``start``: the header of a registry's schema in its place. Raises InvalidInput for what the schema has no place for.
    """
    schema = _foreign[start[2:HEADER_LENGTH]] if start else load(name)
    try:
        # strict: a field that the schema does not have must not be lost without a word
        return _written(start or header(name), schema, record, strict_allow_default=True)
    except Exception as error:
        # what people write does not fit in many ways
        raise InvalidInput(f"the schema of its record does not take that: {error}") from error


def encode_for_older(name: str, record: dict[str, Any]) -> bytes:
    """``record`` in single-object encoding: of the schema before the current one (``BEFORE``) if that can say it."""
    older, added = _before(name)
    if any(record[field] != default for field, default in added):
        return encode(name, record)
    return _written(MAGIC + bytes.fromhex(BEFORE[name]), older, record)


def _written(start: bytes, schema: AvroSchema, record: dict[str, Any], **how: bool) -> bytes:
    buffer = io.BytesIO()
    buffer.write(start)
    fastavro.schemaless_writer(buffer, schema, record, **how)
    return buffer.getvalue()


@cache
def _before(name: str) -> tuple[AvroSchema, list[tuple[str, Any]]]:
    """The schema of ``BEFORE``, and the fields that were added since with their defaults."""
    older = _writers(name)[bytes.fromhex(BEFORE[name])]
    known = {field["name"] for field in older["fields"]}
    return older, [(field["name"], field["default"]) for field in load(name)["fields"] if field["name"] not in known]


def decode(name: str, data: bytes) -> dict[str, Any]:
    """The record in ``data``, resolved to the current schema. Raises InvalidInput."""
    known = _writers(name)
    writer = known.get(data[2:HEADER_LENGTH]) or _foreign.get(data[2:HEADER_LENGTH])
    if writer is None:
        raise InvalidInput(
            f"unknown Avro schema fingerprint {data[2:HEADER_LENGTH].hex()}: expected a version of the {name} schema"
        )
    return _read(data, writer, load(name), name)


def _read(data: bytes, writer: AvroSchema, reader: AvroSchema | None, name: str) -> dict[str, Any]:
    buffer = io.BytesIO(data)
    buffer.seek(HEADER_LENGTH)
    try:
        record = fastavro.schemaless_reader(buffer, writer, reader)
    except Exception as error:
        # a truncated or mangled body can fail anywhere inside the reader, with any exception
        raise InvalidInput(f"the Avro body does not hold a {name}: it ends too early or is mangled") from error
    if buffer.tell() != len(data):
        raise InvalidInput(f"the Avro body of the {name} is followed by {len(data) - buffer.tell()} unexpected bytes")
    return cast(dict[str, Any], record)


@cache
def _writers(name: str) -> dict[bytes, AvroSchema]:
    history = schema_folder() / "history"
    old = [entry for entry in history.iterdir() if entry.name.startswith(f"{name}.")] if history.is_dir() else []
    schemas = [load(name), *(parse(entry.read_bytes()) for entry in old)]
    return {_fingerprint(schema): schema for schema in schemas}


def add_writer(schema: bytes) -> bytes:
    """Read records of one more schema; gives the header that they have in single-object encoding.

    Raises whatever is wrong with the schema.
    """
    parsed = parse(schema)
    fingerprint = _fingerprint(parsed)
    _foreign[fingerprint] = parsed
    return MAGIC + fingerprint


def forget() -> None:
    """Forget the schemas that were read; they are read again when they are needed."""
    for cached in (load, header, _before, _writers):
        cached.cache_clear()


def fingerprint_of(schema: bytes) -> bytes:
    """Return the fingerprint of a schema file."""
    return _fingerprint(parse(schema))


def parse(text: bytes) -> AvroSchema:
    return cast(AvroSchema, parse_schema(_without_logical_types(orjson.loads(text))))


def _fingerprint(schema: AvroSchema) -> bytes:
    # fastavro gives the CRC-64-AVRO fingerprint as little-endian hex, as single-object encoding wants it
    return bytes.fromhex(fingerprint(to_parsing_canonical_form(schema), "CRC-64-AVRO"))


def _without_logical_types(node: Any) -> Any:
    if isinstance(node, dict):
        if "logicalType" in node:
            return node["type"]
        return {key: _without_logical_types(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_without_logical_types(item) for item in node]
    return node

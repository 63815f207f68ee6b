"""Confluent wire format: a byte 0, the id of a schema in a registry (four bytes), and the body.

A record is made into one in single-object encoding, or into JSON, which everything else reads; and the other way round
for what is written. Ids are looked up once and kept, since what an id means never changes. A lookup asks the registry
and so blocks: where an event loop decodes, a gate (``kafka/schema_gate.py``) calls ``learn`` in a thread before, and
decoding asks no registry. One registry for a process, set by ``use``.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from everwatch.core.clock import Clock
from everwatch.core.errors import InvalidInput
from everwatch.encoding import avro_schemas

MAGIC = b"\x00"
HEADER_LENGTH = 5
MOST_UNKNOWN = 10_000
REFUSED_S = 30.0


class RegisteredSchema(NamedTuple):
    """A schema of the registry: its type in the registry's words (``AVRO``, ``JSON``, ``PROTOBUF``), and its text."""

    type: str
    text: str


Fetch = Callable[[int], RegisteredSchema | None]
"""Asks for a schema by its id; None if there is none. Raises RegistryUnavailable."""


class _Unknown(NamedTuple):
    """An id that the registry does not know, or whose schema cannot be used; not asked for again before then."""

    refusal: InvalidInput
    until_s: float


class RegisteredSchemas:
    """The schemas of one registry that are known. Safe for several threads: each step is one of a dict.

    ``asks_ahead``: every record passes a gate that looks its id up, so ``plain`` never asks the registry.
    """

    def __init__(self, fetch: Fetch, clock: Clock, most_unknown: int = MOST_UNKNOWN) -> None:
        self._most_unknown = most_unknown
        self._fetch = fetch
        self._clock = clock
        self.asks_ahead = False
        self._headers: dict[str, bytes] = {}
        # what stands in place of the header of a record with this id
        self._plain: dict[int, bytes] = {}
        self._unknown: dict[int, _Unknown] = {}

    def write(self, own: Mapping[str, int]) -> None:
        """Write records of these names with these ids."""
        self._headers.update({name: MAGIC + number.to_bytes(4, "big") for name, number in own.items()})

    def is_known(self, data: bytes) -> bool:
        """Tell whether a record in this format can be decoded, or refused, without asking the registry."""
        number = int.from_bytes(data[1:HEADER_LENGTH], "big")
        return number in self._plain or len(data) < HEADER_LENGTH or self._is_refused(number)

    def _is_refused(self, number: int) -> bool:
        unknown = self._unknown.get(number)
        return unknown is not None and self._clock.monotonic_s() < unknown.until_s

    def learn(self, data: bytes) -> None:
        """Look up the id of a record in this format. Raises RegistryUnavailable."""
        if self.is_known(data):
            return
        number = int.from_bytes(data[1:HEADER_LENGTH], "big")
        head = _head_of(number, self._fetch(number))
        if isinstance(head, bytes):
            self._plain[number] = head
            return
        if len(self._unknown) >= self._most_unknown:
            self._unknown.clear()
        # a registry that follows another one may learn of it a moment later
        self._unknown[number] = _Unknown(head, self._clock.monotonic_s() + REFUSED_S)

    def plain(self, data: bytes) -> bytes:
        """Return a record in this format in single-object encoding, or as JSON.

        Asks the registry if the id is new, unless a gate asks ahead. Raises InvalidInput, RegistryUnavailable.
        """
        if len(data) < HEADER_LENGTH:
            raise InvalidInput("the record begins as Confluent wire format (00), and ends before the schema's id")
        number = int.from_bytes(data[1:HEADER_LENGTH], "big")
        head = self._plain.get(number)
        if head is None and not self.asks_ahead:
            self.learn(data)
            head = self._plain.get(number)
        if head is None:
            raise self._refusal_of(number)
        if not head and data[HEADER_LENGTH : HEADER_LENGTH + 1] == MAGIC:
            raise InvalidInput("the record is in Confluent wire format twice")
        return head + data[HEADER_LENGTH:]

    def _refusal_of(self, number: int) -> InvalidInput:
        # what the registry said last: it may have expired since the gate, or made room for others
        unknown = self._unknown.get(number)
        return unknown.refusal if unknown else InvalidInput(f"the schema registry had no usable schema {number}")

    def wrapped(self, name: str, data: bytes) -> bytes:
        """Return a record in single-object encoding in this format, with the id of the schema ``name``."""
        return self._headers[name] + data[avro_schemas.HEADER_LENGTH :]


_current: RegisteredSchemas | None = None


def use(schemas: RegisteredSchemas | None) -> None:
    """Let this process read and write by these schemas; None: by no registry."""
    global _current
    _current = schemas


def current() -> RegisteredSchemas | None:
    """Return what ``use`` set."""
    return _current


def plain(data: bytes) -> bytes:
    """Return a record that begins with ``MAGIC`` in another encoding. Raises InvalidInput, RegistryUnavailable."""
    if _current is None:
        raise InvalidInput("the record is in Confluent wire format, but no schema registry is configured")
    return _current.plain(data)


def wrapped(name: str, data: bytes) -> bytes:
    """Return a record in single-object encoding in Confluent wire format."""
    assert _current is not None  # the settings ask for a registry with this format
    return _current.wrapped(name, data)


def _head_of(number: int, schema: RegisteredSchema | None) -> bytes | InvalidInput:
    if schema is None:
        return InvalidInput(f"the schema registry has no schema {number}")
    if schema.type == "JSON":
        return b""
    if schema.type != "AVRO":
        return InvalidInput(f"schema {number} of the registry is {schema.type}: expected AVRO or JSON")
    try:
        return avro_schemas.add_writer(schema.text.encode())
    except Exception as error:
        # a text from outside can be wrong in any way
        return InvalidInput(f"schema {number} of the registry cannot be used: {type(error).__name__}: {error}")

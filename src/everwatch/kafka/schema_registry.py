"""The schema registry, by confluent-kafka's own client: schemas by id, and the ids of what Everwatch writes.

Known schemas are kept in the data folder, too: a process that starts while the registry is unavailable uses them. An id
means the same forever, so no kept schema grows old.
"""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from everwatch.core.clock import Clock
from everwatch.core.config import Settings
from everwatch.core.errors import RegistryUnavailable, SettingsError
from everwatch.core.output_format import OutputFormat
from everwatch.encoding import avro_schemas, registered_schemas
from everwatch.encoding.registered_schemas import RegisteredSchema, RegisteredSchemas
from everwatch.kafka.topics import Topics

if TYPE_CHECKING:
    from confluent_kafka.schema_registry import SchemaRegistryClient

logger = logging.getLogger(__name__)
# it reports each request
logging.getLogger("httpx2").setLevel(logging.WARNING)
FILE = "schema-registry.json"
TIMEOUT_S = 5
_NOT_FOUND = 404
_CONFLICT = 409
_UNPROCESSABLE = 422
_REFUSED = frozenset({401, 403})
OWN = {"result": "results", "transition": "transitions", "reply": "replies", "audit": "audit"}
"""Schemas that Everwatch writes, and the topics (without prefix) whose values they are."""


class _KeptSchemas(msgspec.Struct):
    """Cache on disk. ``ids``: by subject and fingerprint of the schema; ``schemas``: type and text by id."""

    url: str
    ids: dict[str, int] = {}
    schemas: dict[int, tuple[str, str]] = {}


class SchemaRegistry:
    """One registry. Every method blocks for ``TIMEOUT_S`` at most for each of its addresses."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._client: SchemaRegistryClient | None = None
        self._file = settings.data_dir / FILE
        self._kept = _read(self._file, settings.schema_registry_url)

    def fetch(self, number: int) -> RegisteredSchema | None:
        """Return the schema with an id; None if there is none. Raises RegistryUnavailable."""
        if number in self._kept.schemas:
            return RegisteredSchema(*self._kept.schemas[number])
        client = self._ask()
        try:
            found = client.get_schema(number)
        except Exception as error:
            if _status_of(error) == _NOT_FOUND:
                return None
            raise self._unavailable(error, f"schema {number}") from None
        if found.references:
            # what it refers to would have to be looked up, too
            return RegisteredSchema(f"{found.schema_type or 'AVRO'} with references", "")
        schema = RegisteredSchema(found.schema_type or "AVRO", found.schema_str or "")
        self._kept.schemas[number] = schema.type, schema.text
        self._keep()
        return schema

    def register_own(self) -> dict[str, int]:
        """Return the ids of the schemas that Everwatch writes, by name; they are registered where they are not.

        The subject of a topic is ``<topic>-value`` (TopicNameStrategy), its compatibility BACKWARD. Raises
        RegistryUnavailable, also where the registry takes a schema for incompatible.
        """
        topics = Topics.of(self._settings).by_name
        return {name: self._id_of(f"{topics[topic]}-value", name) for name, topic in OWN.items()}

    def _id_of(self, subject: str, name: str) -> int:
        from confluent_kafka.schema_registry import Schema

        text = (avro_schemas.schema_folder() / f"{name}.avsc").read_bytes()
        key = f"{subject} {avro_schemas.fingerprint_of(text).hex()}"
        if key in self._kept.ids:
            return self._kept.ids[key]
        client = self._ask()
        try:
            try:
                client.set_compatibility(subject_name=subject, level="BACKWARD")
            except Exception as error:
                if _status_of(error) not in _REFUSED | {_UNPROCESSABLE}:
                    raise
                logger.warning("The compatibility of subject %s stays as it is: %s", subject, error)
            number = client.register_schema(subject, Schema(text.decode(), "AVRO"))
        except Exception as error:
            if _status_of(error) == _CONFLICT:
                raise RegistryUnavailable(
                    f"The schema registry takes the schema of {name}s for incompatible with subject {subject}: it holds"
                    " schemas of something else. Choose another EVERWATCH_TOPIC_PREFIX, or delete the subject."
                ) from None
            raise self._unavailable(error, f"subject {subject}") from None
        self._kept.ids[key] = number
        self._keep()
        return number

    def _ask(self) -> "SchemaRegistryClient":
        if self._client is None:
            try:
                from confluent_kafka.schema_registry import SchemaRegistryClient
            except ImportError as error:
                raise SettingsError(
                    "EVERWATCH_SCHEMA_REGISTRY_URL is set, and the client of the registry is not installed"
                    f" ({error.name}): pip install 'everwatch[registry]'."
                ) from None
            try:
                self._client = SchemaRegistryClient(_config_of(self._settings))
            except (OSError, ValueError) as error:
                raise SettingsError(f"The settings of the schema registry are wrong: {error}.") from None
        return self._client

    def _unavailable(self, error: Exception, what: str) -> RegistryUnavailable:
        address, status = self._settings.schema_registry_url, _status_of(error)
        if status in _REFUSED:
            return RegistryUnavailable(
                f"The schema registry at {address} refuses {what} (HTTP {status}): check EVERWATCH_SCHEMA_REGISTRY_USER"
                " and _PASSWORD, and this user's rights there."
            )
        reason = f"HTTP {status}" if status else type(error).__name__
        return RegistryUnavailable(
            f"The schema registry at {address} does not report {what} ({reason}): is it running, and is"
            " EVERWATCH_SCHEMA_REGISTRY_URL right?"
        )

    def _keep(self) -> None:
        # other processes of this data folder keep what they learned there, too
        others = _read(self._file, self._kept.url)
        self._kept.ids = others.ids | self._kept.ids
        self._kept.schemas = others.schemas | self._kept.schemas
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            partial = self._file.with_name(f"{FILE}.{self._settings.instance}")
            partial.write_bytes(msgspec.json.encode(self._kept))
            partial.replace(self._file)
        except OSError as error:
            logger.warning("What the schema registry said is not kept in %s: %s", self._file, error.strerror)


def use_registry(settings: Settings, clock: Clock) -> None:
    """Let this process read Confluent wire format, if the settings name a registry; makes no request yet."""
    if not settings.schema_registry_url:
        registered_schemas.use(None)
        return
    registry = SchemaRegistry(settings)
    registered_schemas.use(RegisteredSchemas(registry.fetch, clock))


def write_by_registry(settings: Settings) -> None:
    """Let this process write Confluent wire format, if the settings say so. Raises RegistryUnavailable."""
    known = registered_schemas.current()
    if settings.output_format is OutputFormat.CONFLUENT and known is not None:
        known.write(SchemaRegistry(settings).register_own())


def _config_of(settings: Settings) -> dict[str, Any]:
    config: dict[str, Any] = {
        "url": settings.schema_registry_url,
        "timeout": TIMEOUT_S,
        # the caller waits and asks again
        "max.retries": 0,
    }
    if settings.schema_registry_user:
        password = settings.schema_registry_password.get_secret_value()
        config["basic.auth.user.info"] = f"{settings.schema_registry_user}:{password}"
    for name, file in (
        ("ssl.ca.location", settings.schema_registry_ca_file),
        ("ssl.certificate.location", settings.schema_registry_certificate_file),
        ("ssl.key.location", settings.schema_registry_key_file),
    ):
        if file is not None:
            config[name] = str(file)
    return config


def _status_of(error: Exception) -> int:
    """Return the HTTP status of the registry's error; 0 where it did not answer."""
    return int(getattr(error, "http_status_code", 0) or 0)


def _read(file: Path, url: str) -> _KeptSchemas:
    try:
        kept = msgspec.json.decode(file.read_bytes(), type=_KeptSchemas)
    except (OSError, msgspec.MsgspecError):
        return _KeptSchemas(url)
    # the ids of one registry mean nothing in another
    return kept if kept.url == url else _KeptSchemas(url)

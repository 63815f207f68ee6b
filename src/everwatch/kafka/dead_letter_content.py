"""Content of a refused record: its value decoded, and without secrets. Pure."""

from typing import Any, NamedTuple

import orjson

from everwatch.core.errors import InvalidInput, RegistryUnavailable
from everwatch.encoding import avro_schemas
from everwatch.encoding.editable_records import AVRO, CONFLUENT, editable, is_avro
from everwatch.kafka.topics import Topics
from everwatch.kinds.execution.config_secrets import REDACTED_VALUE, redacted_monitor

LONGEST_TEXT = 2_000
"""Characters of one text that are shown."""
_NESTED = "it is nested too deeply to be shown as a document"
_SOUNDS_SECRET = (
    "password",
    "passwd",
    "bearer",
    "secret",
    "token",
    "authorization",
    "private key",
    "api_key",
    "apikey",
)


class Decoded(NamedTuple):
    """A record's value: its encoding (``json``, ``avro``, ``confluent``, ``text``, ``binary``,
    ``empty``) and what it holds.

    ``value``: a document, or as much of a text or of hexadecimal digits as is shown; ``problem``: why it is none.
    """

    encoding: str
    value: Any
    problem: str = ""


def schema_of(topic: str, topics: Topics) -> str:
    """The schema of the records of a topic; empty if it is not known."""
    names = {
        topics.signups: "signup",
        topics.commands: "command",
        topics.signals: "signal",
        topics.results: "result",
        topics.transitions: "transition",
        topics.replies: "reply",
        topics.audit: "audit",
        **dict.fromkeys(topics.all_ticks, "tick"),
    }
    return names.get(topic, "")


def decoded(name: str, data: bytes | None, longest: int = LONGEST_TEXT) -> Decoded:
    """The value of a record of the kind ``name`` (``signup``, ``tick``, …; empty if it is not known).

    Of what is no document the first ``longest`` characters or bytes.
    """
    if not data:
        return Decoded("empty", None)
    if is_avro(data) and name in avro_schemas.NAMES:
        encoding = AVRO if data.startswith(avro_schemas.MAGIC) else CONFLUENT
        try:
            return Decoded(encoding, editable(name, data).document)
        except (InvalidInput, RegistryUnavailable) as error:
            why = error.reason if isinstance(error, InvalidInput) else str(error)
            return Decoded(encoding, data[:longest].hex(" "), why)
        except RecursionError:
            return Decoded(encoding, data[:longest].hex(" "), _NESTED)
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return Decoded("binary", data[:longest].hex(" "), "it is neither text nor Avro of a known schema")
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        return Decoded("text", shortened(text, longest), f"not valid JSON: {error}")
    try:
        # deeper than it is read, nothing is written
        orjson.dumps(value)
    except orjson.JSONEncodeError:
        return Decoded("text", shortened(text, longest), _NESTED)
    return Decoded("json", value)


def without_secrets(name: str, content: Decoded) -> Decoded:
    """A value to be shown: secrets in configs redacted, and nothing of an unreadable value that may hold some.

    The same value if there is none.
    """
    value = content.value
    if isinstance(value, str):
        if not content.problem or not _sounds_secret(_text_of(content)):
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
        return _without_likely(redacted_monitor(document))
    # whatever the topic: a command that was sent as a signup is refused, and is read here
    if isinstance(monitors := document.get("monitors"), list):
        document = document | {"monitors": [redacted_monitor(m) if isinstance(m, dict) else m for m in monitors]}
    if isinstance(monitor := document.get("monitor"), dict):
        document = document | {"monitor": redacted_monitor(monitor)}
    if "link" in document and str(document.get("type", "")).startswith("subscription"):
        # its holder may confirm or end the subscription
        document = document | {"link": REDACTED_VALUE}
    # a secret under a wrong name, or in a wrong place, may be why it was refused
    return _without_likely(document)


def _without_likely(value: Any, is_secret: bool = False) -> Any:
    """A value without parts that are, by their name or their look, probably secrets."""
    if isinstance(value, dict):
        if value == REDACTED_VALUE:
            return value
        return {key: _without_likely(each, is_secret or _sounds_secret(str(key))) for key, each in value.items()}
    if isinstance(value, list):
        return [_without_likely(each, is_secret) for each in value]
    is_likely = is_secret and value not in (None, "", True, False)
    return REDACTED_VALUE if is_likely or (isinstance(value, str) and "PRIVATE KEY-----" in value) else value


def _sounds_secret(text: str) -> bool:
    lower = text.lower()
    return any(word in lower for word in _SOUNDS_SECRET)


def shortened(text: str, longest: int = LONGEST_TEXT) -> str:
    """The first characters of a text."""
    return text if len(text) <= longest else f"{text[: longest - 1]}…"

"""Kinds by name, and their configs: parsed, refused with a reason, and written in one canonical form.

Another package adds a kind with an entry point in the group ``everwatch.kinds``: its name is the kind's name, its
value a kind, or a class without constructor arguments that makes one. Built-in kinds win over those of that name.
"""

from collections.abc import Mapping
from functools import cache, lru_cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

import msgspec

from everwatch.core.errors import InvalidInput
from everwatch.core.validation_errors import fault_of
from everwatch.kinds.protocol import Kind, Scheduled, SignalledKind
from everwatch.model import Every, Schedule

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

ENTRY_POINT_GROUP = "everwatch.kinds"
CONFIG_PATH = "$.config"
# longer configs are not remembered: users must not decide how much memory that takes
REMEMBERED = 2_048

# a kind's module is imported when the kind is first asked for: a heartbeat needs no HTTP client
_BUILT_IN = {
    "http": "HttpKind",
    "tcp": "TcpKind",
    "dns": "DnsKind",
    "tls": "TlsKind",
    "heartbeat": "HeartbeatKind",
    "threshold": "ThresholdKind",
    "webhook": "WebhookKind",
    "publish": "PublishKind",
    "python": "PythonKind",
    "noop": "NoopKind",
}
_CHECKS = frozenset({"http", "tcp", "dns", "tls"})
loaded_kinds: dict[str, Kind] = {}
"""Kinds that were asked for, by name."""


def kind_named(name: str) -> Kind:
    """The kind called ``name``. Raises InvalidInput if there is none (it names those there are) or it does not load."""
    return loaded_kinds.get(name) or (_built_in(name) if name in _BUILT_IN else _third_party(name))


def forget() -> None:
    """Forget which kinds other packages have, and which configs were parsed: a new process knows neither."""
    for cached in (_parse_text, _entry_points, _third_party):
        cached.cache_clear()


def is_inline(name: str) -> bool:
    """Tell whether workers judge this kind themselves; False for one whose package is gone (executors then say so)."""
    try:
        return kind_named(name).inline
    except InvalidInput:
        return False


def is_check(name: str) -> bool:
    """Tell whether a kind only looks at its target, so that one more run than its schedule says is harmless."""
    return name in _CHECKS


def takes_signals(kind: Kind) -> SignalledKind | None:
    """The kind, if it listens to signals."""
    return cast(SignalledKind, kind) if kind.inline and hasattr(kind, "take") else None


def default_schedule(kind: Kind, config: msgspec.Struct) -> Schedule:
    """The schedule of a monitor of this kind that names none."""
    if hasattr(kind, "default_schedule"):
        return cast(Scheduled, kind).default_schedule(config)
    return Every(kind.default_schedule_ms)


def known_kinds() -> list[str]:
    """The names of all kinds, those of other packages included (without loading them), sorted."""
    return sorted({*_BUILT_IN, *loaded_kinds, *_entry_points()})


def parse_config(kind: Kind, config: Mapping[str, Any] | bytes | str) -> msgspec.Struct:
    """The parsed config; bytes and text are JSON. Raises InvalidInput with a path that begins with ``$.config``.

    Configs given as bytes or text are remembered: executors see the same ones again and again.
    """
    if isinstance(config, str):
        return _parse_text(kind, config) if len(config) <= REMEMBERED else _parse_text.__wrapped__(kind, config)
    if isinstance(config, bytes):
        try:
            return parse_config(kind, config.decode())
        except UnicodeDecodeError:
            raise InvalidInput("the config is not UTF-8 text", CONFIG_PATH) from None
    try:
        return msgspec.convert(config, type=kind.config_type)
    except msgspec.ValidationError as error:
        raise _refusal(kind, error) from None


def canonical_config(kind: Kind, parsed: msgspec.Struct) -> str:
    """``parsed`` as JSON text with sorted keys and without defaults; parsing it gives ``parsed``."""
    given = {
        field.encode_name: value
        for field in _fields(kind.config_type)
        if (value := getattr(parsed, field.name)) != _default(field)
    }
    return msgspec.json.encode(given, order="sorted").decode()


@lru_cache(maxsize=10_000)
def _parse_text(kind: Kind, text: str) -> msgspec.Struct:
    try:
        return msgspec.json.decode(text, type=kind.config_type)
    except msgspec.ValidationError as error:
        raise _refusal(kind, error) from None
    except msgspec.DecodeError as error:
        raise InvalidInput(f"the config is not valid JSON: {error}", CONFIG_PATH) from None


@cache
def _fields(config_type: type[msgspec.Struct]) -> tuple[msgspec.structs.FieldInfo, ...]:
    # msgspec works these out from the annotations each time it is asked, and signups ask for every monitor
    return msgspec.structs.fields(config_type)


def _default(field: msgspec.structs.FieldInfo) -> object:
    # NODEFAULT is equal to no value, so a field without a default is always written
    return field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()


def _refusal(kind: Kind, error: msgspec.ValidationError) -> InvalidInput:
    fault = fault_of(error)
    path = CONFIG_PATH + fault.path
    if fault.raised is not None:
        return InvalidInput(str(fault.raised), f"{path}.{fault.raised.field}")
    if fault.missing is not None:
        return InvalidInput(f"the kind '{kind.name}' needs the field '{fault.missing}'", path)
    if fault.unknown is not None:
        known = ", ".join(field.encode_name for field in msgspec.structs.fields(kind.config_type)) or "none"
        return InvalidInput(
            f"the kind '{kind.name}' has no field '{fault.unknown}'; known fields: {known}",
            f"{path}.{fault.unknown}",
        )
    reason = fault.reason.replace("`", "")
    return InvalidInput(reason[:1].lower() + reason[1:], path)


def _built_in(name: str) -> Kind:
    kind: Kind = getattr(import_module(f"everwatch.kinds.{name}"), _BUILT_IN[name])()
    loaded_kinds[name] = kind
    return kind


@cache
def _entry_points() -> "dict[str, EntryPoint]":
    from importlib.metadata import entry_points

    return {point.name: point for point in entry_points(group=ENTRY_POINT_GROUP)}


@cache
def _third_party(name: str) -> Kind:
    point = _entry_points().get(name)
    if point is None:
        raise InvalidInput(f"there is no kind {name!r}; known kinds: {', '.join(known_kinds())}", "$.kind")
    try:
        loaded = point.load()
        kind: Kind = loaded() if isinstance(loaded, type) else loaded
        if kind.name != name or not issubclass(kind.config_type, msgspec.Struct):
            raise TypeError(f"{point.value} is not a kind of that name")
    except Exception as error:  # another's code may fail in any way, and harms only its own monitors
        raise InvalidInput(f"the kind {name!r} cannot be loaded from {point.value}: {error}", "$.kind") from error
    return kind

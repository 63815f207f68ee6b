"""Secrets of configs, at rest and on screens: encrypted where they are stored, decrypted where a kind runs, redacted
where a config is shown.

Only the secrets are encrypted, each on its own, so a stored config is still JSON that says what is checked.
"""

import logging
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import msgspec

from everwatch.core.config import Settings
from everwatch.core.encryption import Cipher, Undecryptable
from everwatch.core.errors import InvalidInput
from everwatch.encoding.input_models import DEFAULT_KIND
from everwatch.kinds import registry
from everwatch.kinds.protocol import Kind
from everwatch.kinds.shared.secret_fields import ENCRYPTED, REDACTED, hints, replaced, secret_paths, token_of
from everwatch.model import Monitor, MonitorSpec

log = logging.getLogger(__name__)

# configs that are remembered, and characters of the longest of these: users must not decide how much memory that takes
_REMEMBERED = 2_000
_LONGEST_REMEMBERED = 16_384
_MARK = f'"{ENCRYPTED}"'
REDACTED_VALUE = {REDACTED: True}
"""What stands in place of a secret where a config is shown."""
_to_json = msgspec.json.Encoder(order="sorted").encode


class ConfigSecrets:
    """Encryption and decryption of secrets in configs; ``cipher`` is None in a process without keys.

    Alike configs are encrypted once, so alike monitors of many users are the same bytes, which ticks are packed by.
    """

    def __init__(self, cipher: Cipher | None = None) -> None:
        self._cipher = cipher
        self._is_warned = False
        self._remembered_encrypted = lru_cache(_REMEMBERED)(self._encrypt)
        self._remembered_decrypted = lru_cache(_REMEMBERED)(self._decrypt)

    def encrypted(self, spec: MonitorSpec) -> MonitorSpec:
        """The spec as it is stored; without a key as it is, with a warning for the first one that has a secret."""
        kind = registry.kind_named(spec.kind)
        if not _may_hold_secrets(kind, spec.config):
            return spec
        if self._cipher is None:
            self._warn()
            return spec
        encrypt = self._remembered_encrypted if len(spec.config) <= _LONGEST_REMEMBERED else self._encrypt
        return msgspec.structs.replace(spec, config=encrypt(kind, spec.config))

    def decrypted(self, kind: Kind, config: str) -> str:
        """A stored config as it was given. Raises InvalidInput, with the field's path, where a key is missing."""
        if _MARK not in config:
            return config
        if len(config) <= _LONGEST_REMEMBERED:
            return self._remembered_decrypted(kind, config)
        return self._decrypt(kind, config)

    def decrypted_spec(self, spec: MonitorSpec) -> MonitorSpec:
        """A stored spec as it was given. Raises InvalidInput, with the field's path, where a key is missing."""
        if _MARK not in spec.config:
            return spec
        config = self.decrypted(registry.kind_named(spec.kind), spec.config)
        return msgspec.structs.replace(spec, config=config)

    def recognised(self, stored: Monitor, given: MonitorSpec) -> tuple[Monitor, MonitorSpec]:
        """The two as they are to be compared: encrypted alike where they hold the same secrets.

        A stored secret stays as it is, unless it is not encrypted with the first key; then it comes with new
        ciphertext. ``given`` may be the stored spec itself: then that is all. Raises InvalidInput where plain text
        would replace what is encrypted.
        """
        old = stored.spec
        if given is old:
            return (current := self.current(stored)), current.spec
        if given.config == old.config or given.kind != old.kind:
            return stored, given
        kind = registry.kind_named(given.kind)
        if not _may_hold_secrets(kind, old.config):
            return stored, given
        if self._cipher is None and _MARK in old.config and _may_hold_secrets(kind, given.config):
            raise InvalidInput(
                f"the secrets of monitor {old.monitor_id!r} are stored encrypted, and this worker has no"
                " EVERWATCH_SECRETS_KEY: give every worker the keys, and send this again"
            )
        try:
            if self.decrypted(kind, old.config) != self.decrypted(kind, given.config):
                return stored, given
        except InvalidInput:
            return stored, given  # what cannot be read is replaced
        current = self.current(stored)
        return current, msgspec.structs.replace(given, config=current.spec.config)

    def current(self, monitor: Monitor) -> Monitor:
        """The monitor with its secrets encrypted with the first key; the same value if they are, or cannot be read."""
        spec = monitor.spec
        if self.is_current(spec):
            return monitor
        try:
            plain = self.decrypted_spec(spec)
        except InvalidInput:
            return monitor
        return msgspec.structs.replace(monitor, spec=self.encrypted(plain))

    def is_current(self, spec: MonitorSpec) -> bool:
        """Tell whether all secrets of a stored spec are encrypted with the first key; always without a key."""
        cipher = self._cipher
        try:
            kind = registry.kind_named(spec.kind)
        except InvalidInput:
            return True  # the kind is not installed: its secret fields are not known
        if cipher is None or not _may_hold_secrets(kind, spec.config):
            return True
        stale = False

        def look(value: Any, _: str) -> Any:
            nonlocal stale
            token = token_of(value)
            stale = stale or token is None or not cipher.is_current(token)
            return value

        _changed(kind, spec.config, look)
        return not stale

    def _encrypt(self, kind: Kind, config: str) -> str:
        cipher = self._cipher
        assert cipher is not None  # asked for before

        def encrypt(value: Any, _: str) -> Any:
            # what is stored already comes by here, too
            return value if token_of(value) else {ENCRYPTED: cipher.encrypt(_to_json(value).decode())}

        return _changed(kind, config, encrypt)

    def _decrypt(self, kind: Kind, config: str) -> str:
        def decrypt(value: Any, place: str) -> Any:
            token = token_of(value)
            if token is None:
                return value
            path = f"{registry.CONFIG_PATH}{place.removeprefix('$')}"
            if self._cipher is None:
                raise InvalidInput("the secret is encrypted, and this process has no EVERWATCH_SECRETS_KEY", path)
            try:
                return msgspec.json.decode(self._cipher.decrypt(token))
            except (Undecryptable, msgspec.DecodeError):
                raise InvalidInput(
                    "the secret is encrypted with a key that is not in this process's EVERWATCH_SECRETS_KEY", path
                ) from None

        return _changed(kind, config, decrypt)

    def _warn(self) -> None:
        if not self._is_warned:
            self._is_warned = True
            log.warning(
                "a monitor with a secret in its config is stored, and EVERWATCH_SECRETS_KEY is not set: passwords and"
                " tokens are stored as they are (said once; see docs/secrets.md)"
            )


def config_secrets(settings: Settings) -> ConfigSecrets:
    """The secrets of configs under these settings."""
    keys = settings.secrets_keys
    return ConfigSecrets(Cipher(keys) if keys else None)


def redacted(kind_name: str, config: str) -> str:
    """A config to be shown, without its secrets; nothing of it where the kind is not known here: it may have some."""
    try:
        kind = registry.kind_named(kind_name)
    except InvalidInput:
        return _to_json(REDACTED_VALUE).decode()
    return _changed(kind, config, lambda _, __: REDACTED_VALUE) if _may_hold_secrets(kind, config) else config


def redacted_monitor(document: dict[str, Any]) -> dict[str, Any]:
    """A monitor, as a signup says it, to be shown; it was read as JSON and may be wrong in any way."""
    config = document.get("config")
    if not config:
        return document
    try:
        kind = registry.kind_named(str(document.get("kind", DEFAULT_KIND)))
    except InvalidInput:
        return document | {"config": REDACTED_VALUE}
    return document | {"config": replaced(config, secret_paths(kind.config_type), lambda _, __: REDACTED_VALUE)}


def redacted_spec(spec: MonitorSpec) -> MonitorSpec:
    """A spec to be shown; the same value if it has no secret."""
    config = redacted(spec.kind, spec.config)
    return spec if config == spec.config else msgspec.structs.replace(spec, config=config)


def holds_secrets(spec: MonitorSpec) -> bool:
    """Tell whether a config has a secret, encrypted or not; of a kind that is not known here it may."""
    return redacted(spec.kind, spec.config) != spec.config


def _may_hold_secrets(kind: Kind, config: str) -> bool:
    # a loop: asked for every monitor of every signup
    for hint in hints(kind.config_type):  # noqa: SIM110
        if hint in config:
            return True
    return False


def _changed(kind: Kind, config: str, change: Callable[[Any, str], Any]) -> str:
    changed = replaced(msgspec.json.decode(config), secret_paths(kind.config_type), change)
    return _to_json(changed).decode()

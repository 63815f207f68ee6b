"""The target of a monitor, for lists and filters: the host that its kind connects to."""

from functools import lru_cache

import msgspec

from everwatch.core.errors import InvalidInput
from everwatch.kinds import registry
from everwatch.kinds.execution.kind_runner import Job, target_of
from everwatch.kinds.shared.secret_fields import secret_paths

# longer configs are not remembered: users must not decide how much memory that takes
_LONGEST_REMEMBERED = 2_048


def target_of_config(kind: str, config: str) -> str:
    """Return the host that a monitor with a stored config goes to; "" if there is none or it is not known.

    Its secrets may be encrypted: no target depends on one.
    """
    return _remembered(kind, config) if len(config) <= _LONGEST_REMEMBERED else _target(kind, config)


def _target(kind_name: str, config: str) -> str:
    try:
        kind = registry.kind_named(kind_name)
        if kind.inline or not hasattr(kind, "target"):
            return ""
        document = msgspec.json.decode(config, type=dict)
        for path in secret_paths(kind.config_type):
            document.pop(path[0], None)
        return target_of(Job(kind, registry.parse_config(kind, document)))
    except (InvalidInput, msgspec.DecodeError):
        return ""


_remembered = lru_cache(maxsize=10_000)(_target)

"""Reader of msgspec's validation errors: the one place that takes their texts apart."""

import re
from typing import NamedTuple

import msgspec

from everwatch.core.config_fields import FieldError

_MESSAGE = re.compile(r"(?P<reason>.*?)(?: - at `(?:key` in `|key in )?\$?(?P<path>[^`]*)`)?", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(.*)`")
_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)


class ValidationFault(NamedTuple):
    """A validation error taken apart.

    ``reason``: msgspec's sentence without the place. ``path``: the place below the validated value (``.schedule[0]``),
    "" for the value itself. ``missing`` and ``unknown``: the field that is not there, or should not be.
    ``raised``: the error that a struct raised itself.
    """

    reason: str
    path: str
    missing: str | None
    unknown: str | None
    raised: FieldError | None

    @property
    def without_value(self) -> str:
        """Return the reason without the wrong value, which may be a secret in the wrong place."""
        return self.reason.partition(", got")[0].replace("`", "")

    def is_about(self, pattern: str) -> bool:
        """Tell whether the value does not match ``pattern``, or one that it is a part of."""
        return "matching regex" in self.reason and repr(pattern)[1:-1] in self.reason


def fault_of(error: msgspec.ValidationError) -> ValidationFault:
    """Take a validation error apart."""
    found = _MESSAGE.fullmatch(str(error))
    assert found is not None  # the pattern matches any text
    reason, path = found["reason"], found["path"] or ""
    missing, unknown = _MISSING.fullmatch(reason), _UNKNOWN.fullmatch(reason)
    raised = error.__cause__ if isinstance(error.__cause__, FieldError) else None
    return ValidationFault(reason, path, missing and missing[1], unknown and unknown[1], raised)

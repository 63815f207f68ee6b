"""Conversion of a setting's text, or of an option, to the setting's type. Pure."""

import ipaddress
import re
from enum import StrEnum
from typing import Annotated, Any, get_args, get_origin

import msgspec

from everwatch.core.bounds import REGION_PATTERN, REGION_RULE
from everwatch.core.validation_errors import ValidationFault, fault_of

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def converted(wanted: Any, value: object) -> Any:
    """A setting's value from text or from an option. Raises ValueError with the reason."""
    plain = get_args(wanted)[0] if get_origin(wanted) is Annotated else wanted
    if value == "" and type(None) in get_args(plain):
        return None
    if get_origin(plain) is tuple:
        parts = value.split(",") if isinstance(value, str) else value
        item = get_args(plain)[0]
        return tuple(_item(item, part.strip() if isinstance(part, str) else part) for part in parts if part)  # type: ignore[attr-defined]
    return _item(wanted, value)


def _item(wanted: Any, value: object) -> Any:
    if wanted == Network:
        return ipaddress.ip_network(value, strict=False)  # type: ignore[arg-type]
    try:
        return msgspec.convert(value, wanted, strict=False, dec_hook=_from_text)
    except msgspec.ValidationError as error:
        choices = get_args(wanted)[0] if get_origin(wanted) is Annotated else None
        if isinstance(choices, type) and issubclass(choices, StrEnum):
            expected = f"Expected one of {', '.join(choices)}"
        else:
            expected = _in_words(fault_of(error))
        # without the value: it may be a secret that was put into the wrong setting
        raise ValueError(expected) from None


def _in_words(fault: ValidationFault) -> str:
    """Return the reason why a value is invalid; of a pattern that few people read at once, its rule."""
    if fault.is_about(REGION_PATTERN):
        return REGION_RULE
    if choices := re.search(r"matching regex '\^\(([\w|]+)\)\$'", fault.reason):
        return f"Expected one of {choices[1].replace('|', ', ')}"
    if re.search(r"matching regex '\^\[A-Za-z0-9\._-\][*+]\$'", fault.reason):
        return "Expected letters, digits, '.', '_' and '-' only"
    return fault.without_value


def _from_text(wanted: Any, value: Any) -> Any:
    """Values of the types that msgspec does not know: paths and secrets."""
    return value if isinstance(value, wanted) else wanted(value)

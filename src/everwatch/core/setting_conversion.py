"""Conversion of a setting's text, or of an option, to the setting's type. Pure."""

import ipaddress
from enum import StrEnum
from typing import Annotated, Any, get_args, get_origin

import msgspec

from everwatch.core.bounds import RULE
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
        # without the value: it may be a secret that was put into the wrong setting
        raise ValueError(_reason_of(fault_of(error), wanted)) from None


def _reason_of(fault: ValidationFault, wanted: Any) -> str:
    """Return the reason why a value is invalid: where its pattern has a rule in words, that."""
    choices, *limits = get_args(wanted) if get_origin(wanted) is Annotated else (None,)
    if isinstance(choices, type) and issubclass(choices, StrEnum):
        return f"Expected one of {', '.join(choices)}"
    for limit in limits:
        if limit.pattern and RULE in (limit.extra or {}) and fault.is_about(limit.pattern):
            return str(limit.extra[RULE])
    return fault.without_value


def _from_text(wanted: Any, value: Any) -> Any:
    """Values of the types that msgspec does not know: paths and secrets."""
    return value if isinstance(value, wanted) else wanted(value)

"""Roles of people who come from the identity provider: which of their groups has which role. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import unquote

from everwatch.api.permissions import Role

EVERYBODY = "*"
_RANK = {Role.VIEWER: 1, Role.OPERATOR: 2, Role.ADMIN: 3}


def roles_by_group(mapping: Iterable[str]) -> dict[str, Role]:
    """Return the role of each group in a setting like ``sre=operator``; %2C stands for a comma in a name."""
    pairs = (each.rpartition("=") for each in mapping)
    return {unquote(group): Role(role) for group, _, role in pairs}


def role_of(groups: Sequence[str], roles: Mapping[str, Role]) -> Role | None:
    """Return the highest role that any of these groups has, or any person; None if none has one."""
    found = [roles[group] for group in (*groups, EVERYBODY) if group in roles]
    return max(found, key=_RANK.__getitem__) if found else None


def groups_in(claims: Mapping[str, Any], claim: str) -> list[str] | None:
    """Return the groups that a claim names; None if it is not there.

    It may be a list, one name, or an object whose keys are names. A dot leads into an object (``realm_access.roles``),
    where there is no claim of the whole name.
    """
    value: Any = claims
    if claim in claims:
        value = claims[claim]
    else:
        for part in claim.split("."):
            value = value.get(part) if isinstance(value, dict) else None
    if isinstance(value, str):
        return [value]
    # "*" is everybody's and no group's
    names = list(value) if isinstance(value, list | dict) else None
    return None if names is None else [each for each in names if isinstance(each, str) and each != EVERYBODY]

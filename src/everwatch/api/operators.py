"""Operators who log in to the console with a name and a password: stored records, and those that this process knows.

The records are on the compacted topic ``access``. Of a password only its Argon2id hash is stored. ``credential_id`` is
made anew with each password and each role: sessions are begun with it, and end with it.
"""

import secrets
from collections.abc import Iterable
from typing import Annotated

import msgspec

from everwatch.api.permissions import Role

_ID_CHARACTERS = 16
OperatorName = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9._@+-]{0,63}\Z")]
"""Lower case, so that no operator exists twice; no "/", which ends the kind of a record in its key."""


class OperatorRecord(msgspec.Struct, frozen=True, kw_only=True, tag="operator", tag_field="type"):
    """Stored record of an operator. Instants in ms. ``password``: Argon2id in PHC format."""

    name: OperatorName
    role: Role
    password: Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
    credential_id: Annotated[str, msgspec.Meta(pattern=rf"^[0-9a-f]{{{_ID_CHARACTERS}}}\Z")]
    created_at: int
    changed_at: int


def new_operator(name: str, role: Role, password: str, now: int, created_at: int | None = None) -> OperatorRecord:
    """Make the record of an operator; ``password``: its hash. ``created_at``: of one that is there already."""
    return OperatorRecord(
        name=name,
        role=role,
        password=password,
        credential_id=secrets.token_hex(_ID_CHARACTERS // 2),
        created_at=now if created_at is None else created_at,
        changed_at=now,
    )


class Operators:
    """The operators that the topic ``access`` holds; changed in the follower's thread, one step at a time."""

    def __init__(self) -> None:
        self._by_name: dict[str, OperatorRecord] = {}

    def __bool__(self) -> bool:
        return bool(self._by_name)

    def put(self, record: OperatorRecord) -> None:
        """Take in an operator, in place of the one of that name."""
        self._by_name = self._by_name | {record.name: record}

    def forget(self, name: str) -> None:
        """Forget an operator, and with it the sessions that it began."""
        self._by_name = {held: each for held, each in self._by_name.items() if held != name}

    def find(self, name: str) -> OperatorRecord | None:
        """Return the operator of a name."""
        return self._by_name.get(name)

    def holds(self, credential_id: str) -> bool:
        """Tell whether an operator still has this credential."""
        return any(each.credential_id == credential_id for each in self._by_name.values())

    def has_admin(self) -> bool:
        """Tell whether one of them administers."""
        return any(each.role is Role.ADMIN for each in self._by_name.values())

    def records(self) -> Iterable[OperatorRecord]:
        """Return all operators, by name."""
        return sorted(self._by_name.values(), key=lambda each: each.name)

"""Keys that entries of the table can have: no other ones are in its changelog, if only workers write there."""

from everwatch.core.bounds import RESERVED_USERS
from everwatch.encoding import codec

FIRST_ENTRY = b"\x01"
"""All entries' keys come after it; the store's own begin with NUL, or with a user that nobody can be."""
_FIRST_BYTE = FIRST_ENTRY[0]
_RESERVED = tuple(name.encode() for name in RESERVED_USERS)


def is_of_entry(key: bytes | None) -> bool:
    """Tell whether an entry of the table can have this key."""
    if not key:
        return False
    if key[0] > _FIRST_BYTE and not key.startswith(_RESERVED):
        return True
    return key > FIRST_ENTRY and key.partition(codec.SEPARATOR)[0] not in _RESERVED

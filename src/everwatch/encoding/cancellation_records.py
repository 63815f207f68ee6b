"""Records of the topic ``cancellations``: up to which instant ticks of a monitor or user are not to be begun any more.

The key is that of the table: a monitor, or a user with all of its monitors. The value is JSON. Pure.
"""

import msgspec

from everwatch.core.bounds import InstantMs
from everwatch.core.errors import InvalidInput
from everwatch.encoding import codec

Key = tuple[str, str]
"""``user_id`` and ``monitor_id``, "" for all monitors of the user."""


class Cancellation(msgspec.Struct, frozen=True):
    """Ticks due up to ``until`` (ms) are not begun. ``is_deleted``: not those that were asked for by hand, either."""

    until: InstantMs
    is_deleted: bool = False


def encode_cancellation(key: Key, cancellation: Cancellation) -> tuple[bytes, bytes]:
    """Key and value of a record."""
    return codec.table_key(*key), msgspec.json.encode(cancellation)


def decode_cancellation(key: bytes | None, value: bytes | None) -> tuple[Key, Cancellation]:
    """Decode a record. Raises InvalidInput."""
    try:
        user_id, monitor_id = codec.split_key(key or b"")
        if not user_id:
            raise InvalidInput("the key names no user")
        return (user_id, monitor_id), msgspec.json.decode(value or b"", type=Cancellation)
    except (msgspec.ValidationError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(f"not a cancellation: {error}") from None

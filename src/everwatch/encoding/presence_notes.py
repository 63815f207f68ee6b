"""Notes of executors on ``trial-results``: that one is at work, and that it ends because it was asked to.

The consumer group forgets a member whether it left or died; the notes tell these apart. The key is the executor's name,
the value JSON. Readers of trials pass over them, as they have no trial's id. Pure.
"""

from typing import Annotated

import msgspec
from msgspec import Meta

from everwatch.core.errors import InvalidInput

NOTED_EVERY_S = 10.0
"""An executor says so often that it is at work."""

_Milliseconds = Annotated[int, Meta(ge=0)]


class PresenceNote(msgspec.Struct, frozen=True):
    """An executor was at work at ``at``, and had begun at ``began_at``, ms. ``left``: it was asked to end."""

    executor: Annotated[str, Meta(min_length=1, max_length=300)]
    began_at: _Milliseconds
    at: _Milliseconds
    left: bool = False


def encode_note(note: PresenceNote) -> tuple[bytes, bytes]:
    """Return key and value of a record."""
    return note.executor.encode(), msgspec.json.encode(note)


def decode_note(value: bytes | None) -> PresenceNote:
    """Return the note of a record. Raises InvalidInput for anything else, as the topic has other records."""
    try:
        return msgspec.json.decode(value or b"", type=PresenceNote)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInput(f"not a note of an executor: {error}") from None

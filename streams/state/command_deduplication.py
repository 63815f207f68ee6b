"""Command deduplication: the ids of a user's commands that have been carried out."""

import logging

import msgspec

logger = logging.getLogger(__name__)
KEPT = 64
KEPT_MS = 7 * 24 * 3_600_000


class HandledCommands(msgspec.Struct, frozen=True):
    """The newest command ids of a user and when each was carried out, ms; oldest first."""

    ids: dict[str, int] = {}

    def with_id(self, command_id: str, at: int) -> "HandledCommands":
        """Return the ids with one more, without those that are too old or above KEPT."""
        young = [(known, when) for known, when in self.ids.items() if when > at - KEPT_MS and known != command_id]
        return HandledCommands(dict([*young[-(KEPT - 1) :], (command_id, at)]))

    def encoded(self) -> bytes:
        """Return the table's value."""
        return msgspec.json.encode(self)


def remembered_of(value: bytes | None) -> HandledCommands:
    """Decode the table's record; an empty one if it cannot be decoded: a repeated command then counts as new."""
    try:
        return msgspec.json.decode(value, type=HandledCommands) if value else HandledCommands()
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        logger.error("the ids of a user's commands cannot be decoded and are forgotten: %s", error)
        return HandledCommands()

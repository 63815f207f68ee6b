"""Command deduplication: ids of a user's commands, and of some signups, that have been carried out."""

import logging

import msgspec

logger = logging.getLogger(__name__)
KEPT = 64
KEPT_MS = 7 * 24 * 3_600_000


class HandledCommands(msgspec.Struct, frozen=True, omit_defaults=True):
    """The newest remembered ids of a user and when each was carried out, ms; oldest first.

    ``digests``: of the requests that they were made of, by command id, where these had one.
    """

    ids: dict[str, int] = {}
    digests: dict[str, str] = {}

    def with_id(self, command_id: str, at: int, digest: str = "") -> "HandledCommands":
        """Return the ids with one more, without those that are too old or above KEPT."""
        young = [(known, when) for known, when in self.ids.items() if when > at - KEPT_MS and known != command_id]
        ids = dict([*young[-(KEPT - 1) :], (command_id, at)])
        if not digest and not self.digests:
            return HandledCommands(ids)
        digests = {known: each for known, each in self.digests.items() if known in ids and known != command_id}
        return HandledCommands(ids, digests | {command_id: digest} if digest else digests)

    def is_other(self, command_id: str, digest: str) -> bool:
        """Tell whether this id was that of another request than the one with this digest; "": not known."""
        known = self.digests.get(command_id, "")
        return bool(known and digest) and known != digest

    def encoded(self) -> bytes:
        """Return the table's value."""
        return _encode(self)


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(HandledCommands).decode


def remembered_of(value: bytes | None) -> HandledCommands:
    """Decode the table's record; an empty one if it cannot be decoded: a repeated command then counts as new."""
    try:
        return _decode(value) if value else HandledCommands()
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        logger.error("the ids of a user's commands cannot be decoded and are forgotten: %s", error)
        return HandledCommands()

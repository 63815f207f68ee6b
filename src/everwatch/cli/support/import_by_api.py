"""Rows of an import through the HTTP API: sent in batches whose answers say at once what workers made of each row."""

from collections import deque
from collections.abc import Mapping, Sequence

from everwatch.cli.support.api_connection import ApiLink
from everwatch.encoding import codec
from everwatch.kafka.command_client import Asked
from everwatch.model import Asker, Reply
from everwatch.transfer.import_rows import Row
from everwatch.transfer.ledger import LedgerMark
from everwatch.transfer.load_sender import STALLED_AFTER_S


class ApiRows:
    """Sends rows, and holds the answers; a ``LoadSender`` and ``Answers`` in one.

    ``is_incomplete``: an earlier pass went by Kafka, and the API cannot tell what was refused since.
    """

    def __init__(self, link: ApiLink) -> None:
        self._link = link
        self._replies: deque[Reply] = deque()
        self._arrived: list[LedgerMark] = []
        self.is_incomplete = False
        self.positions: Mapping[int, int] = {}

    def since(self, positions: Mapping[int, int] | None) -> "ApiRows":
        """Return the answers since positions of the topic ``replies``, which the API cannot read."""
        self.is_incomplete = bool(positions)
        return self

    def send(self, rows: Sequence[Row], marks: Sequence[LedgerMark]) -> None:
        """Send rows and wait for their answers. Raises ApiError, Unanswered."""
        marked = dict(zip(map(_key_of, rows), marks, strict=True))
        for asked, reply in self._link.ask(map(_asked, rows)):
            self._replies.append(reply)
            self._arrived.append(marked[asked.asker.user_id, asked.asker.monitor_id])

    def arrived(self) -> list[LedgerMark]:
        """Return the marks of rows that were answered and were not returned yet."""
        found, self._arrived = self._arrived, []
        return found

    def finish(self, within_s: float = STALLED_AFTER_S) -> list[LedgerMark]:  # noqa: ARG002  # nothing is under way
        """Return what ``arrived`` does: nothing is under way."""
        return self.arrived()

    def take(self, timeout_s: float) -> Sequence[Reply]:  # noqa: ARG002  # all answers are here
        """Return all answers that were not taken yet."""
        found = list(self._replies)
        self._replies.clear()
        return found

    def catch_up(self) -> Sequence[Reply]:
        """Return nothing: the API does not give earlier answers."""
        return []

    def close(self) -> None:
        """Release nothing: the client is its owner's to close."""


def _key_of(row: Row) -> tuple[str, str]:
    return row.user_id, row.monitor_id


def _asked(row: Row) -> Asked:
    """The input that a row is, with the id that the pass has given it."""
    if row.monitor_id:
        command = codec.decode_command(row.value)
        return Asked(Asker.of(command), row.value, row.line)
    signup = codec.decode_signup(row.value)
    return Asked(Asker.of(signup), row.value, row.line)

"""Outcomes of the rows that were sent: what the workers answer on the topic ``replies``, in this pass or before it.

Each row is sent with an id that holds the digest of the row, so a refusal is matched with the ledger without any other
memory. Without waiting only refusals are answered, and the next pass reads them from where this one began; the ledger
keeps that position until all of it is known.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol
from uuid import uuid4

from everwatch.core.clock import Clock
from everwatch.encoding import codec
from everwatch.kafka.command_client import Unanswered, unanswered_text
from everwatch.model import CommandOutcome, Reply
from everwatch.transfer.import_rows import Row
from everwatch.transfer.ledger import Ledger, LedgerMark, RefusedRow

ID_BYTES = 128
"""Room that an id takes in a record."""
MOST_WAITING = 50_000
"""Rows that wait for an answer at once; further ones are sent when some of them are answered."""
_TAKE_S = 0.25
_PREFIX = "import-"


class Answers(Protocol):
    """The topic ``replies``, read from some position on."""

    @property
    def is_incomplete(self) -> bool:
        """Tell whether replies between the position asked for and the first one that is kept are gone."""
        ...

    @property
    def positions(self) -> Mapping[int, int]:
        """The offset of the next reply, by partition."""
        ...

    def take(self, timeout_s: float) -> Sequence[Reply]:
        """Some replies; none if none comes within ``timeout_s``."""
        ...

    def catch_up(self) -> Sequence[Reply]:
        """Some of the replies that were there when this was opened; none when all were given."""
        ...

    def close(self) -> None:
        """Leave the topic."""
        ...


OpenAnswers = Callable[[Mapping[int, int] | None], Answers]
"""Opens the topic at these positions, or at its end. Raises BrokerUnavailable."""


class AwaitedRow(NamedTuple):
    """Waiting for the outcomes of rows: whether a pass does, and the longest pause between two of them."""

    wanted: bool = False
    timeout_s: float = 30.0


class RefusedAnswer(NamedTuple):
    """A row that a worker refused: its key, the line it stood in (0: in an earlier pass), its user and the reason."""

    key: bytes
    line: int
    user_id: str
    reason: str


class Outcomes:
    """Outcomes of the rows of one pass, and of earlier ones.

    ``accepted``: rows of this pass that a worker took. ``on_refusal`` is called with each refusal once the ledger has
    it; ``interrupted`` ends the waiting.
    """

    def __init__(
        self, ledger: Ledger, open_answers: OpenAnswers, clock: Clock, waiting: AwaitedRow, plans_digest: bytes = b""
    ) -> None:
        self.most_waiting = MOST_WAITING
        self.accepted = 0
        self.on_refusal: Callable[[RefusedAnswer], None] = lambda _: None
        self.interrupted: Callable[[], bool] = lambda: False
        self._ledger = ledger
        self._open_answers = open_answers
        self._clock = clock
        self._wait = waiting
        self._plans_digest = plans_digest
        self._answers: Answers | None = None
        self._pass_id = uuid4().hex[:8].encode()
        # by key: the digest and the line of a row that waits for its answer
        self._waiting: dict[bytes, tuple[bytes, int]] = {}
        self._are_earlier_known = False

    def learn(self) -> bool:
        """Take in refusals since the last pass. Return whether all of them could still be read.

        Raises BrokerUnavailable, SettingsError.
        """
        unread = self._ledger.unread()
        if not unread:
            return True
        self._answers = answers = self._open_answers(unread)
        while replies := answers.catch_up():
            for reply in replies:
                self._refuse(reply, 0)
        # what is not carried out yet is answered behind these
        self._ledger.read_up_to(answers.positions)
        return not answers.is_incomplete

    def begin(self) -> None:
        """Before the first row is sent: note from where answers have to be read. Raises BrokerUnavailable."""
        if self._answers is None:
            self._answers = self._open_answers(None)
        self._are_earlier_known = not self._ledger.unread()
        if self._are_earlier_known:
            self._ledger.read_up_to(self._answers.positions)

    def asking(self, row: Row, digest: bytes) -> Row:
        """The row with its id, and with the wish for every answer or for refusals only."""
        name = b"command_id" if row.monitor_id else b"signup_id"
        reply = b"always" if self._wait.wanted else b"refused"
        value = b'%b,"%b":"import-%b-%b","reply":"%b"}' % (
            row.value[:-1],
            name,
            self._pass_id,
            digest.hex().encode(),
            reply,
        )
        return Row(row.line, row.user_id, row.monitor_id, value)

    def expect(self, rows: Sequence[Row], marks: Sequence[LedgerMark]) -> None:
        """Rows were sent: with waiting, take in answers, and wait where too many are missing. Raises Unanswered."""
        if not self._wait.wanted:
            return
        for row, mark in zip(rows, marks, strict=True):
            self._waiting[mark.key] = mark.digest, row.line
        self._take(self.most_waiting, 0.0)

    def finish(self) -> None:
        """All rows are on the topics: with waiting, wait for the answers that are missing. Raises Unanswered."""
        if self._wait.wanted:
            self._take(0, _TAKE_S)
            if self._are_earlier_known and not self._waiting:
                self._ledger.read_all()
            elif not self._waiting and self._answers is not None:
                self._ledger.read_up_to(self._answers.positions)

    def close(self) -> None:
        """Leave the topic."""
        if self._answers is not None:
            self._answers.close()

    def _take(self, most: int, take_s: float) -> None:
        assert self._answers is not None  # opened before anything was sent
        deadline_s = self._clock.monotonic_s() + self._wait.timeout_s
        while True:
            answered = 0
            while replies := self._answers.take(take_s):
                answered += sum(self._note(reply) for reply in replies)
                if len(self._waiting) <= most:
                    return
            if len(self._waiting) <= most or self.interrupted():
                return
            take_s, now_s = _TAKE_S, self._clock.monotonic_s()
            if answered:
                deadline_s = now_s + self._wait.timeout_s
            elif now_s >= deadline_s:
                raise Unanswered(unanswered_text(len(self._waiting), self._wait.timeout_s))

    def _note(self, reply: Reply) -> bool:
        """Count an answer; return whether it is one to a row of this pass."""
        found = _sent_as(reply)
        if found is None:
            return False
        key, digest = found
        waiting = self._waiting.get(key)
        if waiting is None or waiting[0] != digest:
            # perhaps it answers a row of an earlier pass
            self._refuse(reply, 0)
            return False
        del self._waiting[key]
        if reply.answer is not CommandOutcome.REFUSED:
            self.accepted += 1
        else:
            self._refuse(reply, waiting[1])
        return True

    def _refuse(self, reply: Reply, line: int) -> None:
        """Have the ledger know that a row was refused, if it is the one that was sent last under its key."""
        found = _sent_as(reply) if reply.answer is CommandOutcome.REFUSED else None
        if found is None:
            return
        key, digest = found
        reason = reply.reason + (f" (at {reply.path})" if reply.path else "")
        if line == 0:
            mark = self._ledger.known([key]).get(key)
            if mark is None or mark.digest != digest:
                return
        self._ledger.refuse(key, RefusedRow(digest, reason, self._clock.now_ms(), self._plans_digest))
        self.on_refusal(RefusedAnswer(key, line, reply.user_id, reason))


def _sent_as(reply: Reply) -> tuple[bytes, bytes] | None:
    """Key and digest of the row that a reply answers; None if no import sent it."""
    asked_id = reply.signup_id or reply.command_id
    if not asked_id.startswith(_PREFIX):
        return None
    try:
        digest = bytes.fromhex(asked_id.rpartition("-")[2])
    except ValueError:
        return None
    return codec.table_key(reply.user_id, reply.monitor_id if reply.command_id else ""), digest

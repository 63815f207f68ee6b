"""One pass over a source: every row is read; new and changed ones are checked, sent, and noted once Kafka has them."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple, Protocol

from everwatch.core.clock import Clock
from everwatch.core.errors import InvalidInput, SettingsError, Transient
from everwatch.encoding import codec
from everwatch.rules.admission import SignupPlans, admit_command, admit_signup
from everwatch.transfer.import_rows import Row
from everwatch.transfer.ledger import Ledger, LedgerMark, digest_of
from everwatch.transfer.load_sender import STALLED_AFTER_S, LoadSender
from everwatch.transfer.outcomes import ID_BYTES, Outcomes, RefusedAnswer

ROWS_AT_ONCE = 2_000
# longest wait of a stopped pass for what is under way
STOPPED_WITHIN_S = 5.0
_SECOND_ROW = "this is a second row of the same {}, and says something else: the first one counts"


class RowSource(Protocol):
    """Source of rows; ``position`` of ``size`` bytes are read, if ``size`` is known."""

    @property
    def name(self) -> str: ...

    @property
    def position(self) -> int: ...

    @property
    def size(self) -> int: ...

    def rows(self) -> Iterator[Row]:
        """Every row, in order; each time anew. Raises SettingsError."""
        ...


class Interruption:
    """A wish to stop: reading is given up, rows under way are waited for."""

    def __init__(self) -> None:
        self.wanted = False
        self._reading = False

    def ask(self) -> None:
        """Ask to stop, from a signal's handler. Raises KeyboardInterrupt where nothing else ends the waiting."""
        again, self.wanted = self.wanted, True
        if self._reading or again:
            raise KeyboardInterrupt

    def unless_asked(self, read: Callable[[], list[Row]]) -> list[Row]:
        """Return the result of ``read``, or nothing once it is to stop: a pipe or a database may block forever."""
        self._reading = True
        try:
            return [] if self.wanted else read()
        except KeyboardInterrupt:
            if not self.wanted:
                raise
            return []
        finally:
            self._reading = False


@dataclass
class ImportTally:
    """Counts of a pass by the outcome of rows; ``sent`` are those that were new or changed, or all.

    ``again``: of those sent, rows that a worker had refused. ``accepted``: rows that a worker took, known with waiting
    only. ``refused_before``: refusals of what earlier passes sent, learned in this one. ``refused``: rows that were
    wrong, that a worker refused, or that stay refused because nothing has changed.
    """

    read: int = 0
    new: int = 0
    changed: int = 0
    unchanged: int = 0
    refused: int = 0
    sent: int = 0
    seconds: float = 0.0
    again: int = 0
    accepted: int = 0
    refused_before: int = 0


@dataclass(frozen=True)
class PassCallbacks:
    """Callbacks: ``refused`` for each wrong row (its line, the reason), ``look`` now and then for progress."""

    refused: Callable[[int, str], None]
    look: Callable[[ImportTally], None]


@dataclass(frozen=True)
class RowRules:
    """Rules that a pass checks rows against: the worker's plans, as far as they are known here.

    ``refused_rest_ms``: time until a row that a worker refused is sent again, unless the row or the plans changed.
    """

    plans: SignupPlans | None = None
    plans_digest: bytes = b""
    refused_rest_ms: int = 0


class RowWay(NamedTuple):
    """The way of rows to the workers and back. ``courier`` makes their sender when there is something to send.

    With ``outcomes`` the rows are sent so that workers answer; without, a refusal by a worker is not seen.
    """

    courier: Callable[[], LoadSender]
    outcomes: Outcomes | None = None


class Pass:
    """One pass over the rows of a source, in a dry run (``ship`` false) without sending any."""

    def __init__(
        self,
        source: RowSource,
        ledger: Ledger,
        way: RowWay,
        callbacks: PassCallbacks,
        clock: Clock,
        rules: RowRules | None = None,
    ) -> None:
        self._source = source
        self._ledger = ledger
        self._courier_of, outcomes = way
        self._courier: LoadSender | None = None
        self._callbacks = callbacks
        self._clock = clock
        self._rules = rules or RowRules()
        self._outcomes = outcomes
        # sent and not noted yet
        self._pending: dict[bytes, LedgerMark] = {}
        # refused before all of their load was acknowledged
        self._refused_early: set[bytes] = set()
        self._seen = _Seen()
        self.tally = ImportTally()
        if outcomes is not None:
            outcomes.on_refusal = self._on_refusal

    def run(self, interruption: Interruption, *, everything: bool = False, ship: bool = True) -> ImportTally:
        """Read to the end, or until it is asked to stop; ``everything``: send unchanged rows, too.

        Raises SettingsError where the source cannot be read, BrokerUnavailable. Rows that were durable by then are
        noted.
        """
        if self._outcomes is not None:
            self._outcomes.interrupted = lambda: interruption.wanted
        try:
            return self._run(interruption, everything, ship)
        except Transient:
            if self._courier is not None:
                with suppress(Transient):
                    self._note(self._courier.arrived())
            raise

    def _run(self, interruption: Interruption, everything: bool, ship: bool) -> ImportTally:
        began_s, tally = self._clock.monotonic_s(), self.tally
        if self._outcomes is not None and ship and not self._outcomes.learn():
            # refusals may have gone unseen
            everything = True
        rows = self._source.rows()
        try:
            while some := interruption.unless_asked(lambda: list(islice(rows, ROWS_AT_ONCE))):
                self._take(some, everything, ship)
                tally.seconds = self._clock.monotonic_s() - began_s
                self._callbacks.look(tally)
        except SettingsError:
            self._finish(STALLED_AFTER_S)
            raise
        finally:
            tally.seconds = self._clock.monotonic_s() - began_s
        self._finish(STOPPED_WITHIN_S if interruption.wanted else STALLED_AFTER_S)
        if self._outcomes is not None and self._courier is not None:
            self._outcomes.finish()
            tally.accepted = self._outcomes.accepted
        tally.seconds = self._clock.monotonic_s() - began_s
        return tally

    def _finish(self, within_s: float) -> None:
        if self._courier is not None:
            marks = self._courier.finish(within_s)
            while marks:
                self._note(marks)
                marks = self._courier.arrived()

    def _take(self, rows: list[Row], everything: bool, ship: bool) -> None:
        keys = [codec.table_key(row.user_id, row.monitor_id) for row in rows]
        pending = self._pending
        known = self._ledger.known([key for key in keys if key not in pending])
        load: list[Row] = []
        marks: list[LedgerMark] = []
        changed: list[bytes] = []
        tally = self.tally
        tally.read += len(rows)
        for row, key in zip(rows, keys, strict=True):
            try:
                if row.problem:
                    raise InvalidInput(row.problem)
                digest = digest_of(row.value)
                before = pending.get(key) or known.get(key)
                is_same = before is not None and before.digest == digest
                if before is not None and before.number in self._seen:
                    if not is_same:
                        raise InvalidInput(_SECOND_ROW.format("monitor" if row.monitor_id else "user"))
                    tally.unchanged += 1
                    continue
                # what is as it was sent was right then
                if not is_same:
                    self._check(row)
                    was_refused = before is not None and not before.digest and self._was_refused(key, digest)
                else:
                    was_refused = False
            except InvalidInput as error:
                tally.refused += 1
                self._callbacks.refused(row.line, str(error))
                continue
            number = self._ledger.new_number() if before is None else before.number
            self._seen.add(number)
            if before is None:
                tally.new += 1
            elif is_same:
                tally.unchanged += 1
                if not everything:
                    continue
            elif was_refused:
                tally.again += 1
            else:
                tally.changed += 1
                if before.digest:
                    changed.append(key)
            pending[key] = mark = LedgerMark(key, digest, number)
            load.append(row if self._outcomes is None else self._outcomes.asking(row, digest))
            marks.append(mark)
        if not load:
            return
        tally.sent += len(load)
        if ship:
            self._send(load, marks, changed)
        else:
            self._note(marks)

    def _send(self, load: list[Row], marks: list[LedgerMark], changed: list[bytes]) -> None:
        """Send rows, and note those that have arrived. ``changed``: keys of rows that were sent otherwise before."""
        if self._courier is None:
            self._courier = self._courier_of()
            if self._outcomes is not None:
                self._outcomes.begin()
        if changed:
            # from here on the brokers may have either: a row that goes back to what was noted must be sent
            self._ledger.doubt(changed)
        self._courier.send(load, marks)
        self._note(self._courier.arrived())
        if self._outcomes is not None:
            self._outcomes.expect(load, marks)

    def _check(self, row: Row) -> None:
        """Raise InvalidInput if the worker would refuse the row."""
        if len(row.value) > codec.LARGEST_INPUT_BYTES - ID_BYTES:
            raise InvalidInput(f"the row has more than {codec.LARGEST_INPUT_BYTES - ID_BYTES} bytes as JSON")
        if row.monitor_id:
            admit_command(row.value)
        else:
            admit_signup(row.value, plans=self._rules.plans)

    def _was_refused(self, key: bytes, digest: bytes) -> bool:
        """Return whether a worker refused this very row. Raises InvalidInput if it is not to be sent again yet."""
        refused = self._ledger.refusal(key)
        if refused is None or refused.digest != digest:
            return False
        rests = self._clock.now_ms() - refused.at < self._rules.refused_rest_ms
        if rests and refused.plans == self._rules.plans_digest:
            raise InvalidInput(f"{refused.reason}; it is not sent again until the row or the plans change")
        return True

    def _on_refusal(self, refusal: RefusedAnswer) -> None:
        """Count a refusal by a worker and report it."""
        if refusal.line:
            self.tally.refused += 1
            self._callbacks.refused(refusal.line, refusal.reason)
            if refusal.key in self._pending:
                self._refused_early.add(refusal.key)
        else:
            self.tally.refused_before += 1
            self._callbacks.refused(0, f"since the last pass user {refusal.user_id!r} was refused: {refusal.reason}")

    def _note(self, marks: list[LedgerMark]) -> None:
        if marks:
            if self._refused_early:
                # their numbers are noted, and that nothing was taken
                marks = [mark._replace(digest=b"") if mark.key in self._refused_early else mark for mark in marks]
                self._refused_early.difference_update(mark.key for mark in marks)
            self._ledger.note(marks)
            for mark in marks:
                del self._pending[mark.key]


class _Seen:
    """Numbers, one bit each."""

    def __init__(self) -> None:
        self._bits = bytearray()

    def __contains__(self, number: int) -> bool:
        at = number >> 3
        return at < len(self._bits) and bool(self._bits[at] & (1 << (number & 7)))

    def add(self, number: int) -> None:
        at = number >> 3
        if at >= len(self._bits):
            self._bits.extend(bytes(at + 1 - len(self._bits) + (len(self._bits) >> 3)))
        self._bits[at] |= 1 << (number & 7)

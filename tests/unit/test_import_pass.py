"""A pass of an import: what is sent, what is refused, what is remembered, whatever ends it.

All in one file: one class, and what may end it.
"""

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Any

import orjson
import pytest
from confluent_kafka import KafkaError, KafkaException

from everwatch.core.clock import SettableClock
from everwatch.core.config import Settings
from everwatch.core.errors import BrokerUnavailable, FolderInUse, SettingsError
from everwatch.kafka.topics import Topics
from everwatch.transfer.import_pass import Interruption, Pass, PassCallbacks, RowWay
from everwatch.transfer.import_rows import Objects, Row, RowReading
from everwatch.transfer.ledger import Ledger, LedgerMark
from everwatch.transfer.load_sender import KafkaLoadSender

MONITOR = {"monitor_id": "m", "kind": "noop"}


def user(user_id: str, **more: Any) -> dict[str, Any]:
    return {"user_id": user_id, **more}


class Rows:
    """A source of these objects, which may end with an error."""

    name, position, size = "users.jsonl", 0, 0

    def __init__(self, *given: Any, then: BaseException | None = None) -> None:
        self.given = list(given)
        self.then = then

    def rows(self) -> Iterator[Row]:
        make = Objects(RowReading()).row
        for number, each in enumerate(self.given, 1):
            yield make(number, each if isinstance(each, bytes) else orjson.dumps(each))
        if self.then:
            raise self.then


class Porter:
    """A courier that has what is sent, and brings it when it is told to; ``away``: it never does."""

    def __init__(self, *, away: bool = False) -> None:
        self.sent: list[dict[str, Any]] = []
        self.away = away
        self._marks: list[LedgerMark] = []

    def send(self, rows: Sequence[Row], marks: Sequence[LedgerMark]) -> None:
        self.sent += [orjson.loads(row.value) for row in rows]
        self._marks += marks

    def arrived(self) -> list[LedgerMark]:
        return []

    def finish(self, within_s: float = 0) -> list[LedgerMark]:
        if self.away:
            raise BrokerUnavailable("nobody answers")
        marks, self._marks = self._marks, []
        return marks


class Importer:
    """Imports into one state file, as often as it is asked to."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.porter = Porter()
        self.refused: list[tuple[int, str]] = []
        self.interruption = Interruption()
        self.look: Callable[[Any], None] = lambda _: None

    def take(self, source: Rows, *, keep: bool = True, everything: bool = False) -> tuple[int, ...]:
        """One pass: read, new, changed, unchanged, refused, sent."""
        self.refused.clear()
        self.porter.sent.clear()
        callbacks = PassCallbacks(
            lambda line, reason: self.refused.append((line, reason)), lambda tally: self.look(tally)
        )
        with Ledger(self.state, keep=keep) as ledger:
            one = Pass(source, ledger, RowWay(lambda: self.porter), callbacks, SettableClock())
            return astuple(one.run(self.interruption, everything=everything, ship=keep))[:6]


@pytest.fixture
def importer(tmp_path: Path) -> Importer:
    return Importer(tmp_path / "imports" / "users")


def test_only_what_is_new_or_changed_is_sent_again(importer: Importer) -> None:
    source = Rows(user("a"), user("b", plan="free"), user("a", monitor=MONITOR))
    assert importer.take(source) == (3, 3, 0, 0, 0, 3)
    assert importer.take(source) == (3, 0, 0, 3, 0, 0)
    source.given[1:2] = [user("b", plan="pro"), user("c")]
    assert importer.take(source) == (4, 1, 1, 2, 0, 2)
    assert importer.porter.sent == [user("b", plan="pro"), user("c")]
    assert importer.take(source) == (4, 0, 0, 4, 0, 0)


def test_a_user_and_a_monitor_of_that_user_are_remembered_apart(importer: Importer) -> None:
    importer.take(Rows(user("a"), user("a", monitor=MONITOR)))
    assert importer.take(Rows(user("a", monitor=MONITOR | {"payload": 1}), user("a")))[:4] == (2, 0, 1, 1)


def test_everything_is_sent_when_that_is_asked_for(importer: Importer) -> None:
    importer.take(Rows(user("a"), user("b")))
    assert importer.take(Rows(user("a"), user("b"), user("c")), everything=True) == (3, 1, 0, 2, 0, 3)


def test_wrong_rows_are_told_with_their_lines_and_harm_no_other(importer: Importer) -> None:
    source = Rows(
        user("a"),
        b'{"user_id": ',
        user("b", monitors=[{"kind": "nosuch"}]),
        user("b", monitor={"kind": "http"}),
        user(""),
        user("c"),
    )
    assert importer.take(source) == (6, 2, 0, 0, 4, 2)
    assert [line for line, _ in importer.refused] == [2, 3, 4, 5]
    reasons = [reason for _, reason in importer.refused]
    assert "there is no kind 'nosuch'" in reasons[1]
    assert reasons[1].endswith("(at $.monitors[0].kind)")
    assert reasons[2].endswith("(at $.monitor.config)")
    assert importer.take(source) == (6, 0, 0, 2, 4, 0)


def test_of_two_rows_of_one_user_the_first_counts_and_keeps_counting(importer: Importer) -> None:
    source = Rows(user("a", plan="one"), user("a", plan="one"), user("a", plan="two"), user("a", monitor=MONITOR))
    assert importer.take(source) == (4, 2, 0, 1, 1, 2)
    assert importer.refused == [
        (3, "this is a second row of the same user, and says something else: the first one counts")
    ]
    assert importer.take(source) == (4, 0, 0, 3, 1, 0)
    # far apart in the source, and the first one changed
    source.given[0] = user("a", plan="three")
    source.given[1:2] = [user(f"u-{n}") for n in range(5_000)]
    assert importer.take(source) == (5_003, 5_000, 1, 1, 1, 5_001)
    # when the first one is gone, the other counts
    source.given.pop(0)
    assert importer.take(source)[:5] == (5_002, 0, 1, 5_001, 0)


def test_a_wrong_first_row_leaves_its_place_to_the_next(importer: Importer) -> None:
    assert importer.take(Rows(user("a", plan=""), user("a", plan="x"))) == (2, 1, 0, 0, 1, 1)


def test_what_did_not_arrive_is_sent_again(importer: Importer) -> None:
    importer.porter.away = True
    with pytest.raises(BrokerUnavailable):
        importer.take(Rows(user("a")))
    importer.porter = Porter()
    assert importer.take(Rows(user("a"))) == (1, 1, 0, 0, 0, 1)


def test_a_row_that_goes_back_to_what_it_was_is_sent_if_what_came_between_may_have_arrived(importer: Importer) -> None:
    before, between, other = user("a", plan="one"), user("a", plan="two"), user("b")
    importer.take(Rows(before, other))
    importer.porter.away = True
    with pytest.raises(BrokerUnavailable):
        importer.take(Rows(between, other))
    importer.porter = Porter()
    assert importer.take(Rows(before, other)) == (2, 0, 1, 1, 0, 1)
    assert importer.porter.sent == [before]
    assert importer.take(Rows(before, other)) == (2, 0, 0, 2, 0, 0)


def test_a_dry_run_puts_nothing_in_doubt(importer: Importer) -> None:
    importer.take(Rows(user("a")))
    assert importer.take(Rows(user("a", plan="x")), keep=False)[:3] == (1, 0, 1)
    assert importer.take(Rows(user("a"))) == (1, 0, 0, 1, 0, 0)


@pytest.mark.parametrize("failing", ["send", "finish"])
def test_what_arrived_before_the_broker_went_away_is_not_sent_again(importer: Importer, failing: str) -> None:
    class Slow(Porter):
        """Brings two loads and no third one, and tells of them when it has failed."""

        def __init__(self) -> None:
            super().__init__()
            self.there: list[LedgerMark] = []
            self.loads = 0
            self.failed = False

        def send(self, rows: Sequence[Row], marks: Sequence[LedgerMark]) -> None:
            self.loads += 1
            if self.loads < 3:
                self.there += marks
            elif failing == "send":
                self.fail()

        def arrived(self) -> list[LedgerMark]:
            return self.there if self.failed else []

        def finish(self, within_s: float = 0) -> list[LedgerMark]:
            self.fail()
            return []

        def fail(self) -> None:
            self.failed = True
            raise BrokerUnavailable("nobody answers")

    rows = [user(f"u-{n}") for n in range(5_000)]
    importer.porter = Slow()
    with pytest.raises(BrokerUnavailable, match="nobody answers"):
        importer.take(Rows(*rows))
    importer.porter = Porter()
    assert importer.take(Rows(*rows))[:4] == (5_000, 1_000, 0, 4_000)


def test_a_source_that_breaks_off_has_brought_what_it_gave(importer: Importer) -> None:
    rows = [user(f"u-{n}") for n in range(3_000)]
    with pytest.raises(SettingsError):
        importer.take(Rows(*rows, then=SettingsError("the database went away")))
    assert importer.take(Rows(*rows))[:4] == (3_000, 1_000, 0, 2_000)


def test_a_pass_that_is_stopped_keeps_what_it_sent(importer: Importer) -> None:
    rows = [user(f"u-{n}") for n in range(5_000)]
    importer.look = lambda _: importer.interruption.ask()
    assert importer.take(Rows(*rows))[:2] == (2_000, 2_000)
    importer.interruption, importer.look = Interruption(), lambda _: None
    assert importer.take(Rows(*rows))[:4] == (5_000, 3_000, 0, 2_000)


def test_a_wish_to_stop_ends_the_wait_for_a_source(importer: Importer) -> None:
    class Pipe(Rows):
        def rows(self) -> Iterator[Row]:
            yield from super().rows()
            importer.interruption.ask()
            raise AssertionError("went on reading")

    assert importer.take(Pipe(user("a"))) == (0, 0, 0, 0, 0, 0)


def test_a_dry_run_counts_sends_nothing_and_leaves_no_trace(importer: Importer) -> None:
    source = Rows(user("a"), user("a", plan="x"), user("b"))
    assert importer.take(source, keep=False) == (3, 2, 0, 0, 1, 2)
    assert importer.porter.sent == []
    assert not importer.state.exists()
    importer.take(Rows(user("a")))
    assert importer.take(source, keep=False)[:5] == (3, 1, 0, 1, 1)
    assert importer.take(source)[:5] == (3, 1, 0, 1, 1)


# --- the state file ---------------------------------------------------------------------------------------------------


def test_two_imports_at_once_on_one_state_are_refused(importer: Importer) -> None:
    with Ledger(importer.state), pytest.raises(FolderInUse, match="Another import is at work with the state file"):
        Ledger(importer.state)
    Ledger(importer.state).close()


def test_a_state_file_that_is_none_is_told_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("not a database, but some notes of mine\n" * 100)
    with pytest.raises(SettingsError, match="name another with --state, or remove it"):
        Ledger(tmp_path / "notes")
    with sqlite3.connect(tmp_path / "other") as other:
        other.execute("CREATE TABLE sent (x)")
    other.close()
    with pytest.raises(SettingsError, match="name another with --state"):
        Ledger(tmp_path / "other")


# --- the courier ------------------------------------------------------------------------------------------------------


class Queue:
    """A librdkafka producer that holds ``room`` records, and lets go of them when polled unless it ``hangs``."""

    def __init__(self, clock: SettableClock, room: int = 3) -> None:
        self.clock, self.room = clock, room
        self.queued: list[tuple[str, Any]] = []
        self.topics: list[str] = []
        self.hangs = False
        self.error: KafkaError | None = None

    def produce(self, topic: str, value: bytes, key: bytes, on_delivery: Any) -> None:
        if len(self.queued) >= self.room:
            raise BufferError
        self.queued.append((topic, on_delivery))

    def poll(self, timeout: float) -> int:
        self.clock.advance(int(timeout * 1000))
        if self.hangs or not timeout or not self.queued:
            return 0
        topic, note = self.queued.pop(0)
        self.topics.append(topic)
        note(self.error, self)
        return 1

    def topic(self) -> str:
        return "signups"

    def __len__(self) -> int:
        return len(self.queued)


def load(*names: str) -> tuple[list[Row], list[LedgerMark]]:
    rows = [Row(n, name[0], name[1:], b"{}") for n, name in enumerate(names)]
    return rows, [LedgerMark(name.encode(), b"", n) for n, name in enumerate(names)]


def test_a_load_is_told_once_all_of_it_is_there() -> None:
    clock = SettableClock()
    queue = Queue(clock)
    courier = KafkaLoadSender(queue, Topics.of(Settings()), "here", clock)  # type: ignore[arg-type]
    first, second = load("a", "b", "cm", "d", "e"), load("f")
    courier.send(*first)
    assert courier.arrived() == []
    courier.send(*second)
    assert courier.finish() == [*first[1], *second[1]]
    assert queue.topics == ["signups", "signups", "commands", "signups", "signups", "signups"]
    assert courier.arrived() == []


def test_a_broker_that_takes_nothing_is_told_after_a_while() -> None:
    clock = SettableClock()
    queue = Queue(clock)
    courier = KafkaLoadSender(queue, Topics.of(Settings()), "here", clock)  # type: ignore[arg-type]
    queue.hangs = True
    with pytest.raises(BrokerUnavailable, match="3 records did not reach Kafka at here within 30 s"):
        courier.send(*load("a", "b", "c", "d"))
    assert clock.monotonic_s() >= 30


def test_a_record_that_the_broker_refuses_ends_the_import() -> None:
    clock = SettableClock()
    queue = Queue(clock)
    queue.error = KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED)
    courier = KafkaLoadSender(queue, Topics.of(Settings()), "here", clock)  # type: ignore[arg-type]
    courier.send(*load("a"))
    with pytest.raises(BrokerUnavailable, match="could not be delivered"):
        courier.finish()


def test_what_arrived_is_told_before_a_failure_is() -> None:
    clock = SettableClock()
    queue = Queue(clock)
    courier = KafkaLoadSender(queue, Topics.of(Settings()), "here", clock)  # type: ignore[arg-type]
    first, lost, last = load("a"), load("b"), load("c")
    courier.send(*first)
    courier.send(*lost)
    queue.poll(1)
    queue.error = KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED)
    queue.poll(1)
    queue.error = None
    courier.send(*last)
    assert courier.finish() == [*first[1], *last[1]]
    for _ in range(2):
        with pytest.raises(BrokerUnavailable, match="could not be delivered"):
            courier.arrived()


def test_a_record_that_the_producer_does_not_take_is_told_in_one_sentence() -> None:
    class Fatal(Queue):
        def produce(self, *_: Any, **__: Any) -> None:
            raise KafkaException(KafkaError(KafkaError._FATAL, "fenced"))

    clock = SettableClock()
    courier = KafkaLoadSender(Fatal(clock), Topics.of(Settings()), "here", clock)  # type: ignore[arg-type]
    with pytest.raises(BrokerUnavailable, match="A record for topic signups could not be sent: fenced"):
        courier.send(*load("a"))
    assert courier.finish() == []


def test_a_state_file_that_fails_is_told_and_can_be_used_again(importer: Importer) -> None:
    importer.take(Rows(user("a")))
    with Ledger(importer.state) as ledger:
        wrong = [LedgerMark(b"b", b"1", 1), LedgerMark(b"c", None, 2)]  # type: ignore[arg-type]
        with pytest.raises(SettingsError, match="cannot be written"):
            ledger.note(wrong)
        assert ledger.known([b"b"]) == {}
        ledger.note([LedgerMark(b"c", b"2", 2)])
        ledger.doubt([b"c", b"nobody"])
        assert ledger.known([b"b", b"c", b"nobody"]) == {b"c": LedgerMark(b"c", b"", 2)}
    for use in (lambda: ledger.known([b"c"]), lambda: ledger.doubt([b"c"])):  # it is closed
        with pytest.raises(SettingsError, match=r"The state file .* cannot be"):
            use()

"""Tests of where unreadable batches end, on a broker that is made up and a client that gives what librdkafka gives.

All in one file: one broker that is made up.
"""

import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition
from hypothesis import given
from hypothesis import strategies as st
from support.waiting import PATIENCE, wait_until

from everwatch.core.clock import SettableClock
from everwatch.core.errors import BrokerUnavailable, SettingsError
from everwatch.kafka.clients import LARGEST_RECORD_BYTES
from everwatch.kafka.unreadable_batches import Sieve, Unreadable


class Batch(NamedTuple):
    """Offsets of a batch, how many follow it that hold nothing (compaction), and whether it can be unpacked."""

    first: int
    count: int
    gap: int
    readable: bool
    size: int = 2

    @property
    def end(self) -> int:
        return self.first + self.count


MADE_UP = 7_234_017


class Message:
    def __init__(self, offset: int, error: int | None = None, size: int = 2) -> None:
        self._offset, self._size = offset, size
        self._error = None if error is None else KafkaError(error)

    def error(self) -> KafkaError | None:
        return self._error

    def topic(self) -> str:
        return "t"

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return self._offset

    def __len__(self) -> int:
        return self._size


class Client:
    """A client on the one partition; it stands still at what it cannot unpack, as librdkafka does.

    ``wanders``: it begins the partition anew behind that, as librdkafka does where a checksum is wrong.
    ``is_late``: there it asks for an offset that it made up, and that this is refused it reports after the next
    assignment, for which nothing is fetched then.
    """

    def __init__(self, log: list[Batch], wanders: bool = False, is_late: bool = False) -> None:
        self.log = log
        self.wanders = wanders
        self.is_late = is_late
        self.at = log[0].first if log else 0
        self.closed = False
        self.stats_cb: Callable[[str], None] = lambda _: None
        self._asks_for_made_up = self._is_refused = self._is_stuck = False

    def assign(self, positions: list[TopicPartition]) -> None:
        (position,) = positions
        self.at = position.offset
        self._is_refused, self._asks_for_made_up, self._is_stuck = self._asks_for_made_up, False, False

    def seek(self, position: TopicPartition) -> None:
        self.at = position.offset

    def position(self, wanted: list[TopicPartition]) -> list[TopicPartition]:
        return [TopicPartition("t", 0, self.at)]

    def assignment(self) -> list[TopicPartition]:
        return [TopicPartition("t", 0, self.log[0].first if self.log else 0)]

    def get_watermark_offsets(self, *_: object, **__: object) -> tuple[int, int]:
        """Return where the log begins, and up to where it may be read."""
        return 0, self.log[-1].end + self.log[-1].gap if self.log else 0

    def close(self) -> None:
        self.closed = True

    def consume(self, most: int, timeout: float) -> list[Any]:
        if self._is_refused:
            self._is_refused, self._is_stuck = False, True
            return [Message(MADE_UP, KafkaError._AUTO_OFFSET_RESET)]
        if self._is_stuck:
            return []
        found: list[Message] = []
        end = self.log[-1].end + self.log[-1].gap if self.log else 0
        if self.at > end:
            return [Message(self.at, KafkaError._AUTO_OFFSET_RESET)]
        while len(found) < most:
            batch = next((batch for batch in self.log if batch.end > self.at), None)
            if batch is None:
                return [*found, Message(end, KafkaError._PARTITION_EOF)]
            if not batch.readable:
                self._asks_for_made_up = self.is_late
                if self.wanders:
                    self.at = self.log[0].first
                return [*found, Message(batch.first, KafkaError._BAD_COMPRESSION)]
            self.at = max(self.at, batch.first) + 1
            found.append(Message(self.at - 1, size=batch.size))
        return found


def sieve_of(client: Client, new_prober: Callable[[], Client], clock: SettableClock, look_s: float = 0) -> Sieve:
    """A sieve that waits until a look is over, however slow the machine is, or for ``look_s``."""

    def opened(**settings: Any) -> Any:
        prober = new_prober()
        prober.stats_cb = settings["stats_cb"]
        return prober

    return Sieve(client, opened, clock, look_s=look_s or 60 * PATIENCE)  # type: ignore[arg-type]


@st.composite
def logs(draw: st.DrawFn) -> list[Batch]:
    first = draw(st.integers(0, 50))
    log = []
    for _ in range(draw(st.integers(0, 8))):
        batch = Batch(first, draw(st.integers(1, 70)), draw(st.sampled_from([0, 0, 0, 1, 9])), draw(st.booleans()))
        log.append(batch)
        first = batch.end + batch.gap
    return log


@given(logs(), st.booleans(), st.booleans())
def test_every_record_that_can_be_read_is_given_once_and_every_other_batch_is_passed_over_whole(
    log: list[Batch], wanders: bool, is_late: bool
) -> None:
    client = Client(log, wanders)
    probers: list[Client] = []

    def new_prober() -> Any:
        probers.append(Client(log, is_late=is_late))
        return probers[-1]

    sieve = sieve_of(client, new_prober, SettableClock(0))
    given_out: list[int] = []
    passed: list[Unreadable] = []
    for _ in range(1_000):
        sifted = sieve.take(100, 0, 0)
        given_out += [message.offset() or 0 for message in sifted.records]
        passed += sifted.unreadable
        if sifted.errors:
            break
    assert given_out == [offset for batch in log if batch.readable for offset in range(batch.first, batch.end)]
    bad = [batch for batch in log if not batch.readable]
    assert [each.first for each in passed] == [batch.first for batch in bad] or log_has_gaps(log)
    assert all(any(each.first <= batch.first and batch.end <= each.end for each in passed) for batch in bad)
    assert not any(each.first <= offset < each.end for each in passed for offset in given_out)
    assert all(prober.closed for prober in probers)


def log_has_gaps(log: list[Batch]) -> bool:
    """Offsets that hold nothing belong to no batch; which stretch they count to is of no consequence."""
    return any(batch.gap for batch in log)


@pytest.mark.parametrize(("size", "refused"), [(LARGEST_RECORD_BYTES, False), (LARGEST_RECORD_BYTES + 1, True)])
def test_a_record_is_passed_over_alone_when_it_unpacks_to_more_than_is_read(size: int, refused: bool) -> None:
    client = Client([Batch(3, 2, 0, True), Batch(5, 1, 0, True, size), Batch(6, 2, 0, True)])
    sieve = sieve_of(client, lambda: Client([]), SettableClock(0))
    sifted = sieve.sift(client.consume(5, 0))
    assert [message.offset() for message in sifted.records] == [3, 4, *([] if refused else [5]), 6, 7]
    assert [(each.first, each.end) for each in sifted.unreadable] == ([(5, 6)] if refused else [])


def test_what_a_second_client_can_read_is_not_passed_over() -> None:
    client = Client([Batch(0, 3, 0, False)])
    sieve = sieve_of(client, lambda: Client([Batch(0, 3, 0, True)]), SettableClock(0))
    assert sieve.take(10, 0, 0) == ([], [], [])
    assert not sieve.is_looking
    assert client.at == 0


def test_a_batch_whose_end_is_not_found_is_read_from_no_earlier_offset_and_looked_at_more_and_more_rarely() -> None:
    client = Client([Batch(0, 3, 0, True), Batch(3, 3, 0, False)], wanders=True)
    clock, tried = SettableClock(0), 0

    def away() -> Any:
        nonlocal tried
        tried += 1
        raise BrokerUnavailable("nobody answers")

    class Silent(Client):
        def consume(self, most: int, timeout: float) -> list[Any]:
            clock.advance(60_000)
            return away()

    sieve = sieve_of(client, lambda: Silent([]), clock)
    assert [message.offset() for message in sieve.take(10, 0, 0).records] == [0, 1, 2]
    for _ in range(100):
        assert sieve.take(10, 0, 0) == ([], [], [])
        assert not sieve.is_looking
        assert client.at == 3
        clock.advance(1_000)
    assert 3 <= tried <= 6


@pytest.mark.parametrize(
    "fault", [SettingsError("there is no file"), KafkaException(KafkaError(KafkaError._INVALID_ARG))], ids=["s", "k"]
)
def test_where_no_second_client_can_be_made_the_partition_waits_and_others_go_on(fault: Exception) -> None:
    log = [Batch(0, 3, 0, False), Batch(3, 2, 0, True)]
    clock, tried, is_faulty = SettableClock(0), 0, True

    def new_prober() -> Client:
        nonlocal tried
        tried += 1
        if is_faulty:
            raise fault
        return Client(log)

    client = Client(log)
    sieve = sieve_of(client, new_prober, clock)
    other: Any = Message(7)
    other.partition = lambda: 1
    for _ in range(3):
        assert sieve.sift([*client.consume(1, 0), other]) == ([other], [], [])
    assert tried == 1
    is_faulty = False
    clock.advance(60_000)
    assert [(each.first, each.end) for each in sieve.take(10, 0, 0).unreadable] == [(0, 3)]


def test_other_partitions_are_read_while_the_end_of_a_batch_is_looked_for() -> None:
    log = [Batch(0, 3, 0, True), Batch(3, 3, 0, False), Batch(6, 2, 0, True)]
    client, may_go_on = Client(log), threading.Event()

    class Slow(Client):
        def consume(self, most: int, timeout: float) -> list[Any]:
            assert may_go_on.wait(60 * PATIENCE)
            return super().consume(most, timeout)

    sieve = sieve_of(client, lambda: Slow(log), SettableClock(0), look_s=0.01)
    assert [message.offset() for message in sieve.take(10, 0, 0).records] == [0, 1, 2]
    assert sieve.is_looking
    # the client reports the batch again and again, and gives what other partitions have
    other: Any = Message(7)
    other.partition = lambda: 1
    for _ in range(3):
        assert sieve.sift([*client.consume(1, 0), other]) == ([other], [], [])
        assert client.at == 3
    may_go_on.set()
    wait_until("its end is found", lambda: not sieve.is_looking, 60)
    assert [(each.first, each.end) for each in sieve.take(10, 0, 0).unreadable] == [(3, 6)]
    assert [message.offset() for message in sieve.take(10, 0, 0).records] == [6, 7]


def test_records_that_come_together_with_the_error_of_a_batch_before_them_are_read_again() -> None:
    log = [Batch(3, 3, 0, False), Batch(6, 3, 0, True)]
    client = Client(log)
    sieve = sieve_of(client, lambda: Client(log), SettableClock(0))
    # the client has gone on by itself
    client.at = 8
    came: Any = [Message(3, KafkaError._BAD_MSG), Message(6), Message(7)]
    sifted = sieve.sift(came)
    assert [(each.first, each.end) for each in sifted.unreadable] == [(3, 6)]
    assert sifted.records == []
    assert [message.offset() for message in sieve.take(3, 0, 0).records] == [6, 7, 8]


def test_a_look_at_a_batch_that_another_owner_has_passed_over_says_nothing_of_the_next_one() -> None:
    log = [Batch(0, 3, 0, False), Batch(3, 2, 0, True), Batch(5, 4, 0, False), Batch(9, 1, 0, True)]
    client, may_go_on = Client(log), threading.Event()

    class Slow(Client):
        def consume(self, most: int, timeout: float) -> list[Any]:
            assert may_go_on.wait(60 * PATIENCE)
            return super().consume(most, timeout)

    sieve = sieve_of(client, lambda: Slow(log), SettableClock(0), look_s=0.01)
    assert sieve.take(10, 0, 0) == ([], [], [])
    client.at = 5
    may_go_on.set()
    wait_until("the first end is found", lambda: not sieve.is_looking, 60)
    passed = [each for _ in range(3) for each in sieve.take(10, 0, 0).unreadable]
    assert [(each.first, each.end) for each in passed] == [(5, 9)]


class BehindDamage(Client):
    """A client of a broker that finds nothing at some offsets: those of a batch of changed length, up to its index.

    ``complains``: the broker says so; else it gives nothing. ``then`` is called after each answer, and may change it.
    ``is_away``: it does not answer. ``throttled_ms``: it makes this client wait.
    """

    FETCHES_A_SECOND = 100

    def __init__(
        self,
        log: list[Batch],
        lost: range,
        clock: SettableClock,
        complains: bool = False,
        then: "Callable[[BehindDamage], None]" = lambda _: None,
    ) -> None:
        super().__init__(log)
        self.lost, self._clock, self._complains, self._log, self._then = lost, clock, complains, log, then
        self.readable: int | None = None
        self.is_away = False
        self.throttled_ms = 0
        # where it goes on if what it does not find is in a segment that is full
        self.next_segment = 0
        self._fetches = 0

    def consume(self, most: int, timeout: float) -> list[Any]:
        found = self._answer(most, timeout)
        self._then(self)
        return found

    def _answer(self, most: int, timeout: float) -> list[Any]:
        if self.at in self.lost and self.next_segment:
            self.at = self.next_segment
        if self.at not in self.lost and not self.is_away:
            return super().consume(most, timeout)
        self._clock.advance(int(1_000 * timeout))
        if self.is_away:
            return []
        if self._complains:
            return [Message(self.at, KafkaError.INVALID_MSG)]
        self._fetches += int(self.FETCHES_A_SECOND * timeout)
        partition = {"next_offset": self.at, "ls_offset": self.get_watermark_offsets()[1], "broker": 7}
        broker = {"nodeid": 7, "req": {"Fetch": self._fetches}, "throttle": {"max": self.throttled_ms}}
        told = {"brokers": {"b": broker}, "topics": {"t": {"partitions": {"0": partition}}}}
        self.stats_cb(orjson.dumps(told).decode())
        return []

    def get_watermark_offsets(self, *_: object, **__: object) -> tuple[int, int]:
        return 0, self.readable if self.readable is not None else self._log[-1].end


@pytest.mark.parametrize("complains", [True, False])
def test_what_the_broker_does_not_find_behind_a_batch_of_changed_length_is_passed_over_with_it(complains: bool) -> None:
    log = [Batch(0, 3, 0, True), Batch(3, 3, 0, False), Batch(6, 50, 0, True)]
    clock = SettableClock(0)
    lost = range(4, 37)
    client = Client(log)
    sieve = sieve_of(client, lambda: BehindDamage(log, lost, clock, complains), clock)
    assert [message.offset() for message in sieve.take(3, 0, 0).records] == [0, 1, 2]
    assert [(each.first, each.end) for each in sieve.take(10, 0, 0).unreadable] == [(3, 37)]
    assert sieve.take(10, 0, 0).records[0].offset() == 37


@pytest.mark.parametrize("complains", [True, False])
def test_good_records_between_a_batch_and_another_one_of_changed_length_are_read(complains: bool) -> None:
    # the search for the first one's end goes from offset 10 to 18, where the broker finds nothing for the second one
    log = [Batch(3, 8, 0, False), Batch(11, 3, 0, True), Batch(14, 3, 0, False), Batch(17, 50, 0, True)]
    clock = SettableClock(0)
    client = Client(log)
    sieve = sieve_of(client, lambda: BehindDamage(log, range(15, 41), clock, complains), clock)
    assert [(each.first, each.end) for each in sieve.take(10, 0, 0).unreadable] == [(3, 11)]
    assert [message.offset() for message in sieve.take(3, 0, 0).records] == [11, 12, 13]
    assert [(each.first, each.end) for each in sieve.take(10, 0, 0).unreadable] == [(14, 41)]


@pytest.mark.parametrize("length", [2, 33, 400])
def test_where_the_broker_goes_on_with_the_next_segment_the_rest_of_the_damaged_one_is_read(length: int) -> None:
    # the batch's length was changed: behind it the broker finds nothing up to the next offset of its index
    log = [Batch(0, 3, 0, True), Batch(3, 3, 0, False), Batch(6, 1_000, 0, True), Batch(1_006, 50, 0, True)]
    clock, first = SettableClock(0), 4 + length

    def prober() -> BehindDamage:
        made = BehindDamage(log, range(4, first), clock)
        made.next_segment = 1_006
        return made

    sieve = sieve_of(Client(log), prober, clock)
    assert [message.offset() for message in sieve.take(3, 0, 0).records] == [0, 1, 2]
    assert [(each.first, each.end) for each in sieve.take(10, 0, 0).unreadable] == [(3, first)]
    assert sieve.take(10, 0, 0).records[0].offset() == first


def test_offsets_that_hold_nothing_behind_a_batch_are_not_counted_to_it() -> None:
    log = [Batch(3, 3, 500, False), Batch(506, 2, 0, True)]
    client = Client(log)
    sieve = sieve_of(client, lambda: Client(log), SettableClock(0))
    assert [(each.first, each.end) for each in sieve.take(10, 0, 0).unreadable] == [(3, 6)]
    assert [message.offset() for message in sieve.take(2, 0, 0).records] == [506, 507]


def test_a_good_record_between_a_batch_and_what_its_end_is_sought_in_is_read() -> None:
    # from offset 6 the search goes to 10, behind all damage, and halves what lies between
    log = [Batch(3, 4, 0, False), Batch(7, 1, 0, True), Batch(8, 2, 0, False), Batch(10, 5, 0, True)]
    clock = SettableClock(0)
    client = Client(log)
    sieve = sieve_of(client, lambda: BehindDamage(log, range(8, 10), clock), clock)
    assert [(each.first, each.end) for each in sieve.take(10, 0, 0).unreadable] == [(3, 7)]
    assert [message.offset() for message in sieve.take(1, 0, 0).records] == [7]


@pytest.mark.parametrize("ends_at", [10_000, 10**9], ids=["ends meanwhile", "stays open"])
def test_a_transaction_under_way_behind_a_damaged_batch_is_not_given_up_with_it(ends_at: int) -> None:
    log = [Batch(0, 10, 0, False), Batch(10, 4, 0, True)]
    clock = SettableClock(0)

    def end_transaction(client: BehindDamage) -> None:
        if clock.now_ms() >= ends_at:
            client.lost, client.readable = range(0), 14

    def prober() -> BehindDamage:
        # gives nothing after the begin of a transaction
        made = BehindDamage(log, range(11, 14), clock, then=end_transaction)
        made.readable = 10
        return made

    sieve = sieve_of(Client(log), prober, clock)
    assert [(each.first, each.end) for each in sieve.take(10, 0, 0).unreadable] == [(0, 10)]


def test_where_nothing_behind_a_batch_of_changed_length_is_found_yet_it_waits_for_more() -> None:
    log = [Batch(0, 3, 0, False), Batch(3, 4, 0, True)]
    clock = SettableClock(0)
    sieve = sieve_of(Client(log), lambda: BehindDamage(log, range(1, 7), clock), clock)
    for _ in range(3):
        assert sieve.take(10, 0, 0) == ([], [], [])
        assert not sieve.is_looking
        clock.advance(60_000)
    log.append(Batch(7, 2, 0, True))
    clock.advance(600_000)
    assert [(each.first, each.end) for each in sieve.take(10, 0, 0).unreadable] == [(0, 7)]


def test_a_broker_that_is_away_behind_a_batch_that_cannot_be_read_is_waited_for() -> None:
    log = [Batch(0, 3, 0, False), Batch(3, 4, 0, True)]
    clock, is_away = SettableClock(0), True

    def go_away(client: BehindDamage) -> None:
        # the error was given once; nothing is from then on
        client.is_away = is_away

    sieve = sieve_of(Client(log), lambda: BehindDamage(log, range(0), clock, then=go_away), clock)
    assert sieve.take(10, 0, 0) == ([], [], [])
    assert not sieve.is_looking
    is_away = False
    clock.advance(600_000)
    assert [(each.first, each.end) for each in sieve.take(10, 0, 0).unreadable] == [(0, 3)]


def test_what_was_taken_before_the_consumer_was_set_back_is_given_once() -> None:
    client = Client([Batch(0, 5, 0, True)])
    sieve = sieve_of(client, lambda: Client(client.log), SettableClock(0))
    consume, calls = client.consume, []

    def rebalanced(most: int, timeout: float) -> list[Any]:
        calls.append(most)
        if len(calls) == 2:
            client.at = 0
            sieve.forget()
        return consume(most, timeout)

    client.consume = rebalanced  # type: ignore[method-assign]
    assert [message.offset() for message in sieve.take(100, 0, 0).records] == [0, 1, 2, 3, 4]


def test_the_end_of_a_damaged_batch_is_found_where_an_error_of_an_earlier_look_comes_late() -> None:
    log = [Batch(0, 3, 0, False), Batch(3, 2, 0, True)]
    sieve = sieve_of(Client(log), lambda: Client(log, is_late=True), SettableClock(0))
    assert [(each.first, each.end) for each in sieve.take(10, 0, 0).unreadable] == [(0, 3)]


# these make a second client of their own, or look at what stands at offsets and say what they cannot read
OWN_WAYS = {"kafka/batch_ends.py", "kafka/unreadable_batches.py", "kafka/peek.py", "kafka/to_end.py"}
# what cannot be read of the table of monitors is an error, wherever it is read: it holds state
OF_THE_TABLE = {"diagnosis/checks/changelog.py"}


def test_whatever_reads_a_topic_passes_over_what_cannot_be_read() -> None:
    root = Path(__file__).parents[2]
    files = [*(root / "src/everwatch").rglob("*.py"), *(root / "streams").rglob("*.py")]
    texts = {str(path.relative_to(root)).removeprefix("src/everwatch/"): path.read_text() for path in files}
    texts = {name: text for name, text in texts.items() if not name.startswith("kafka/memory/")}
    takes = {name for name, text in texts.items() if re.search(r"consumer\w*\.(consume|poll)\(\d?_?[A-Z\d]", text)}
    assert len(takes) > 8
    assert {name for name in takes if "Sieve(" not in texts[name]} <= OWN_WAYS | {"kafka/partition_bounds.py"}
    to_ends = {name for name, text in texts.items() if re.search(r"(?<!def )read_to_end\(", text)}
    assert len(to_ends) > 5
    assert {name for name in to_ends if not re.search(r"\bsieve\b", texts[name])} == OF_THE_TABLE

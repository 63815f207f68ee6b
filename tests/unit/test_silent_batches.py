"""Tests of batches for which a broker gives nothing and no error, and of all that looks like one and must not be lost.

All in one file: one broker that is made up; what its client gives is what librdkafka gives.
"""

import threading
from collections.abc import Callable, Collection
from typing import Any

import orjson
import pytest
from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, OFFSET_STORED, KafkaError, KafkaException, TopicPartition
from support.waiting import PATIENCE, wait_until

from everwatch.core.clock import SettableClock
from everwatch.core.errors import SettingsError
from everwatch.kafka.batch_ends import SILENT
from everwatch.kafka.unreadable_batches import Sieve, Unreadable

UNKNOWN_OFFSET = -1001
FETCHES_A_SECOND = 100
BROKERS_OWN = (KafkaError.UNKNOWN, KafkaError.INVALID_MSG, KafkaError.INVALID_RECORD)


class Message:
    def __init__(self, offset: int, error: int | None = None) -> None:
        self._offset = offset
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
        return 1


class Partition:
    """A partition of a broker: offsets with records, and those that a fetch gets nothing for."""

    def __init__(self, records: set[int], silent: Collection[int] = ()) -> None:
        self.records = records
        self.silent = silent
        self.end = self.stable = max(records) + 1
        self.committed = 0
        # an error in place of nothing
        self.error: int | None = None
        self.answers = True
        self.throttled_ms = 0
        self.clients: list[Client] = []
        self.after_fetch: Callable[[Client], None] = lambda _: None
        self.before_end: Callable[[], None] = lambda: None


class Client:
    """A client that reads the partition. It knows its position once it has read a record, as librdkafka does."""

    def __init__(self, log: Partition, clock: SettableClock, stats_cb: Callable[[str], None] | None = None) -> None:
        self._log, self._clock, self._stats_cb = log, clock, stats_cb
        self._at = self._position = UNKNOWN_OFFSET
        self._assigned: int | None = None
        self._has_told_end = False
        self._fetches = 0
        self.assignments = 0
        self.fault: Exception | None = None
        self.is_paused = False

    def assign(self, positions: list[TopicPartition]) -> None:
        self.assignments += 1
        self._assigned = positions[0].offset
        named = {OFFSET_BEGINNING: 0, OFFSET_END: self._log.end}
        self._at = self._assigned if self._assigned >= 0 else named.get(self._assigned, self._log.committed)
        self._position = UNKNOWN_OFFSET
        self._has_told_end = False

    def assignment(self) -> list[TopicPartition]:
        return [] if self._assigned is None else [TopicPartition("t", 0, self._assigned)]

    def position(self, places: list[TopicPartition]) -> list[TopicPartition]:
        return [TopicPartition("t", 0, self._position) for _ in places]

    def seek(self, place: TopicPartition) -> None:
        self._at = place.offset

    def committed(self, *_: object) -> list[TopicPartition]:
        return [TopicPartition("t", 0, self._log.committed)]

    def get_watermark_offsets(self, *_: object, cached: bool = False) -> tuple[int, int]:
        if cached:
            return 0, self._log.end
        self._log.before_end()
        return 0, self._log.stable

    def close(self) -> None:
        self._assigned = None

    def consume(self, most: int, timeout: float) -> list[Any]:
        if self.fault is not None:
            raise self.fault
        found = self._fetched()
        if not found:
            self._clock.advance(int(1_000 * timeout))
            if self._log.answers and not self.is_paused:
                self._count(timeout)
        self._log.after_fetch(self)
        return found

    def _fetched(self) -> list[Message]:
        log = self._log
        if self.is_paused or not log.answers or log.throttled_ms:
            return []
        if self._at > log.end:
            return [Message(self._at, KafkaError._AUTO_OFFSET_RESET)]
        if self._at in log.silent:
            if log.error is None:
                return []
            self._clock.advance(50)
            # the broker's own error names the offset of the fetch, that of the client the one of the batch
            return [Message(self._at if log.error in BROKERS_OWN else min(log.silent), log.error)]
        at = min((each for each in log.records if self._at <= each < log.stable), default=None)
        if at is not None and not any(each in log.silent for each in range(self._at, at + 1)):
            self._at = self._position = at + 1
            return [Message(at)]
        if at is not None:
            self._at = next(each for each in range(self._at, at + 1) if each in log.silent)
            return []
        if self._stats_cb is not None and self._at <= log.stable and not self._has_told_end:
            self._has_told_end = True
            return [Message(log.stable, KafkaError._PARTITION_EOF)]
        return []

    def _count(self, seconds: float) -> None:
        if self._stats_cb is None or self._assigned is None:
            return
        self._fetches += int(FETCHES_A_SECOND * seconds)
        stable = -1 if self._log.error else self._log.stable
        partition = {"next_offset": self._at, "ls_offset": stable, "broker": 1}
        broker = {"nodeid": 1, "req": {"Fetch": self._fetches}, "throttle": {"max": self._log.throttled_ms}}
        told = {"brokers": {"b": broker}, "topics": {"t": {"partitions": {"0": partition}}}}
        self._stats_cb(orjson.dumps(told).decode())


class Reading:
    """A process that reads the partition through a sieve, from ``begin``."""

    def __init__(self, log: Partition, begin: int = 0) -> None:
        self.log, self.clock = log, SettableClock(0)
        self.client = Client(log, self.clock)
        self.client.assign([TopicPartition("t", 0, begin)])
        self.probers: list[Client] = []
        self.new_prober: Callable[..., Any] = self._prober
        self.is_paused = False
        self.sieve = Sieve(
            self.client,  # type: ignore[arg-type]
            lambda **settings: self.new_prober(**settings),
            self.clock,
            is_paused=lambda place: self.is_paused and place == ("t", 0),
        )
        self.records: list[int] = []
        self.passed: list[Unreadable] = []

    def _prober(self, **settings: Any) -> Any:
        # a process that is nearly full of what it reads makes this client beside it
        assert settings["queued.min.messages"] == 1
        assert settings["queued.max.messages.kbytes"] <= 1_024
        self.probers.append(Client(self.log, self.clock, settings["stats_cb"]))
        return self.probers[-1]

    def run(self, seconds: int) -> None:
        """Read for so long, and until no look is under way."""
        until_ms = self.clock.now_ms() + 1_000 * seconds
        while self.clock.now_ms() < until_ms or self.sieve.is_looking:
            wait_until("the look is over", lambda: not self.sieve.is_looking, 60 * PATIENCE)
            self.take()

    def take(self) -> None:
        """Read once."""
        sifted = self.sieve.take(10, 0.5, 0.0)
        self.records += [message.offset() or 0 for message in sifted.records]
        self.passed += sifted.unreadable

    @property
    def spans(self) -> list[tuple[int, int]]:
        return [(each.first, each.end) for each in self.passed]


@pytest.fixture
def log() -> Partition:
    """Ten records, of which the broker does not give those from 3 to 6."""
    return Partition(set(range(10)), silent=range(3, 7))


@pytest.mark.parametrize("error", [None, KafkaError.UNKNOWN])
def test_what_the_broker_never_gives_is_passed_over(log: Partition, error: int | None) -> None:
    log.error = error
    reading = Reading(log)
    reading.run(100)
    assert reading.spans == [(3, 7)]
    assert reading.records == [0, 1, 2, 7, 8, 9]
    assert (reading.passed[0].reason == SILENT) == (error is None)


@pytest.mark.parametrize("later", [KafkaError.UNKNOWN, KafkaError.INVALID_RECORD])
def test_a_batch_is_passed_over_where_the_broker_names_another_error_when_it_is_asked_again(
    log: Partition, later: int
) -> None:
    """So it goes for a changed format version: the client cannot read the first answer, later ones are errors."""
    log.error = KafkaError._BAD_MSG
    reading = Reading(log)
    new_prober, has_heard = reading.new_prober, threading.Event()

    def prober(**settings: Any) -> Any:
        log.error = later
        return new_prober(**settings)

    def look_later(client: Client) -> None:
        if client is not reading.client:
            has_heard.wait(PATIENCE)
        elif log.error == later:
            has_heard.set()

    reading.new_prober, log.after_fetch = prober, look_later
    reading.take()
    wait_until("the batch is passed over", lambda: reading.take() or reading.passed)
    reading.run(1)
    assert reading.spans == [(3, 7)]
    assert reading.records == [0, 1, 2, 7, 8, 9]


@pytest.mark.parametrize("error", [None, *BROKERS_OWN], ids=["silent", "unknown", "refused", "invalid"])
def test_good_records_between_two_stretches_of_nothing_are_read(log: Partition, error: int | None) -> None:
    log.error, log.silent = error, [*range(3, 7), *range(9, 21)]
    log.records, log.end, log.stable = set(range(40)), 40, 40
    reading = Reading(log)
    reading.run(300)
    assert reading.spans == [(3, 7), (9, 21)]
    assert reading.records == [0, 1, 2, 7, 8, *range(21, 40)]


def test_a_long_stretch_of_nothing_takes_few_looks(log: Partition) -> None:
    log.error, log.silent = KafkaError.INVALID_MSG, range(3, 50_000)
    log.records, log.end, log.stable = set(range(50_010)), 50_010, 50_010
    reading = Reading(log)
    reading.run(60)
    assert reading.spans == [(3, 50_000)]
    assert reading.probers[0].assignments < 200


@pytest.mark.parametrize("begin", [3, UNKNOWN_OFFSET], ids=["assigned", "committed"])
def test_it_is_passed_over_where_the_consumer_begins_at_it_and_only_once(log: Partition, begin: int) -> None:
    log.committed, log.records = 3, {*range(7)}
    # behind it stands a mark of a transaction, and later a record
    log.records.add(8)
    reading = Reading(log, begin)
    reading.run(100)
    assert reading.spans == [(3, 7)]
    log.end = log.stable = 30
    reading.run(4_000)
    assert reading.spans == [(3, 7)]
    assert reading.records == [8]


@pytest.mark.parametrize("begin", [OFFSET_STORED, UNKNOWN_OFFSET, OFFSET_BEGINNING, OFFSET_END])
def test_a_consumer_that_has_read_nothing_is_looked_at_where_it_was_assigned(log: Partition, begin: int) -> None:
    # the group's offset is of another use of it, and what it has committed is damaged
    log.committed = 3
    reading = Reading(log, begin)
    reading.client.is_paused = True
    reading.run(1_000)
    is_of_group = begin in (OFFSET_STORED, UNKNOWN_OFFSET)
    assert reading.spans == ([(3, 7)] if is_of_group else [])
    assert bool(reading.probers) == (begin != OFFSET_END)
    log.records, log.end, log.stable = set(range(12)), 12, 12
    reading.client.is_paused = False
    reading.run(100)
    read = {OFFSET_BEGINNING: [0, 1, 2, 7, 8, 9, 10, 11], OFFSET_END: [10, 11]}
    assert reading.records == read.get(begin, [7, 8, 9, 10, 11])


def test_a_batch_at_the_beginning_is_passed_over_wherever_the_group_stands(log: Partition) -> None:
    log.committed, log.silent = 8, range(4)
    reading = Reading(log, OFFSET_BEGINNING)
    reading.run(100)
    assert reading.spans == [(0, 4)]
    assert reading.records == [4, 5, 6, 7, 8, 9]


def test_a_batch_that_cannot_be_unpacked_at_the_end_is_passed_over_once(log: Partition) -> None:
    # the consumer says that it stands before it until a record comes
    log.records, log.error = set(range(7)), KafkaError._BAD_COMPRESSION
    log.end = log.stable = 7
    reading = Reading(log)
    reading.run(4_000)
    assert reading.spans == [(3, 7)]
    log.end = log.stable = 8
    reading.run(4_000)
    assert reading.spans == [(3, 7)]


def test_two_of_them_are_passed_over_and_what_stands_between_them_is_read(log: Partition) -> None:
    log.records, log.end, log.stable = set(range(100)), 100, 100
    reading = Reading(log)
    reading.run(60)
    log.silent = range(110, 130)
    log.records, log.end, log.stable = set(range(200)), 200, 200
    reading.run(100)
    assert reading.spans == [(3, 7), (110, 130)]
    assert reading.records == [each for each in range(200) if each not in (*range(3, 7), *range(110, 130))]


def test_an_open_transaction_is_waited_for(log: Partition) -> None:
    log.silent, log.stable = range(0), 3
    reading = Reading(log)
    reading.run(4_000)
    assert reading.probers
    assert reading.passed == []
    log.stable = 10
    reading.run(10)
    assert reading.records == list(range(10))


def test_a_transaction_that_ends_while_it_is_looked_for_is_read(log: Partition) -> None:
    log.silent, log.stable = range(3, 10), 3

    def end() -> None:
        # fetches have been answered with nothing by now
        log.silent, log.stable = range(0), 10

    log.before_end = end
    reading = Reading(log)
    reading.run(100)
    assert reading.probers
    assert reading.passed == []
    assert reading.records == list(range(10))


def test_a_broker_that_does_not_answer_is_waited_for(log: Partition) -> None:
    log.silent = range(0)
    reading = Reading(log)
    reading.run(1)
    log.records, log.end, log.stable, log.answers = set(range(20)), 20, 20, False
    reading.run(2_000)
    assert reading.probers
    assert reading.passed == []
    log.answers = True
    reading.run(10)
    assert reading.records == list(range(20))


def test_a_broker_that_throttles_is_waited_for(log: Partition) -> None:
    log.silent, log.throttled_ms = range(0), 700
    reading = Reading(log)
    reading.run(2_000)
    assert reading.probers
    assert reading.passed == []
    log.throttled_ms = 0
    reading.run(10)
    assert reading.records == list(range(10))


def test_a_paused_partition_or_one_whose_records_are_not_taken_yet_loses_nothing(log: Partition) -> None:
    log.silent = range(0)
    reading = Reading(log)
    reading.client.is_paused = True
    reading.run(4_000)
    # more and more rarely
    assert 1 <= len(reading.probers) <= 8
    assert reading.passed == []
    reading.client.is_paused = False
    reading.run(10)
    assert reading.records == list(range(10))


def test_a_partition_that_its_owner_has_paused_is_looked_at_once_it_goes_on(log: Partition) -> None:
    reading = Reading(log)
    reading.is_paused = reading.client.is_paused = True
    reading.run(4_000)
    assert reading.probers == []
    reading.is_paused = reading.client.is_paused = False
    reading.run(100)
    assert reading.spans == [(3, 7)]
    assert reading.records == [0, 1, 2, 7, 8, 9]


@pytest.mark.parametrize(("end", "looks"), [(11, 0), (50, 1)], ids=["a mark of a transaction", "an aborted one"])
def test_offsets_without_records_at_the_end_are_looked_at_once_at_most(log: Partition, end: int, looks: int) -> None:
    log.silent, log.end, log.stable = range(0), end, end
    reading = Reading(log)
    reading.run(4_000)
    assert len(reading.probers) == looks
    assert reading.passed == []
    assert reading.records == list(range(10))


def test_offsets_without_records_in_between_are_passed_by_the_client_itself(log: Partition) -> None:
    log.silent, log.records, log.end, log.stable = range(0), {0, 1, 900, 901}, 902, 902
    reading = Reading(log)
    reading.run(100)
    assert reading.passed == []
    assert reading.records == [0, 1, 900, 901]


def test_what_the_broker_gives_after_all_is_not_passed_over(log: Partition) -> None:
    def give(client: Client) -> None:
        # behind it something was found
        if client is not reading.client and client.position([TopicPartition("t", 0)])[0].offset > 7:
            log.silent = range(0)

    log.after_fetch = give
    reading = Reading(log)
    reading.run(15)
    # else the consumer would read it before it passes over it
    reading.client.is_paused = True
    reading.run(200)
    assert reading.probers
    assert reading.passed == []
    reading.client.is_paused = False
    reading.run(10)
    assert reading.records == list(range(10))


def test_where_nothing_can_be_read_behind_it_more_is_waited_for(log: Partition) -> None:
    log.silent = range(3, 10)
    reading = Reading(log)
    reading.run(1_000)
    assert reading.probers
    assert reading.passed == []
    log.records, log.end, log.stable = set(range(12)), 12, 12
    reading.run(1_000)
    assert reading.spans == [(3, 10)]
    assert reading.records == [0, 1, 2, 10, 11]


def test_a_consumer_that_was_moved_meanwhile_stays_where_it_is(log: Partition) -> None:
    def move(client: Client) -> None:
        if client is not reading.client and not reading.records[3:]:
            reading.client.assign([TopicPartition("t", 0, 8)])

    log.after_fetch = move
    reading = Reading(log)
    reading.run(100)
    assert reading.probers
    assert reading.passed == []
    assert reading.records == [0, 1, 2, 8, 9]


FAULTS = [
    KafkaException(KafkaError(KafkaError._INVALID_ARG)),
    SettingsError("EVERWATCH_SSL_CA_FILE: there is no file"),
    OSError("no file descriptor is left"),
]


@pytest.mark.parametrize("is_open", [False, True], ids=["no client can be made", "the client fails"])
@pytest.mark.parametrize("fault", FAULTS, ids=["of Kafka", "of the settings", "any"])
def test_a_look_that_fails_ends_nothing_and_is_made_again(
    log: Partition, fault: Exception, is_open: bool, caplog: pytest.LogCaptureFixture
) -> None:
    reading = Reading(log)
    new_prober, is_faulty = reading.new_prober, True

    def fail(**settings: Any) -> Any:
        if is_open:
            prober = new_prober(**settings)
            prober.fault = fault if is_faulty else None
            return prober
        if is_faulty:
            raise fault
        return new_prober(**settings)

    reading.new_prober = fail
    reading.run(200)
    assert reading.passed == []
    # what nobody has thought of is logged with its traceback
    (record, *_) = [each for each in caplog.records if "stands still" in each.message]
    assert bool(record.exc_info) == isinstance(fault, OSError)
    is_faulty = False
    reading.run(1_000)
    assert reading.spans == [(3, 7)]
    assert reading.records == [0, 1, 2, 7, 8, 9]

"""Tests of what is taken and committed when partitions come and go, with a consumer that only remembers.

All in one file: one class, with a consumer that is made up.
"""

import threading
from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from everwatch.core.clock import Clock, SettableClock, SystemClock
from everwatch.core.config import Settings
from everwatch.core.errors import Transient
from everwatch.executor.assignment import ReaderLimits
from everwatch.executor.tick_reader import TickReader
from everwatch.kafka.clients import LARGEST_RECORD_BYTES, Clients
from everwatch.kafka.memory import MemoryClients, MemoryKafka
from everwatch.kafka.topics import Topics

TOPICS = Topics.of(Settings())


class FakeMessage:
    def __init__(
        self, offset: int, topic: str = TOPICS.ticks, error: KafkaError | None = None, at: int = 0, size: int = 10
    ) -> None:
        self._fields = offset, topic, error
        self.at = at
        self._size = size

    def timestamp(self) -> tuple[int, int]:
        return 1, self.at

    def error(self) -> KafkaError | None:
        return self._fields[2]

    def topic(self) -> str:
        return self._fields[1]

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return self._fields[0]

    def __len__(self) -> int:
        return self._size


class FakeConsumer:
    """Hands out ``arriving`` and remembers the rest."""

    def __init__(self) -> None:
        self.arriving: list[FakeMessage] = []
        self.committed: list[tuple[str, int, bool]] = []
        self.paused: set[str] = set()
        self.paused_partitions: set[int] = set()
        self.high = 0
        # what the broker answers when it is asked, which it may be after a standstill, and what else happens meanwhile
        self.high_now = 0
        self.when_asked: Callable[[], None] | None = None
        self.assigned: set[str] = set()

    def consume(self, count: int, timeout: float) -> list[FakeMessage]:
        batch, self.arriving = self.arriving[:count], self.arriving[count:]
        return batch

    def assignment(self) -> list[TopicPartition]:
        return []

    def commit(self, offsets: list[TopicPartition], asynchronous: bool) -> None:
        self.committed += [(offset.topic, offset.offset, asynchronous) for offset in offsets]

    def pause(self, partitions: list[TopicPartition]) -> None:
        self.paused |= {part.topic for part in partitions}
        self.paused_partitions |= {part.partition for part in partitions}

    def resume(self, partitions: list[TopicPartition]) -> None:
        self.paused -= {part.topic for part in partitions}
        self.paused_partitions -= {part.partition for part in partitions}

    def get_watermark_offsets(self, partition: TopicPartition, cached: bool = False) -> tuple[int, int]:
        assert cached, "a question to the broker for each partition would hold up the ticks"
        return 0, self.high

    def offsets_for_times(self, wanted: list[TopicPartition], timeout: float) -> list[TopicPartition]:
        assert self.when_asked is not None, "a question to the broker would hold up the ticks"
        self.when_asked()
        return [TopicPartition(each.topic, each.partition, self.high_now) for each in wanted]

    def incremental_assign(self, partitions: list[TopicPartition]) -> None:
        self.assigned |= {part.topic for part in partitions}

    def incremental_unassign(self, partitions: list[TopicPartition]) -> None:
        self.assigned -= {part.topic for part in partitions}


PARTITION = TopicPartition(TOPICS.ticks, 0)


class Rig:
    """A reader whose thread's steps are taken by hand."""

    def __init__(
        self, max_in_flight: int = 10, clock: Clock | None = None, clients: Clients | None = None, **limits: Any
    ) -> None:
        self.clock: Any = clock or SettableClock(1_000_000)
        self.consumer: Any = FakeConsumer()
        settings = Settings(max_in_flight=max_in_flight)
        clients = clients or MemoryClients(MemoryKafka())
        self.ticks = TickReader(TOPICS.ticks, settings, clients, self.clock, ReaderLimits(**limits))
        self.ticks.on_assign(self.consumer, [PARTITION])

    @property
    def held(self):
        return self.ticks.held[0]

    def arrive(self, *offsets: int) -> list[int]:
        self.consumer.arriving += [FakeMessage(offset) for offset in offsets]
        taken = []
        while self.consumer.arriving:
            taken += [message.offset() for _, message in self.ticks.take(self.consumer)[0]]
            self.ticks.balance(self.consumer)
        self.held.started += len(taken)
        return taken

    def finish(self, *offsets: int) -> None:
        for offset in offsets:
            self.ticks.acknowledge(self.held, offset)

    def pass_second(self) -> None:
        self.clock.advance(1_000)
        self.ticks.settle()
        self.ticks.balance(self.consumer)
        self.ticks.commit_when_due(self.consumer)


def test_only_what_is_finished_below_the_first_open_tick_is_committed() -> None:
    rig = Rig()
    rig.arrive(5, 6, 7)
    rig.finish(6, 7)
    rig.pass_second()
    assert rig.consumer.committed == []
    rig.finish(5)
    rig.pass_second()
    assert rig.consumer.committed == [(TOPICS.ticks, 8, True)]


def test_an_offset_is_committed_once_unless_that_failed() -> None:
    rig = Rig()
    rig.arrive(5)
    rig.finish(5)
    rig.pass_second()
    rig.ticks.on_commit(None, [TopicPartition(TOPICS.ticks, 0, 6)])
    rig.pass_second()
    assert len(rig.consumer.committed) == 1
    rig.arrive(6)
    rig.finish(6)
    rig.pass_second()
    rig.ticks.on_commit(KafkaError(KafkaError._TRANSPORT), [TopicPartition(TOPICS.ticks, 0, 7)])
    rig.pass_second()
    assert [offset for _, offset, _ in rig.consumer.committed] == [6, 7, 7]


def test_one_commit_waits_for_the_one_before() -> None:
    rig = Rig()
    for offset in (5, 6, 7):
        rig.arrive(offset)
        rig.finish(offset)
        rig.pass_second()
    assert len(rig.consumer.committed) == 1


class CountingClients(MemoryClients):
    """Makes no consumer, and counts what was asked for."""

    def __init__(self) -> None:
        super().__init__(MemoryKafka())
        self.asked = 0

    def consumer(self, group_id: str, **overrides: object) -> Any:
        self.asked += 1
        raise KafkaException(KafkaError(KafkaError._INVALID_ARG))


def test_a_partition_that_is_paused_since_much_waits_is_not_taken_for_one_that_stands_still() -> None:
    clients = CountingClients()
    rig = Rig(max_in_flight=10, clients=clients)
    rig.consumer.high = 10_000
    rig.arrive(*range(520))
    rig.consumer.assignment = lambda: [TopicPartition(TOPICS.ticks, 0, 0)]
    rig.consumer.position = lambda _: [TopicPartition(TOPICS.ticks, 0, 520)]
    for _ in range(20):
        rig.arrive()
        rig.ticks.take(rig.consumer)
        rig.pass_second()
        rig.clock.advance(10_000)
    assert rig.consumer.paused_partitions == {0}
    assert clients.asked == 0
    rig.finish(*range(520))
    rig.pass_second()
    assert rig.consumer.paused_partitions == set()
    for _ in range(5):
        rig.clock.advance(10_000)
        rig.ticks.take(rig.consumer)
    assert clients.asked > 0


def test_too_much_work_pauses_its_topic_and_room_resumes_it() -> None:
    rig = Rig(max_in_flight=10)
    taken = rig.arrive(*range(520))
    assert len(taken) == 520
    assert rig.consumer.paused == {TOPICS.ticks}
    rig.finish(*range(500))
    rig.pass_second()
    assert rig.consumer.paused == {TOPICS.ticks}
    rig.finish(*range(500, 510))
    rig.pass_second()
    assert rig.consumer.paused == set()


def test_ticks_that_wait_for_their_host_do_not_keep_others_from_being_taken() -> None:
    rig = Rig(max_in_flight=10)
    rig.held.parked = 515
    rig.arrive(*range(520))
    assert rig.consumer.paused == set()
    rig.ticks.limits = ReaderLimits(parked=0)
    rig.pass_second()
    assert rig.consumer.paused == {TOPICS.ticks}


def test_no_more_is_begun_behind_the_oldest_unfinished_tick_than_another_owner_may_run_again() -> None:
    rig = Rig(max_in_flight=10, again=100)
    rig.arrive(*range(100))
    rig.finish(*range(1, 100))
    rig.pass_second()
    assert rig.consumer.paused == {TOPICS.ticks}
    rig.finish(0)
    rig.pass_second()
    assert rig.consumer.paused == set()


def test_a_partition_that_comes_while_its_topic_is_paused_is_paused_too() -> None:
    rig = Rig(max_in_flight=10)
    rig.arrive(*range(520))
    rig.consumer.paused.clear()
    rig.ticks.on_assign(rig.consumer, [TopicPartition(TOPICS.ticks, 1)])
    assert rig.consumer.paused == {TOPICS.ticks}


def test_a_revoked_partition_is_committed_after_what_is_under_way() -> None:
    rig = Rig(clock=SystemClock())  # the wait is real
    rig.arrive(5, 6)
    held = rig.held
    late = threading.Timer(0.1, lambda: [rig.ticks.acknowledge(held, offset) for offset in (6, 5)])
    late.start()
    rig.ticks.on_revoke(rig.consumer, [PARTITION])
    assert rig.consumer.committed == [(TOPICS.ticks, 7, False)]
    assert held.revoked
    assert rig.consumer.assigned == set()
    late.join()


def test_a_revoked_partition_does_not_wait_for_what_was_never_started() -> None:
    rig = Rig()
    rig.arrive(5, 6)
    rig.held.started = 1
    rig.finish(5)
    rig.ticks.on_revoke(rig.consumer, [PARTITION])  # a settable clock stands still: waiting would never end
    assert rig.consumer.committed == [(TOPICS.ticks, 6, False)]


def test_a_lost_partition_is_never_committed() -> None:
    rig = Rig()
    rig.arrive(5)
    held = rig.held
    rig.finish(5)
    rig.ticks.on_lost(rig.consumer, [PARTITION])
    rig.pass_second()
    assert rig.consumer.committed == []
    assert held.revoked
    assert rig.consumer.assigned == set()


def test_results_of_an_earlier_assignment_do_not_count_for_a_later_one() -> None:
    rig = Rig()
    rig.arrive(5)
    before = rig.held
    rig.ticks.on_lost(rig.consumer, [PARTITION])
    rig.ticks.on_assign(rig.consumer, [PARTITION])
    rig.arrive(5)
    rig.ticks.acknowledge(before, 5)
    rig.pass_second()
    assert rig.consumer.committed == []


def test_records_of_partitions_not_held_are_left_alone() -> None:
    rig = Rig()
    rig.ticks.on_lost(rig.consumer, [PARTITION])
    rig.consumer.arriving += [FakeMessage(1)]
    assert rig.ticks.take(rig.consumer) == ([], [])


def test_a_tick_that_is_too_large_is_passed_over_in_its_turn_and_those_behind_it_are_run() -> None:
    rig = Rig()
    sizes = {5: 10, 6: LARGEST_RECORD_BYTES + 1, 7: 10}
    rig.consumer.arriving += [FakeMessage(offset, size=size) for offset, size in sizes.items()]
    batch, passed = rig.ticks.take(rig.consumer)
    assert [message.offset() for _, message in batch] == [5, 7]
    assert [(each.first, each.end) for _, each in passed] == [(6, 7)]
    rig.finish(5, 7)
    rig.pass_second()
    assert rig.consumer.committed == [(TOPICS.ticks, 6, True)]
    # once its dead letter is durable
    rig.finish(6)
    rig.ticks.settle()
    assert rig.held.watermark.low == 8


def test_after_stop_nothing_is_taken_but_what_gets_done_is_committed() -> None:
    rig = Rig()
    rig.arrive(5)
    rig.ticks.stopping.set()
    assert rig.arrive(6) == []
    assert rig.consumer.paused == {TOPICS.ticks}
    rig.finish(5)
    rig.pass_second()
    assert rig.consumer.committed == [(TOPICS.ticks, 6, True)]


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (KafkaError.UNKNOWN_TOPIC_OR_PART, "everwatch topics create"),
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, "Read on topic ticks"),
        (KafkaError.GROUP_AUTHORIZATION_FAILED, "Read on consumer group everwatch-executors"),
    ],
)
def test_what_waiting_does_not_mend_ends_the_executor_with_one_sentence(code: int, words: str) -> None:
    rig = Rig()
    rig.consumer.arriving = [FakeMessage(0, error=KafkaError(code))]
    with pytest.raises(Transient, match=words):
        rig.ticks.take(rig.consumer)


def test_a_broker_away_is_waited_for_and_said_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    rig = Rig()
    for _ in range(100):
        rig.ticks.on_error(KafkaError(KafkaError._ALL_BROKERS_DOWN))
    assert rig.arrive(5) == [5]
    assert len(caplog.records) == 1


NOW_MS = 1_000_000


def read(rig: Rig, offset: int, at: int) -> None:
    rig.consumer.arriving = [FakeMessage(offset, at=at)]
    rig.ticks.take(rig.consumer)


def test_a_partition_with_late_ticks_is_behind_until_it_is_read_to_its_end_or_to_fresh_ones() -> None:
    rig = Rig()
    rig.consumer.high = 10
    assert rig.held.is_behind
    read(rig, 3, NOW_MS - 60_000)
    assert not rig.ticks.note_late_partitions(rig.consumer)
    assert rig.held.is_behind
    read(rig, 9, NOW_MS - 50_000)
    assert rig.ticks.note_late_partitions(rig.consumer)
    assert not rig.held.is_behind
    # and behind again, after a standstill that was too short to lose the partition
    rig.consumer.high = 30
    read(rig, 20, NOW_MS - 30_000)
    assert not rig.ticks.note_late_partitions(rig.consumer)
    assert rig.held.is_behind
    read(rig, 25, NOW_MS - 100)
    assert rig.ticks.note_late_partitions(rig.consumer)
    assert not rig.held.is_behind


def test_a_partition_that_does_not_catch_up_is_not_waited_for_for_ever() -> None:
    rig = Rig()
    rig.consumer.high = 1_000
    read(rig, 0, NOW_MS - 60_000)
    rig.ticks.note_late_partitions(rig.consumer)
    for _ in range(4):
        rig.clock.advance(1_000)
        assert not rig.ticks.note_late_partitions(rig.consumer)
    rig.clock.advance(1_000)
    assert rig.ticks.note_late_partitions(rig.consumer)
    assert not rig.held.is_behind
    read(rig, 1, NOW_MS - 60_000)
    assert not rig.ticks.note_late_partitions(rig.consumer)
    assert not rig.held.is_behind


def test_after_a_standstill_a_partition_that_was_behind_before_has_its_time_to_catch_up() -> None:
    rig = Rig()
    rig.consumer.high = rig.consumer.high_now = 1_000
    read(rig, 0, NOW_MS - 60_000)
    assert not rig.ticks.note_late_partitions(rig.consumer)
    rig.clock.advance(125_000)
    rig.consumer.when_asked = lambda: None
    assert not rig.ticks.note_late_partitions(rig.consumer)
    assert rig.held.is_behind
    assert rig.held.looked_s == rig.clock.monotonic_s()


def test_a_broker_that_is_slow_to_say_where_partitions_end_is_asked_once_and_no_standstill() -> None:
    rig = Rig()
    second_partition(rig)
    asked = []

    def answer_slowly() -> None:
        asked.append(1)
        rig.clock.advance(4_000)

    rig.consumer.when_asked = answer_slowly
    read(rig, 0, NOW_MS)
    rig.ticks.note_late_partitions(rig.consumer)
    rig.clock.advance(25_000)
    for _ in range(3):
        rig.ticks.note_late_partitions(rig.consumer)
    assert len(asked) == 1


def test_after_a_standstill_a_partition_is_at_its_end_where_the_broker_says_and_not_the_last_fetch() -> None:
    rig = Rig()
    rig.consumer.high = 4
    read(rig, 3, NOW_MS)
    rig.ticks.note_late_partitions(rig.consumer)
    assert not rig.held.is_behind
    rig.clock.advance(125_000)
    rig.consumer.when_asked, rig.consumer.high_now = (lambda: None), 9
    rig.ticks.note_late_partitions(rig.consumer)
    assert rig.held.is_behind
    read(rig, 8, NOW_MS + 100_000)
    assert rig.ticks.note_late_partitions(rig.consumer)
    assert not rig.held.is_behind


def test_the_wait_for_what_runs_of_a_revoked_partition_is_not_taken_for_a_standstill() -> None:
    rig = Rig(clock=SystemClock(), revoke_wait_s=0.2, standstill_s=0.1)  # the wait is real
    rig.arrive(5)
    rig.ticks.note_late_partitions(rig.consumer)
    leaving = TopicPartition(TOPICS.ticks, 1)
    rig.ticks.on_assign(rig.consumer, [leaving])
    rig.ticks.held[1].started = 1
    rig.ticks.on_revoke(rig.consumer, [leaving])
    rig.ticks.note_late_partitions(rig.consumer)  # asks the broker nothing


def test_late_ticks_are_begun_when_no_more_can_be_read_because_enough_wait() -> None:
    rig = Rig(max_in_flight=10)
    rig.consumer.high = 100_000
    rig.arrive(*range(520))
    assert rig.consumer.paused == {TOPICS.ticks}
    rig.ticks.note_late_partitions(rig.consumer)
    assert rig.held.is_behind, "the event loop has yet to take them over"
    rig.held.parked = 20_000
    rig.ticks.note_late_partitions(rig.consumer)
    assert not rig.held.is_behind


def second_partition(rig: Rig) -> Any:
    rig.ticks.on_assign(rig.consumer, [TopicPartition(TOPICS.ticks, 1)])
    return rig.ticks.held[1]


def test_a_partition_of_which_too_much_waits_is_paused_and_the_others_are_read() -> None:
    rig = Rig()
    other = second_partition(rig)
    rig.held.parked = 12_000
    rig.ticks.balance(rig.consumer)
    assert rig.consumer.paused_partitions == {0}
    # where half of the memory is taken, each has its share of the other half
    other.parked = 5_000
    rig.ticks.balance(rig.consumer)
    assert rig.consumer.paused_partitions == {0, 1}
    rig.held.parked, other.parked = 3_000, 1_500
    rig.ticks.balance(rig.consumer)
    assert rig.consumer.paused_partitions == set()


def test_a_tick_that_does_not_end_pauses_its_partition_in_the_end_and_no_other() -> None:
    rig = Rig()
    second_partition(rig)
    for offset in range(100_002):
        rig.held.watermark.begin(offset)
        if offset:
            rig.held.watermark.finish(offset)
    rig.ticks.balance(rig.consumer)
    assert rig.consumer.paused_partitions == {0}
    rig.held.watermark.finish(0)
    rig.ticks.balance(rig.consumer)
    assert rig.consumer.paused_partitions == set()

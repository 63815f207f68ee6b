"""The topic of cancellations as an executor reads it, on a consumer that gives what the test says."""

import threading
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from everwatch.core.bounds import BROKER_AHEAD_MS
from everwatch.core.clock import SettableClock
from everwatch.core.config import Settings
from everwatch.core.errors import AccessError
from everwatch.encoding.cancellation_records import Cancellation, encode_cancellation
from everwatch.executor.cancellation_reader import CancellationReader, Cancellations
from everwatch.kafka.partition_bounds import PATIENCE

PARTITIONS = 2
ANN = ("ann", "m"), Cancellation(1_000)
BOB = ("bob", ""), Cancellation(2_000, is_deleted=True)


class FakeMessage:
    def __init__(
        self, partition: int = 0, key: bytes = b"", value: bytes = b"", error: int = 0, offset: int = 0
    ) -> None:
        self._fields = partition, key, value
        self._offset = offset
        self._error = KafkaError(error) if error else None

    def error(self) -> KafkaError | None:
        return self._error

    def topic(self) -> str:
        return "cancellations"

    def __len__(self) -> int:
        return 10

    def partition(self) -> int:
        return self._fields[0]

    def offset(self) -> int:
        return self._offset

    def key(self) -> bytes:
        return self._fields[1]

    def value(self) -> bytes:
        return self._fields[2]


class FakeConsumer:
    """Each partition holds ``held``; gives ``batches`` one after the other, then nothing.

    ``away``: how often the broker does not report where a partition ends.
    """

    def __init__(self, held: range, *batches: list[FakeMessage], away: int = 0) -> None:
        self.held = held
        self.away = away
        self._batches = list(batches)
        self.assigned: list[TopicPartition] = []
        self.asked = 0
        self.sought = -1
        self.is_closed = False

    def get_watermark_offsets(self, partition: TopicPartition, timeout: float) -> tuple[int, int]:
        if self.away:
            self.away -= 1
            raise KafkaException(KafkaError(KafkaError._TRANSPORT))
        return self.held.start, self.held.stop

    def offsets_for_times(self, wanted: list[TopicPartition], timeout: float) -> list[TopicPartition]:
        self.asked += 1
        return [TopicPartition(each.topic, each.partition, self.held.stop) for each in wanted]

    def poll(self, timeout: float) -> None:
        pass

    def add(self, batch: list[FakeMessage]) -> None:
        self._batches.append(batch)

    def assign(self, partitions: list[TopicPartition]) -> None:
        self.assigned = partitions

    def position(self, wanted: list[TopicPartition]) -> list[TopicPartition]:
        return wanted

    def seek(self, place: TopicPartition) -> None:
        self.sought = place.offset

    def consume(self, count: int, timeout: float) -> list[FakeMessage]:
        if not self._batches:
            time.sleep(0.001)
        return self._batches.pop(0) if self._batches else []

    def assignment(self) -> list[TopicPartition]:
        return []

    def prober(self) -> "FakeConsumer":
        """A second client, which finds one unreadable batch at offset 1 and the end behind it."""
        end = [FakeMessage(error=KafkaError._PARTITION_EOF, offset=2)]
        return FakeConsumer(self.held, [FakeMessage(error=KafkaError._BAD_MSG, offset=1)], end)

    def close(self) -> None:
        self.is_closed = True


def said(cancelling: Cancellations) -> list[FakeMessage]:
    return [FakeMessage(0, *encode_cancellation(*each)) for each in cancelling]


def ends(*partitions: int) -> list[FakeMessage]:
    return [FakeMessage(number, error=KafkaError._PARTITION_EOF) for number in partitions]


@pytest.fixture
def follow() -> Callable[..., tuple[CancellationReader, list[Cancellations]]]:
    def follow(consumer: FakeConsumer, **limits: Any) -> tuple[CancellationReader, list[Cancellations]]:
        def new_consumer(*_: Any, **more: Any) -> FakeConsumer:
            if more.get("auto.offset.reset") == "error":
                return consumer.prober()
            assert more["enable.partition.eof"]
            return consumer

        delivered: list[Cancellations] = []
        followed = CancellationReader(
            Settings(partitions=PARTITIONS), SimpleNamespace(consumer=new_consumer), SettableClock(0), **limits
        )
        followed.start(delivered.append)
        return followed, delivered

    return follow


async def test_what_the_topic_holds_is_delivered_before_it_counts_as_caught_up(follow: Any) -> None:
    consumer = FakeConsumer(range(0, 5), said([ANN]), ends(1), said([BOB]), ends(0))
    followed, delivered = follow(consumer)
    followed.caught_up.result(30)
    assert delivered == [[ANN], [BOB]]
    assert [(part.partition, part.offset) for part in consumer.assigned] == [(0, 0), (1, 0)]
    await followed.finish(30)
    assert followed.ended.result(0) is None
    assert consumer.is_closed


async def test_no_more_is_read_at_the_start_than_is_kept(follow: Any) -> None:
    consumer = FakeConsumer(range(10, 1_000), ends(0, 1))
    followed, _ = follow(consumer, most_kept=100)
    followed.caught_up.result(30)
    assert [part.offset for part in consumer.assigned] == [950, 950]
    await followed.finish(30)


async def test_a_record_that_is_none_is_ignored_and_those_beside_it_are_not(
    follow: Any, caplog: pytest.LogCaptureFixture
) -> None:
    wrong = [FakeMessage(0, b"ann\0m", b"{"), FakeMessage(0, b"", b"")]
    followed, delivered = follow(FakeConsumer(range(0, 5), wrong + said([BOB]), ends(0, 1)))
    followed.caught_up.result(30)
    assert delivered == [[BOB]]
    assert len([each for each in caplog.records if "is ignored" in each.message]) == 1
    await followed.finish(30)


async def test_a_cancellation_that_is_far_ahead_is_ignored_as_it_would_end_a_monitor_for_good(follow: Any) -> None:
    ahead = [(ANN[0], Cancellation(BROKER_AHEAD_MS + 1))]
    followed, delivered = follow(FakeConsumer(range(0, 5), said([*ahead, BOB]), ends(0, 1)))
    followed.caught_up.result(30)
    assert delivered == [[BOB]]
    await followed.finish(30)


async def test_a_broker_away_is_waited_for_and_a_missing_acl_is_told(follow: Any) -> None:
    away = [FakeMessage(error=KafkaError._ALL_BROKERS_DOWN)]
    denied = [FakeMessage(error=KafkaError.TOPIC_AUTHORIZATION_FAILED)]
    followed, _ = follow(FakeConsumer(range(0, 5), away, ends(0, 1), denied))
    followed.caught_up.result(30)
    with pytest.raises(AccessError, match="cancellations"):
        followed.ended.result(30)


async def test_a_topic_that_cannot_be_read_now_is_said_once_and_tried_again(
    follow: Any, caplog: pytest.LogCaptureFixture
) -> None:
    consumer = FakeConsumer(range(0, 5), said([ANN]), ends(0, 1), away=2 * PATIENCE)
    followed, delivered = follow(consumer, retry_s=0.001)
    followed.caught_up.result(30)
    assert delivered == [[ANN]]
    assert not followed.ended.done()
    assert len([each for each in caplog.records if "cancellations that are known" in each.message]) == 1
    await followed.finish(30)
    assert followed.ended.result(0) is None


async def test_whoever_asks_is_told_when_all_is_delivered_that_the_topic_holds_by_then(follow: Any) -> None:
    end = KafkaError._PARTITION_EOF
    consumer = FakeConsumer(range(0, 1), [FakeMessage(0, error=end, offset=1), FakeMessage(1, error=end, offset=1)])
    followed, delivered = follow(consumer)
    followed.caught_up.result(30)
    followed.read_to_now().result(30)
    # one record each, and the mark of its transaction
    consumer.held = range(0, 3)
    asked = followed.read_to_now()
    consumer.add([FakeMessage(0, *encode_cancellation(*ANN), offset=1), FakeMessage(0, error=end, offset=3)])
    with pytest.raises(TimeoutError):
        asked.result(0.1)
    consumer.add([FakeMessage(1, *encode_cancellation(*BOB), offset=1), FakeMessage(1, error=end, offset=3)])
    asked.result(30)
    assert delivered == [[ANN], [BOB]]
    await followed.finish(30)


async def test_those_who_ask_together_are_answered_by_one_question_to_the_broker(follow: Any) -> None:
    end = KafkaError._PARTITION_EOF
    consumer = FakeConsumer(range(0, 1), [FakeMessage(0, error=end, offset=1), FakeMessage(1, error=end, offset=1)])
    consume, may_go_on = consumer.consume, threading.Event()

    def consume_later(count: int, timeout: float) -> list[FakeMessage]:
        may_go_on.wait(30)
        return consume(count, timeout)

    consumer.consume = consume_later  # type: ignore[method-assign]
    followed, _ = follow(consumer)
    asked = [followed.read_to_now() for _ in range(4)]
    may_go_on.set()
    for each in asked:
        each.result(30)
    assert consumer.asked == 1
    await followed.finish(30)


async def test_a_batch_that_cannot_be_read_keeps_nobody_from_what_stands_behind_it(follow: Any) -> None:
    bad = [FakeMessage(error=KafkaError._BAD_MSG, offset=1)]
    consumer = FakeConsumer(range(0, 2), said([ANN]), bad, [FakeMessage(1, error=KafkaError._PARTITION_EOF, offset=2)])
    followed, delivered = follow(consumer)
    followed.read_to_now().result(30)
    assert consumer.sought == 2
    consumer.add(said([BOB]))
    consumer.add(ends(0))
    followed.caught_up.result(30)
    assert delivered == [[ANN], [BOB]]
    await followed.finish(30)

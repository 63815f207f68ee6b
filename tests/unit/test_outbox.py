"""The outbox with a producer that delivers when, and in the order that, the test says.

All in one file: one class, with a producer that is made up.
"""

import asyncio
import random
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from confluent_kafka import KafkaError

from everwatch.core.errors import BrokerUnavailable, PermissionMissing
from everwatch.kafka.outbox import Outbox, Substitute

OnDelivery = Callable[[KafkaError | None, Any], None]
# ten times what a loaded machine needs; a barrier that is down wakes its waiter at once
PATIENCE_S = 10


class FakeMessage:
    def __init__(self, topic: str, value: bytes) -> None:
        self._topic = topic
        self._value = value

    def topic(self) -> str:
        return self._topic

    def value(self) -> bytes:
        return self._value


class FakeProducer:
    """Holds what is produced until the test reports it; reports are made in ``poll``, as librdkafka does."""

    def __init__(self, room: int = 1_000) -> None:
        self.room = room
        self.produced: list[dict[str, Any]] = []
        self.refusal: Exception | None = None
        self.polled_by_sender = 0
        self.reported = 0
        self._queued: dict[bytes, tuple[FakeMessage, OnDelivery]] = {}
        self._reports: list[Callable[[], None]] = []
        self._polled = threading.Condition()

    def produce(self, topic: str, *, on_delivery: OnDelivery, **record: Any) -> None:
        if self.refusal is not None:
            raise self.refusal
        if len(self._queued) >= self.room:
            raise BufferError("Local: Queue full")
        self.produced.append({"topic": topic} | record)
        self._queued[record["value"]] = (FakeMessage(topic, record["value"]), on_delivery)

    def poll(self, timeout: float) -> int:
        if threading.current_thread() is threading.main_thread():
            self.polled_by_sender += 1
            if self.polled_by_sender == 3:  # the broker takes its time
                self.deliver(next(iter(self._queued)))
        with self._polled:
            if not self._reports:
                self._polled.wait(timeout)
            reports, self._reports = self._reports, []
        for report in reports:
            report()
            self.reported += 1
        return len(reports)

    def __len__(self) -> int:
        return len(self._queued)

    def flush(self, timeout: float) -> int:
        self.poll(0)
        return len(self._queued)

    def deliver(self, *values: bytes, error: KafkaError | None = None) -> None:
        """Report these records as delivered, or as failed, in this order."""
        with self._polled:
            for value in values:
                message, on_delivery = self._queued.pop(value)
                self._reports.append(lambda m=message, done=on_delivery: done(error, m))
            self._polled.notify()


def send(outbox: Outbox, *values: bytes, **fields: Any) -> None:
    for value in values:
        outbox.send("results", partition=3, key=b"u", value=value, **fields)


async def returns(waiting: "asyncio.Task[None]") -> None:
    await asyncio.wait_for(asyncio.shield(waiting), PATIENCE_S)


async def taken_in(producer: FakeProducer, reports: int) -> None:
    """So many reports have reached the outbox's thread."""
    async with asyncio.timeout(PATIENCE_S):
        while producer.reported < reports:
            await asyncio.sleep(0.001)


async def still_waits(waiting: "asyncio.Task[None]", producer: FakeProducer, reports: int) -> None:
    """So many reports have been taken in, and the waiter waits on."""
    await taken_in(producer, reports)
    await asyncio.sleep(0.01)  # a wake-up that is wrongly under way gets the chance to arrive
    assert not waiting.done()


async def barrier(outbox: Outbox, group: str | None = None) -> "asyncio.Task[None]":
    """A task that waits for everything sent so far."""
    waiting = asyncio.create_task(outbox.delivered(group))
    await asyncio.sleep(0)
    return waiting


@pytest.fixture
def producer() -> FakeProducer:
    return FakeProducer()


@pytest.fixture
async def outbox(producer: FakeProducer) -> AsyncIterator[Outbox]:
    outbox = Outbox(producer)  # type: ignore[arg-type]
    yield outbox
    await outbox.close(0)


def failed(code: int = KafkaError._MSG_TIMED_OUT) -> KafkaError:
    return KafkaError(code)


async def test_with_nothing_sent_there_is_nothing_to_wait_for(outbox: Outbox) -> None:
    await returns(await barrier(outbox))


async def test_a_record_goes_out_as_it_was_given(outbox: Outbox, producer: FakeProducer) -> None:
    send(outbox, b"plain")
    send(outbox, b"rich", timestamp_ms=5, headers=[("reason", b"x")])
    plain = {"topic": "results", "partition": 3, "key": b"u"}
    assert producer.produced == [
        plain | {"value": b"plain", "timestamp": 0},
        plain | {"value": b"rich", "timestamp": 5, "headers": [("reason", b"x")]},
    ]


async def test_delivered_returns_when_all_sent_before_is_there(outbox: Outbox, producer: FakeProducer) -> None:
    send(outbox, b"1", b"2")
    waiting = await barrier(outbox)
    producer.deliver(b"1")
    await still_waits(waiting, producer, reports=1)
    producer.deliver(b"2")
    await returns(waiting)


async def test_later_records_delivered_first_do_not_count_for_earlier_ones(
    outbox: Outbox, producer: FakeProducer
) -> None:
    send(outbox, b"1", b"2")
    waiting = await barrier(outbox)
    send(outbox, b"3", b"4", b"5")
    producer.deliver(b"5", b"4", b"3", b"2")
    await still_waits(waiting, producer, reports=4)
    producer.deliver(b"1")
    await returns(waiting)


async def test_records_sent_after_the_barrier_are_not_waited_for(outbox: Outbox, producer: FakeProducer) -> None:
    send(outbox, b"1")
    waiting = await barrier(outbox)
    send(outbox, b"2")
    producer.deliver(b"1")
    await returns(waiting)
    assert len(producer) == 1


async def test_a_later_barrier_waits_for_the_records_of_an_earlier_one_too(
    outbox: Outbox, producer: FakeProducer
) -> None:
    send(outbox, b"1")
    first = await barrier(outbox)
    send(outbox, b"2")
    second = await barrier(outbox)
    producer.deliver(b"2")
    await still_waits(second, producer, reports=1)
    assert not first.done()
    producer.deliver(b"1")
    await returns(first)
    await returns(second)


async def test_barriers_come_down_one_by_one(outbox: Outbox, producer: FakeProducer) -> None:
    send(outbox, b"1")
    first = await barrier(outbox)
    send(outbox, b"2")
    second = await barrier(outbox)
    producer.deliver(b"1")
    await returns(first)
    await still_waits(second, producer, reports=1)
    producer.deliver(b"2")
    await returns(second)


async def test_a_barrier_without_new_records_waits_for_those_still_under_way(
    outbox: Outbox, producer: FakeProducer
) -> None:
    send(outbox, b"1")
    first, second = await barrier(outbox), await barrier(outbox)
    await still_waits(second, producer, reports=0)
    producer.deliver(b"1")
    await returns(first)
    await returns(second)


async def test_many_barriers_over_many_records_in_any_order_hold_what_they_say(
    outbox: Outbox, producer: FakeProducer
) -> None:
    dice = random.Random(11)
    undelivered: list[bytes] = []
    waiters: list[tuple[asyncio.Task[None], set[bytes]]] = []
    for step in range(200):
        fresh = [f"{step}-{i}".encode() for i in range(dice.randint(0, 3))]
        send(outbox, *fresh)
        undelivered += fresh
        waiters.append((await barrier(outbox), set(undelivered)))
        for _ in range(min(len(undelivered), dice.randint(0, 3))):
            producer.deliver(undelivered.pop(dice.randrange(len(undelivered))))
        await asyncio.sleep(0.001)
        for waiting, needs in waiters:
            assert not (waiting.done() and needs & set(undelivered))
    dice.shuffle(undelivered)
    producer.deliver(*undelivered)
    for waiting, _ in waiters:
        await returns(waiting)


async def test_a_group_is_not_held_up_by_the_records_of_another(outbox: Outbox, producer: FakeProducer) -> None:
    send(outbox, b"table")
    send(outbox, b"sweep", group="sweep")
    table, sweep = await barrier(outbox), await barrier(outbox, "sweep")
    producer.deliver(b"sweep")
    await returns(sweep)
    await still_waits(table, producer, reports=1)
    producer.deliver(b"table")
    await returns(table)


async def test_a_failure_in_one_group_reaches_the_waiters_of_all(outbox: Outbox, producer: FakeProducer) -> None:
    send(outbox, b"table")
    send(outbox, b"sweep", group="sweep")
    table, sweep = await barrier(outbox), await barrier(outbox, "sweep")
    producer.deliver(b"sweep", error=failed())
    for waiting in (table, sweep):
        with pytest.raises(BrokerUnavailable):
            await returns(waiting)
    with pytest.raises(BrokerUnavailable):
        await returns(await barrier(outbox, "never used before"))


async def test_there_is_room_again_when_the_queue_has_shrunk(
    producer: FakeProducer,
) -> None:
    outbox = Outbox(producer, queue_enough=2)  # type: ignore[arg-type]
    send(outbox, b"1", b"2", b"3")
    waiting = asyncio.create_task(outbox.room())
    await still_waits(waiting, producer, reports=0)
    producer.deliver(b"2")
    await returns(waiting)
    await outbox.close(0)


async def test_the_senders_callback_has_run_before_the_barrier_is_down(outbox: Outbox, producer: FakeProducer) -> None:
    seen: list[bytes] = []
    send(outbox, b"1", b"2", on_delivered=lambda message: seen.append(message.value()))  # type: ignore[arg-type]
    waiting = await barrier(outbox)
    producer.deliver(b"2", b"1")
    await returns(waiting)
    assert seen == [b"2", b"1"]


async def test_a_failure_reaches_every_waiter_and_every_later_call(outbox: Outbox, producer: FakeProducer) -> None:
    seen: list[object] = []
    send(outbox, b"1", on_delivered=seen.append)
    first = await barrier(outbox)
    send(outbox, b"2")
    second = await barrier(outbox)
    producer.deliver(b"1", error=failed())
    told = r"^A record for topic results could not be delivered: .+\.$"
    for waiting in (first, second):
        with pytest.raises(BrokerUnavailable, match=told):
            await returns(waiting)
    with pytest.raises(BrokerUnavailable, match=told):
        await returns(await barrier(outbox))
    assert seen == []  # nothing was delivered, so nobody was told so


async def test_a_failure_that_nobody_waited_for_is_told_at_the_next_barrier(
    outbox: Outbox, producer: FakeProducer
) -> None:
    send(outbox, b"1", b"2")
    producer.deliver(b"2", error=failed())
    await taken_in(producer, reports=1)
    with pytest.raises(BrokerUnavailable):
        await returns(await barrier(outbox))


async def test_the_first_failure_is_the_one_that_is_told(outbox: Outbox, producer: FakeProducer) -> None:
    send(outbox, b"1", b"2")
    waiting = await barrier(outbox)
    producer.deliver(b"2", error=failed(KafkaError.TOPIC_AUTHORIZATION_FAILED))
    with pytest.raises(PermissionMissing, match="Write on topic results") as told:
        await returns(waiting)
    producer.deliver(b"1", error=failed())
    await taken_in(producer, reports=2)
    with pytest.raises(PermissionMissing) as told_again:
        await returns(await barrier(outbox))
    assert str(told_again.value) == str(told.value)


async def test_a_callback_that_fails_stops_the_process_instead_of_letting_it_hang(
    outbox: Outbox, producer: FakeProducer
) -> None:
    def broken(message: object) -> None:
        raise LookupError("no such offset")

    send(outbox, b"1", on_delivered=broken)
    waiting = await barrier(outbox)
    producer.deliver(b"1")
    with pytest.raises(BrokerUnavailable, match="What follows the delivery of a record for topic results failed"):
        await returns(waiting)


async def test_a_record_that_the_producer_refuses_is_told_at_once_and_not_waited_for(
    outbox: Outbox, producer: FakeProducer
) -> None:
    send(outbox, b"1")
    producer.refusal = ValueError("message too large")
    with pytest.raises(ValueError, match="too large"):
        send(outbox, b"huge")
    waiting = await barrier(outbox)
    producer.deliver(b"1")
    await returns(waiting)


async def test_a_waiter_that_gave_up_does_not_disturb_the_others(outbox: Outbox, producer: FakeProducer) -> None:
    send(outbox, b"1")
    gone, waiting = await barrier(outbox), await barrier(outbox)
    gone.cancel()
    producer.deliver(b"1")
    await returns(waiting)
    assert gone.cancelled()


async def test_a_full_queue_makes_the_sender_wait_and_loses_nothing() -> None:
    producer = FakeProducer(room=2)
    outbox = Outbox(producer)  # type: ignore[arg-type]
    send(outbox, b"1", b"2")
    assert producer.polled_by_sender == 0
    send(outbox, b"3")
    assert producer.polled_by_sender == 3
    assert [record["value"] for record in producer.produced] == [b"1", b"2", b"3"]
    waiting = await barrier(outbox)
    producer.deliver(b"3", b"2")
    await returns(waiting)
    assert await outbox.close(0) == 0


async def test_close_gives_the_number_of_records_left_behind() -> None:
    producer = FakeProducer()
    outbox = Outbox(producer)  # type: ignore[arg-type]
    send(outbox, b"1", b"2", b"3")
    producer.deliver(b"2")
    assert await outbox.close(0.1) == 2
    assert not any(thread.name == "outbox" for thread in threading.enumerate())


async def test_close_gives_nothing_when_all_is_delivered() -> None:
    producer = FakeProducer()
    outbox = Outbox(producer)  # type: ignore[arg-type]
    send(outbox, b"1")
    producer.deliver(b"1")
    assert await outbox.close(0.1) == 0


async def test_a_record_that_is_refused_for_its_size_is_sent_shorter_and_waited_for(
    producer: FakeProducer, outbox: Outbox
) -> None:
    delivered: list[bytes] = []
    send(
        outbox,
        b"long",
        shorter=lambda: (b"u", b"short", [("cut", b"value")]),
        on_delivered=lambda message: delivered.append(message.value()),
    )
    waiting = await barrier(outbox)
    producer.deliver(b"long", error=KafkaError(KafkaError.MSG_SIZE_TOO_LARGE))
    await still_waits(waiting, producer, 1)
    assert producer.produced[-1] == {
        "topic": "results",
        "partition": 3,
        "key": b"u",
        "value": b"short",
        "headers": [("cut", b"value")],
    }
    producer.deliver(b"short")
    await returns(waiting)
    assert delivered == [b"short"]


async def test_a_record_that_is_too_large_even_when_shorter_is_a_failure(
    producer: FakeProducer, outbox: Outbox
) -> None:
    send(outbox, b"long", shorter=lambda: (b"u", b"short", []))
    waiting = await barrier(outbox)
    producer.deliver(b"long", error=KafkaError(KafkaError.MSG_SIZE_TOO_LARGE))
    await taken_in(producer, 1)
    producer.deliver(b"short", error=KafkaError(KafkaError.MSG_SIZE_TOO_LARGE))
    with pytest.raises(BrokerUnavailable):
        await returns(waiting)


@pytest.mark.parametrize(
    "code",
    [KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.INVALID_TIMESTAMP, KafkaError._INVALID_DIFFERENT_RECORD],
)
async def test_in_the_place_of_a_record_that_is_refused_for_its_own_sake_another_one_is_sent_and_waited_for(
    producer: FakeProducer, outbox: Outbox, code: int
) -> None:
    send(outbox, b"tick", instead=lambda reason: Substitute("skipped", b"u", reason.encode(), []))
    waiting = await barrier(outbox)
    producer.deliver(b"tick", error=KafkaError(code))
    await still_waits(waiting, producer, 1)
    sent = producer.produced[-1]
    assert (sent["topic"], sent["partition"], sent["value"]) == ("skipped", 3, KafkaError(code).str().encode())
    producer.deliver(sent["value"])
    await returns(waiting)


async def test_of_a_record_that_the_broker_cannot_take_no_other_one_is_sent(
    producer: FakeProducer, outbox: Outbox
) -> None:
    send(outbox, b"tick", instead=lambda _: Substitute("skipped", b"u", b"", []))
    waiting = await barrier(outbox)
    producer.deliver(b"tick", error=failed())
    with pytest.raises(BrokerUnavailable):
        await returns(waiting)
    assert len(producer.produced) == 1

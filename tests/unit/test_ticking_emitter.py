"""The timer's own rules, without a broker."""

import asyncio
from collections.abc import Iterable
from random import Random
from types import SimpleNamespace

import pytest
from aiokafka.errors import InvalidTimestampError, KafkaTimeoutError, MessageSizeTooLargeError
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.structs import RecordMetadata, TopicPartition

from everwatch.core.clock import SettableClock
from everwatch.core.config import load_settings
from everwatch.kafka.compression import codec_named
from everwatch.kafka.stamped_batch import StampedBatch
from everwatch.kafka.topics import Topics
from everwatch.model import Every, Misfire
from everwatch.timetable import LAST_KEY, BatchKey, Chunk, Destination, Firing, Retry, Timetable, TimetableEntry, framed
from streams.state.owned_partition import OwnedPartition
from streams.ticking.clock_jumps import ClockJumps
from streams.ticking.emitter import Emitter, Reports, TickSending

START = 1_800_000_000_000
LZ4 = codec_named("lz4")
ACKNOWLEDGED = RecordMetadata("t", 0, TopicPartition("t", 0), 0, START, 0, 0)
NORMAL = BatchKey(Destination.NORMAL, Misfire.FIRE_LAST, 60_000)


def test_a_clock_that_jumps_ahead_is_noticed_and_believed_once_it_stays() -> None:
    steps = ClockJumps()
    assert not steps.has_jumped(1_000_000, 10.0)
    assert not steps.has_jumped(1_000_100, 10.1)
    assert steps.has_jumped(4_600_100, 10.2)
    assert not steps.has_jumped(4_604_100, 14.2)


def test_a_long_pause_of_the_process_is_no_jump() -> None:
    steps = ClockJumps()
    steps.has_jumped(1_000_000, 10.0)
    assert not steps.has_jumped(1_060_000, 70.0)


def test_a_clock_that_steps_back_is_no_jump_ahead() -> None:
    steps = ClockJumps()
    steps.has_jumped(1_000_000, 10.0)
    assert not steps.has_jumped(900_000, 10.1)


class Broker:
    """Takes batches, or refuses them; remembers which ticks it has."""

    def __init__(self) -> None:
        self.producer = object()
        self.refuse: list[type[Exception] | None] = []
        self.largest = 2**20
        self.answers: object = None
        self.cancels = False
        self.latest: int | None = None
        self.has: list[tuple[str, bytes, int]] = []

    async def send(self, batch: StampedBatch, topic: str, partition: int) -> "asyncio.Future[object]":
        answer: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        if self.cancels:
            answer.cancel()
            return answer
        refusal = self.refuse.pop(0) if self.refuse else None
        if self.latest is not None and batch.max_timestamp > self.latest:
            refusal = InvalidTimestampError
        if batch.size() > self.largest:
            refusal = MessageSizeTooLargeError
        if refusal is not None:
            answer.set_exception(refusal())
        else:
            records = MemoryRecords(bytes(batch.encoded())).next_batch()
            self.has += [(topic, record.key, record.timestamp) for record in records]
            answer.set_result(ACKNOWLEDGED if self.answers is None else self.answers)
        return answer

    async def replace(self, broken: object) -> None:
        assert broken is self.producer


class Owned(list[OwnedPartition]):
    """The partitions of the worker."""

    def __init__(self, partition: OwnedPartition) -> None:
        super().__init__([partition])

    def get(self, number: int) -> OwnedPartition:
        return self[number]


class Worker:
    """One partition under the timer, with everything around it left out."""

    def __init__(self, *monitors: TimetableEntry) -> None:
        self.broker = Broker()
        self.clock = SettableClock(START)
        self.loading_ms = 0
        self.skipped: list[Firing] = []
        self.unsendable: list[str] = []
        self.noted: list[int] = []
        timetable = Timetable(LZ4, START)
        for each in monitors:
            timetable.put(each)
        self.partition = OwnedPartition(0, timetable, START)
        self.ticking = Emitter(
            Owned(self.partition),
            SimpleNamespace(load=self._loaded),
            Reports(
                SimpleNamespace(evaluate=self._done),  # type: ignore[arg-type]
                SimpleNamespace(report_skipped=self._skip, report_unsendable=self._unsendable),  # type: ignore[arg-type]
            ),
            TickSending(
                self.broker,
                LZ4,
                SimpleNamespace(delivered=self._delivered),
                SimpleNamespace(note=self._note),
                Topics.of(load_settings()),
            ),
            self.clock,
            100,
        )

    async def sweep_at(self, instant: int) -> None:
        self.clock.set(instant)
        await self.ticking.sweep(self.partition)

    def _note(self, number: int, emitted_to: int) -> None:
        assert number == 0
        self.noted.append(emitted_to)

    async def _delivered(self, _: int) -> None:
        pass

    async def _done(self, *_: object) -> None:
        pass

    async def _loaded(self, *_: object) -> None:
        self.clock.advance(self.loading_ms)

    async def _skip(self, _: OwnedPartition, firings: Iterable[Firing], __: int) -> None:
        self.skipped += firings

    async def _unsendable(
        self, _: OwnedPartition, ticks: Iterable[tuple[Destination, Chunk, int, str]], __: int
    ) -> None:
        self.unsendable += [reason for *_, reason in ticks]


def monitor(name: str, interval_ms: int = 1_000, line: BatchKey = NORMAL, size: int = 0) -> TimetableEntry:
    config = Random(name).randbytes(size)  # compression must not make large records small
    return TimetableEntry(
        f"{name}\0m".encode(), Every(interval_ms), START, line, framed(name.encode(), b"tick" + config)
    )


def names(broker: Broker) -> list[str]:
    return sorted(key.decode() for _, key, _ in broker.has)


async def test_ticks_go_to_the_topic_of_their_priority_and_progress_is_noted_after_them() -> None:
    ways = {Destination.HIGH: "ticks.high", Destination.NORMAL: "ticks", Destination.LOW: "ticks.low"}
    worker = Worker(*(monitor(way, line=NORMAL._replace(destination=way)) for way in ways))
    await worker.sweep_at(START + 1_050)
    assert {key.decode(): topic for topic, key, _ in worker.broker.has} == ways
    assert worker.noted == [START + 1_000]
    assert worker.partition.emitted_to == START + 1_000


async def test_a_sweep_that_failed_is_gone_on_with_and_what_the_broker_has_is_not_sent_again() -> None:
    worker = Worker(*(monitor(f"user-{number}") for number in range(5)))
    worker.broker.refuse = [None, KafkaTimeoutError, None, KafkaTimeoutError, None]
    await worker.sweep_at(START + 1_000)
    assert worker.partition.emitted_to == START
    assert worker.noted == []
    assert 0 < len(worker.broker.has) < 5
    await worker.sweep_at(START + 1_500)
    assert names(worker.broker) == [f"user-{number}" for number in range(5)]
    assert worker.partition.emitted_to == START + 1_000
    await worker.sweep_at(START + 2_000)
    assert len(set(worker.broker.has)) == len(worker.broker.has) == 10


async def test_after_an_outage_what_is_too_late_is_reported_and_not_run() -> None:
    worker = Worker(monitor("ann", 10_000, BatchKey(Destination.NORMAL, Misfire.SKIP, 5_000)))
    await worker.sweep_at(START + 600_000)
    assert sum(len(firing.skipped) for firing in worker.skipped) + len(worker.broker.has) == 60
    assert len(worker.broker.has) <= 1


async def test_batches_that_a_topic_refuses_for_their_size_are_halved_until_they_fit_and_stay_small() -> None:
    worker = Worker(*(monitor(f"user-{number:03}", size=number % 40) for number in range(400)))
    worker.partition.timetable.limits.count = 100
    worker.broker.largest = 200
    for _ in range(10):
        await worker.sweep_at(START + 1_000)
    assert worker.partition.emitted_to == START + 1_000
    assert names(worker.broker) == [f"user-{number:03}" for number in range(400)]
    assert worker.unsendable == []


async def test_a_record_that_its_topic_never_takes_is_set_aside_and_holds_nobody_up() -> None:
    worker = Worker(monitor("large", size=500), monitor("small"))
    worker.partition.timetable.limits.count = 1
    worker.broker.largest = 300
    for turn in range(5):
        await worker.sweep_at(START + 1_000 + turn)
    assert names(worker.broker) == ["small"]
    [reason] = worker.unsendable
    assert "max.message.bytes" in reason
    assert worker.partition.emitted_to == START + 1_000


async def test_a_tick_whose_timestamp_the_broker_refuses_is_reported_and_holds_nobody_up() -> None:
    # the instant of a tick that is tried again is what its result said
    ahead = Retry(START + 900, START + 4 * 3_600_000, framed(b"ahead", b"again"))
    worker = Worker(*(monitor(f"user-{number}") for number in range(5)))
    worker.partition.timetable.loaded_to = (START + 1_000, LAST_KEY)
    worker.partition.timetable.put(monitor("ahead", 60_000)._replace(retry=ahead))
    worker.broker.latest = START + 3_600_000
    for turn in range(8):
        await worker.sweep_at(START + 1_000 + turn)
    assert names(worker.broker) == [f"user-{number}" for number in range(5)]
    [reason] = worker.unsendable
    assert "InvalidTimestampError" in reason
    assert worker.partition.emitted_to == START + 1_000


@pytest.mark.parametrize("answer", ["done", 7, ()], ids=repr)
async def test_only_an_acknowledgement_counts_as_one(answer: object) -> None:
    worker = Worker(monitor("ann"))
    worker.broker.answers = answer
    await worker.sweep_at(START + 1_000)
    assert (worker.partition.emitted_to, worker.noted) == (START, [])
    worker.broker.answers = None
    await worker.sweep_at(START + 1_100)
    assert worker.partition.emitted_to == START + 1_000


async def test_a_cancelled_delivery_is_a_failure_and_ends_no_sweep() -> None:
    worker = Worker(monitor("ann"))
    worker.broker.cancels = True
    await worker.sweep_at(START + 1_000)
    assert (worker.partition.emitted_to, worker.noted) == (START, [])
    worker.broker.cancels = False
    await worker.sweep_at(START + 1_100)
    assert names(worker.broker) == ["ann"]


async def test_no_sweep_passes_the_instant_at_which_somebody_is_about_to_begin() -> None:
    worker = Worker(monitor("ann"))
    with worker.partition.ceiling_at(START + 700):
        await worker.sweep_at(START + 5_000)
        assert worker.partition.emitted_to == START + 700
        worker.partition.timetable.put(monitor("bob")._replace(since=START + 700))
    await worker.sweep_at(START + 5_000)
    assert worker.partition.emitted_to == START + 5_000
    assert names(worker.broker).count("ann") == 5
    assert names(worker.broker).count("bob") in (4, 5)


async def test_a_slow_sweep_says_once_a_minute_what_it_has_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    worker = Worker(monitor("ann"))
    worker.loading_ms = 900
    await worker.sweep_at(START + 1_000)
    assert not caplog.messages
    worker.loading_ms = 1_500
    for sweeps in range(1, 3):
        await worker.sweep_at(START + 1_000 + sweeps * 2_000)
    [said] = caplog.messages
    assert said == (
        "a sweep of partition 0 took 1.5 s (logged once a minute): 0.0 s for units of work, 1.5 s for what is due,"
        " 0.0 s for the broker"
    )

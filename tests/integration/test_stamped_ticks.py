"""Ticks as stamped batches, on a real broker: what consumers read, and what a broker may do to them.

All in one file: one broker, and one reader of its batches.
"""

import asyncio
import random
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from itertools import count
from typing import NamedTuple

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.errors import KafkaError as AioKafkaError
from aiokafka.structs import TopicPartition as AioTopicPartition
from confluent_kafka import TIMESTAMP_CREATE_TIME, Consumer, TopicPartition
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource
from confluent_kafka.cimpl import RESOURCE_TOPIC, NewTopic
from conftest import NewPipeline
from support.account import TickAccount, due_range, settle_ticks
from support.pipeline import PARTITIONS, Pipeline
from support.proxy import Loss, Proxy
from support.shared_broker import SharedBroker
from support.waiting import now_ms, wait_until

from bench.batches import batch_headers
from bench.client import KafkaClient
from everwatch.core.config import Settings
from everwatch.encoding import codec
from everwatch.kafka.asyncio_clients import new_batch_producer
from everwatch.kafka.batch_producer import BatchSender
from everwatch.kafka.compression import codec_named
from everwatch.kafka.stamped_batch import StampedBatch
from everwatch.model import At, Every, Misfire, Schedule, Status
from everwatch.timetable import LAST_KEY, BatchKey, Chunk, Destination, Timetable, TimetableEntry, chunk_of, framed
from everwatch.timetable.record_framing import FramedRecord

pytestmark = pytest.mark.integration
CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
LINE = BatchKey(Destination.NORMAL, Misfire.FIRE_ALL, 60_000)
LAP_MS = 1_000
LAPS = 5
STEP_MS = 100
numbers = count()


class Seen(NamedTuple):
    """A record as any consumer sees it."""

    key: bytes
    value: bytes
    timestamp: int


# --- an in-process emitter --------------------------------------------------------------------------------------------


def settings_of(bootstrap_servers: str, compression: str = "lz4") -> Settings:
    return Settings(bootstrap_servers=bootstrap_servers, compression=compression)


@asynccontextmanager
async def sender_to(bootstrap_servers: str, compression: str = "lz4") -> AsyncIterator[BatchSender]:
    """Return what a worker sends its ticks with."""
    sender = BatchSender(lambda: new_batch_producer(settings_of(bootstrap_servers, compression), bootstrap_servers))
    await sender.start()
    try:
        yield sender
    finally:
        await sender.stop()


def new_topic(broker: SharedBroker, **config: str) -> str:
    """A topic of one partition."""
    name = f"stamped-{next(numbers)}"
    admin = AdminClient({"bootstrap.servers": broker.bootstrap_servers})
    admin.create_topics([NewTopic(name, 1, 1, config=config)])[name].result(60)
    return name


async def send(sender: BatchSender, topic: str, chunks: Iterable[tuple[Chunk, int]], compression: str) -> None:
    """Send chunks with their instants as the timer does, and wait until the broker has them."""
    packing = codec_named(compression)
    futures = []
    for chunk, instant in chunks:
        records = chunk.packed(packing)
        futures.append(
            await sender.send(StampedBatch(records, chunk.count, chunk.code, instant, chunk.reach), topic, 0)
        )
    await asyncio.gather(*futures)


def tick(name: str) -> bytes:
    return f"the tick of {name}: ".encode() + b"what does not change from lap to lap " * 3


class Population:
    """Monitors of short and long intervals and one-shot tasks in a timetable, and what they have due."""

    def __init__(self, compression: str, begin: int) -> None:
        self.timetable = Timetable(codec_named(compression), begin)
        self.timetable.load([], (begin + 2 * LAPS * LAP_MS, LAST_KEY))
        self.expected: Counter[Seen] = Counter()
        self._end = begin + LAPS * LAP_MS
        self._planned: dict[str, TimetableEntry] = {}

    def put(self, name: str, schedule: Schedule) -> None:
        key, since = f"{name}\0m".encode(), self.timetable.emitted_to
        planned = self._planned[name] = TimetableEntry(key, schedule, since, LINE, framed(name.encode(), tick(name)))
        self.timetable.put(planned)
        self._expect(name, since, self._end, 1)

    def remove(self, name: str) -> None:
        self.timetable.remove(self._planned[name])
        self._expect(name, self.timetable.emitted_to, self._end, -1)
        del self._planned[name]

    def _expect(self, name: str, after: int, upto: int, sign: int) -> None:
        schedule = self._planned[name].schedule
        if isinstance(schedule, At):
            due: Iterable[int] = [schedule.at] if after < schedule.at <= upto else []
        else:
            due = due_range(name, "m", schedule.interval_ms, after, upto)
        for instant in due:
            self.expected[Seen(name.encode(), tick(name), instant)] += sign

    def sweep(self, upto: int) -> list[tuple[Chunk, int]]:
        return [(firing.chunk, instant) for firing in self.timetable.due(upto) for instant in firing.fire]


async def emit_some_laps(broker: SharedBroker, topic: str, compression: str) -> Population:
    """Sweep through five laps of the recent past, with changes of the monitors in between."""
    begin = (now_ms() - 60_000) // LAP_MS * LAP_MS
    population = Population(compression, begin)
    for number in range(300):
        population.put(f"short-{number}", Every(LAP_MS))
    for number in range(1_500):
        population.put(f"long-{number}", Every(11 * 60_000))
    for number in range(40):
        population.put(f"once-{number}", At(begin + 1 + number * 137))
    async with sender_to(broker.bootstrap_servers, compression) as sender:
        for upto in range(begin + STEP_MS, begin + LAPS * LAP_MS + 1, STEP_MS):
            await send(sender, topic, population.sweep(upto), compression)
            population.timetable.mark_emitted(upto)
            if upto == begin + 2 * LAP_MS:
                for number in range(0, 300, 3):
                    population.remove(f"short-{number}")
                for number in range(300, 340):
                    population.put(f"short-{number}", Every(LAP_MS))
    return population


def read_by_librdkafka(broker: SharedBroker, topic: str) -> list[Seen]:
    consumer = Consumer({"bootstrap.servers": broker.bootstrap_servers, "group.id": "t", "check.crcs": True})
    try:
        _, end = consumer.get_watermark_offsets(TopicPartition(topic, 0), timeout=60)
        consumer.assign([TopicPartition(topic, 0, 0)])
        found: list[Seen] = []
        while len(found) < end:
            for message in consumer.consume(1_000, 0.1):
                assert message.error() is None, message.error()
                kind, timestamp = message.timestamp()
                assert (kind, message.headers(), message.offset()) == (TIMESTAMP_CREATE_TIME, None, len(found))
                found.append(Seen(message.key(), message.value(), timestamp))
        return found
    finally:
        consumer.close()


async def read_by_aiokafka(broker: SharedBroker, topic: str) -> list[Seen]:
    consumer = AIOKafkaConsumer(bootstrap_servers=broker.bootstrap_servers, check_crcs=True)
    partition = AioTopicPartition(topic, 0)
    await consumer.start()
    try:
        consumer.assign([partition])
        await consumer.seek_to_beginning(partition)
        end = (await consumer.end_offsets([partition]))[partition]
        found: list[Seen] = []
        while len(found) < end:
            for messages in (await consumer.getmany(timeout_ms=100)).values():
                for message in messages:
                    assert (message.timestamp_type, message.headers, message.offset) == (0, (), len(found))
                    found.append(Seen(message.key, message.value, message.timestamp))
        return found
    finally:
        await consumer.stop()


def compressions_on(broker: SharedBroker, topic: str) -> set[int]:
    """The compression codes of all batches as the broker keeps them."""
    with KafkaClient(broker.bootstrap_servers) as client:
        fetched = next(iter(client.fetch({(topic, 0): 0}, wait_ms=1_000)))
        return {fetched.data[header.start + 22] & 7 for header in batch_headers(fetched.data)}


@pytest.mark.parametrize("compression", CODECS)
async def test_ticks_of_every_compression_are_read_right_by_everybody_lap_after_lap(
    broker: SharedBroker, compression: str
) -> None:
    topic = new_topic(broker)
    population = await emit_some_laps(broker, topic, compression)
    assert codec_named(compression).code in compressions_on(broker, topic), "else the test shows nothing"

    assert Counter(read_by_librdkafka(broker, topic)) == +population.expected
    assert Counter(await read_by_aiokafka(broker, topic)) == +population.expected
    assert population.expected.total() > 300 * LAPS * 0.8


@pytest.mark.parametrize(
    ("compression", "of_topic", "code"),
    [("lz4", "zstd", 4), ("lz4", "gzip", 1), ("zstd", "uncompressed", 0), ("none", "lz4", 3)],
)
async def test_ticks_on_a_topic_of_another_compression_are_read_right(
    broker: SharedBroker, compression: str, of_topic: str, code: int
) -> None:
    topic = new_topic(broker, **{"compression.type": of_topic})
    population = await emit_some_laps(broker, topic, compression)
    assert compressions_on(broker, topic) == {code}, "the broker compresses anew"

    assert Counter(read_by_librdkafka(broker, topic)) == +population.expected
    assert Counter(await read_by_aiokafka(broker, topic)) == +population.expected


# --- sequence numbers, and brokers that lose things -------------------------------------------------------------------


def some_batches(batches: int, size: int) -> tuple[list[tuple[Chunk, int]], list[Seen]]:
    packing, instant = codec_named("lz4"), now_ms()
    chunks, expected = [], []
    for number in range(batches):
        names = [f"user-{number}-{each}" for each in range(size)]
        chunks.append(
            (chunk_of([FramedRecord(0, framed(n.encode(), tick(n))) for n in names], packing), instant + number)
        )
        expected += [Seen(name.encode(), tick(name), instant + number) for name in names]
    return chunks, expected


def near_the_end(producer: AIOKafkaProducer | None, topic: str, sequence: int) -> None:
    """As if this producer had sent two thousand million ticks to the topic."""
    assert producer is not None
    producer._txn_manager._sequence_numbers[AioTopicPartition(topic, 0)] = sequence


@pytest.mark.parametrize("before", [500, 450, 1], ids=lambda before: f"{before} before the end")
async def test_ticks_go_on_when_sequence_numbers_begin_anew_after_two_thousand_million(
    broker: SharedBroker, before: int
) -> None:
    """A batch ends with the last number, holds it in its middle, or begins with it; one whose answer is lost there
    is taken once."""
    topic = new_topic(broker)
    chunks, expected = some_batches(20, 100)
    with Proxy(broker.bootstrap_servers) as proxy:
        async with sender_to(proxy.bootstrap_servers) as sender:
            near_the_end(sender.producer, topic, 2**31 - before)
            for number, chunk in enumerate(chunks):
                if number in (3, 4, 5, 6):
                    proxy.lose(topic, Loss.ANSWER)
                await send(sender, topic, [chunk], "lz4")
                assert proxy.is_done
    assert read_by_librdkafka(broker, topic) == expected


async def test_without_our_arithmetic_the_broker_refuses_what_comes_after_the_last_number(
    broker: SharedBroker,
) -> None:
    """If this fails, aiokafka has mended its own, and ours may go."""
    topic = new_topic(broker)
    chunks, expected = some_batches(6, 100)
    sender = BatchSender(lambda: None)  # type: ignore[arg-type,return-value]
    sender.producer = new_batch_producer(settings_of(broker.bootstrap_servers), broker.bootstrap_servers)
    # aiokafka's own stands behind ours
    del sender.producer._txn_manager.increment_sequence_number
    await sender.producer.start()
    try:
        near_the_end(sender.producer, topic, 2**31 - 300)
        await send(sender, topic, chunks[:3], "lz4")
        with pytest.raises(AioKafkaError):
            await send(sender, topic, chunks[3:], "lz4")
    finally:
        await sender.stop()
    assert read_by_librdkafka(broker, topic) == expected[:300]


async def test_what_is_lost_between_worker_and_broker_is_sent_again_and_taken_once(broker: SharedBroker) -> None:
    topic = new_topic(broker)
    chunks, expected = some_batches(30, 50)
    with Proxy(broker.bootstrap_servers) as proxy:
        async with sender_to(proxy.bootstrap_servers) as sender:
            producer = sender.producer
            for first in range(0, len(chunks), 3):
                proxy.lose(topic, Loss.ANSWER, Loss.ANSWER, Loss.REQUEST)
                await send(sender, topic, chunks[first : first + 3], "lz4")
                assert proxy.is_done
            assert sender.producer is producer
    assert read_by_librdkafka(broker, topic) == expected


async def test_a_broker_that_takes_ticks_and_falls_silent_has_them_once(broker: SharedBroker) -> None:
    topic = new_topic(broker)
    chunks, expected = some_batches(4, 50)
    with Proxy(broker.bootstrap_servers) as proxy:
        async with sender_to(proxy.bootstrap_servers) as sender:
            assert sender.producer is not None
            await send(sender, topic, chunks[:1], "lz4")
            for connection in sender.producer.client._conns.values():
                connection._request_timeout = 1.0  # 40 s are long
            proxy.lose(topic, Loss.SILENCE)
            await send(sender, topic, chunks[1:], "lz4")
            assert proxy.is_done
    assert read_by_librdkafka(broker, topic) == expected


# --- a worker whose topics take only small batches --------------------------------------------------------------------

USERS = 20
MONITORS = 10
NAMES = [f"m{number}" for number in range(MONITORS)]
BODY = 3_000
SMALL_BATCH = 4_000
GIANT = 20_000
SMALLER = re.compile(r"refuses batches of (\d+) bytes; from now on they are smaller")
REPLACED = "the producer of ticks is replaced"


def random_text(length: int, seed: object) -> str:
    """Text that no codec makes much smaller."""
    return random.Random(str(seed)).randbytes(length // 2).hex()


def site(monitor_id: str, body: str) -> dict[str, object]:
    config = {"url": "http://127.0.0.1:1/", "method": "POST", "body": body}
    return {"monitor_id": monitor_id, "kind": "http", "config": config, "schedule": {"every": "1s"}}


@pytest.fixture(scope="module")
def proxy(broker: SharedBroker) -> Iterator[Proxy]:
    with Proxy(broker.bootstrap_servers) as running:
        yield running


@pytest.fixture(scope="module")
def watched(proxy: Proxy, new_pipeline: NewPipeline) -> Pipeline:
    """A worker, that speaks to its broker over the proxy, with 400 monitors that are due every second."""
    pipeline = new_pipeline(proxy.bootstrap_servers)
    pipeline.ensure("worker")
    pipeline.wait_until_watched()
    for number in range(USERS):
        sites = [site(name, random_text(BODY, (number, name))) for name in NAMES]
        pipeline.sign_up(f"user-{number}", *sites, partition=number % PARTITIONS)
    wait_until("all monitors tick", lambda: len({tick[2:4] for tick in pipeline.emitted()}) == USERS * MONITORS)
    return pipeline


def account(pipeline: Pipeline, after: int, upto: int) -> TickAccount:
    """Return what came of the ticks of the 400 monitors in a window of time; waits for the last of them."""
    intervals = {(f"user-{number}", name): LAP_MS for number in range(USERS) for name in NAMES}

    def settled() -> TickAccount:
        of_users = Counter({each: n for each, n in pipeline.emitted(after).items() if each.user_id != "giant"})
        return settle_ticks(of_users, intervals, after, upto)

    pipeline.wait_for_time(upto)
    try:
        wait_until("nothing is missed", lambda: not settled().missed, 30, 0.5)
    except AssertionError:
        assert pipeline.processes["worker"].runs, "the worker ended"
    return settled()


def count_logged(pipeline: Pipeline, text: str) -> Callable[[], int]:
    return lambda: pipeline.processes["worker"].logged().count(text)


def test_a_worker_whose_broker_loses_answers_sends_nothing_twice(watched: Pipeline, proxy: Proxy) -> None:
    began = now_ms()
    proxy.lose(watched.topics.ticks, *[Loss.ANSWER, Loss.ANSWER, Loss.REQUEST] * 4)
    wait_until("answers were lost", lambda: proxy.is_done)
    found = account(watched, began, now_ms() + 1_000)
    assert found.complete, found
    assert found.copies == 0
    assert found.due >= USERS * MONITORS


def test_batches_get_smaller_when_their_topic_takes_only_smaller_ones_and_nothing_is_missed(watched: Pipeline) -> None:
    began = now_ms()
    set_largest_batch(watched, SMALL_BATCH)
    worker = watched.processes["worker"]
    wait_until("batches are smaller", lambda: SMALLER.search(worker.logged()) and REPLACED in worker.logged())
    found = account(watched, began, now_ms() + 2_000)
    assert worker.runs, "a topic that takes less than before is no reason to end"
    assert found.complete, found
    assert found.copies <= found.due // 20

    # those that follow are small enough at once
    replaced = count_logged(watched, REPLACED)
    before, began = replaced(), now_ms()
    found = account(watched, began, now_ms() + 3_000)
    assert found.complete, found
    assert (found.copies, replaced()) == (0, before)


def test_a_tick_that_is_too_large_for_its_topic_is_reported_and_keeps_nobody_else_back(watched: Pipeline) -> None:
    replaced = count_logged(watched, REPLACED)
    before = replaced()
    watched.sign_up("giant", site("huge", random_text(GIANT, "huge")), site("small", ""), partition=0)

    def reported() -> list[str]:
        results = [codec.decode_result(m.value()) for m in watched.read(watched.topics.results) if m.key() == b"giant"]
        assert {(r.monitor_id, r.status, r.skipped_count) for r in results} <= {("huge", Status.SKIPPED, 1)}
        return sorted({r.scheduled_at for r in results})

    first = wait_until("it is reported", reported)[0]
    began = now_ms()
    upto = began + 3_000
    found = account(watched, began, upto)
    assert found.complete, found
    assert found.copies == 0
    # once, or twice where the next lap is due before the first refusal has come; a lap is a second
    assert replaced() <= before + 2, "what its topic refuses is not sent again with every lap"

    due = list(due_range("giant", "huge", LAP_MS, first - 1, upto))
    wait_until("each of its instants is reported", lambda: [t for t in reported() if t <= upto] == due)
    results = [codec.decode_result(m.value()) for m in watched.read(watched.topics.results) if m.key() == b"giant"]
    assert all(re.search(r"the tick has 2\d{4} bytes, .*max\.message\.bytes", result.reason) for result in results)
    ticks = {each[3:5] for each in watched.emitted(began) if each.user_id == "giant"}
    assert {name for name, _ in ticks} == {"small"}
    assert {t for _, t in ticks} >= set(due_range("giant", "small", LAP_MS, began, upto))


def test_a_worker_asks_how_large_batches_may_be_and_none_is_refused(watched: Pipeline) -> None:
    watched.send(watched.topics.commands, "giant", {"command": "deregister", "user_id": "giant"}, partition=0)
    changelog = watched.topics.monitors_changelog
    gone = (codec.table_key("giant"), None)
    wait_until("the giant is gone", lambda: gone in [(m.key(), m.value()) for m in watched.read(changelog)])
    worker = watched.processes["worker"]
    began = now_ms()
    worker.stop()
    watched.ensure("worker")
    watched.wait_until_watched()
    found = account(watched, began, now_ms() + 2_000)
    assert found.complete, found
    log = watched.processes["worker"].logged()
    assert not SMALLER.search(log)
    assert REPLACED not in log


def set_largest_batch(pipeline: Pipeline, size: int) -> None:
    """Change max.message.bytes of the topics of ticks while they are in use."""
    admin = AdminClient({"bootstrap.servers": pipeline.settings.bootstrap_servers})
    entry = ConfigEntry("max.message.bytes", str(size), incremental_operation=AlterConfigOpType.SET)
    resources = [
        ConfigResource(RESOURCE_TOPIC, topic, incremental_configs=[entry]) for topic in pipeline.topics.all_ticks
    ]
    for future in admin.incremental_alter_configs(resources).values():
        future.result(60)
